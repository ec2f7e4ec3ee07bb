"""The loop that looks again: a prompt as tokens, one row's state, the batched engine, and rollouts that go on."""
