"""The policies: found, read, swapped, compared."""
