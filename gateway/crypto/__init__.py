"""Argon2, key tags and proofs. The only importers of those libraries."""
