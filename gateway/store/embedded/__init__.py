"""A private Redis-compatible server of the gateway's own."""
