"""The agents' library."""
