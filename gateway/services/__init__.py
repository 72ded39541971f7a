"""The verbs of the gateway: authenticate, admit, issue, inject, load and reload policies,
record."""
