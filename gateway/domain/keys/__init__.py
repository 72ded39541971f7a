"""Inbound keys: their grammar, their records, what they may do and how much."""
