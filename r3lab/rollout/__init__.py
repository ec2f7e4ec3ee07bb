"""The loop that looks again: a prompt as tokens, one row's state, and the batched engine that serves many rows."""
