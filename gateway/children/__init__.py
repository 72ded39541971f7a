"""Programs of others as child processes: kept apart, kept small, and gone when they should be."""
