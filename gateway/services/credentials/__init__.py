"""Outbound credentials: kept in the vault, held in memory, put into calls."""
