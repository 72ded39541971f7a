"""Policies: found, read, vetted, replaced and compared."""
