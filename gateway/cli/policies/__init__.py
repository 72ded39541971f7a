"""`gateway policy`."""
