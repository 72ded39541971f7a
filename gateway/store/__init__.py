"""Redis: connections, the records in it, and the scripts that decide there."""
