"""The command line: one file a noun, imported only when its command is named."""
