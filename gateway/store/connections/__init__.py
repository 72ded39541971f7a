"""Connections to Redis: to one node, a master behind sentinels, or a cluster; and those of the hot
path."""
