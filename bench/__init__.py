"""The cost of a request, compared with other proxies: `make bench`."""
