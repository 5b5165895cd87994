"""Telemetry of monitored calls: the table of metrics, its exporter, and spans."""
