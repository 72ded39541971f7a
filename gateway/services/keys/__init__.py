"""What operators do with keys."""
