"""The data plane: from the bytes of a caller to an agent and back."""
