"""Which samples are worth learning from, and why the others are not."""
