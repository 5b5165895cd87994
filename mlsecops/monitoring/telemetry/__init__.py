"""Telemetry of monitored calls.

aggregates → `exporter` → OpenTelemetry instruments, named by `metrics`
sampled call → `spans` → span
"""
