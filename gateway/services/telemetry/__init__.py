"""Metrics, access log, traces and usage of finished requests; gauges of the current state."""
