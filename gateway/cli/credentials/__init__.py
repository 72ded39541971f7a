"""`gateway credentials`."""
