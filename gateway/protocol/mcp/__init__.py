"""MCP and the JSON-RPC below it."""
