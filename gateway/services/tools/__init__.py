"""What answers for tools: programs of this machine, sessions, own hooks."""
