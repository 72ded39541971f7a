"""Foreign programs as child processes: isolated, limited, and ended reliably."""
