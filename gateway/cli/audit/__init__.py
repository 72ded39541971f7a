"""`gateway audit`."""
