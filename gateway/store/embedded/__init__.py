"""The embedded store: a private Redis-compatible server."""
