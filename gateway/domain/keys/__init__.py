"""Inbound keys: grammar, records, scopes and limits."""
