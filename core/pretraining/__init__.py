"""Training a small language model to be decomposed."""
