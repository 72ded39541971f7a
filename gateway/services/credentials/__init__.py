"""Outbound credentials: stored in the vault, held in memory, injected into calls."""
