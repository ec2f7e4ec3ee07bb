"""Policies whose reason is known because it was planted: what they are taught, and how; for lesson and bench."""
