"""Tools: programs on this machine, their sessions, and the operator's hooks."""
