"""The side of agents: which connection is used, what is sent on it, what comes back."""
