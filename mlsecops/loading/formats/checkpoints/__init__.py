"""Scanner of checkpoints that several processes write together."""
