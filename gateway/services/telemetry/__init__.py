"""What was handled and what is held: metrics, log lines, traces, counts of use."""
