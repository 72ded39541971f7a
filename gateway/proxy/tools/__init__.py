"""`/tools/<name>/mcp`: messages of MCP, read, decided on, carried there and shown."""
