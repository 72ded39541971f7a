"""Two small agents to try the gateway with."""
