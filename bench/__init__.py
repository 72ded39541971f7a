"""What a request costs, beside what it costs elsewhere: `make bench`."""
