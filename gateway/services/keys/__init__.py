"""Operators' acts on keys."""
