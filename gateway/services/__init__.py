"""The verbs: authenticate, admit, issue, load and reload policies."""
