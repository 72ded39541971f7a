"""The audit: records are written before the acts they describe, then read and verified."""
