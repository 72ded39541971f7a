"""Bytes in, facts out: how HTTP and policy files are read. No socket, no clock."""
