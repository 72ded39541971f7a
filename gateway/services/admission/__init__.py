"""May this request pass? Whose key it is, where it goes, what it may and how much."""
