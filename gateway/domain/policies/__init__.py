"""Policies: the content of a set, and what follows from it."""
