"""Policies: what is in a set of them, and what follows from it."""
