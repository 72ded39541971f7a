"""HTTP as it is read and written: heads, targets, framing, answers, events, frames."""
