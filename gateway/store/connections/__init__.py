"""Connections to Redis: one node, a master behind sentinels, a cluster; the hot path's own."""
