"""Redis: connections, records, and the scripts that decide inside of it."""
