"""Alert rules and delivery: readings in, alerts out to sinks."""
