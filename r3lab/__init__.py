"""r3lab: a lab for vision-language models that look again while they reason (VLM-R3, arXiv 2505.16192)."""

__version__ = "0.1.0"
