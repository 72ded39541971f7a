"""Audit records and their chains."""
