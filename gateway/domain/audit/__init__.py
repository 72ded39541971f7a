"""Audit records, and the chains that they are."""
