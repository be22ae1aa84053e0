"""Language models: small architectures of our own, and what can be loaded from elsewhere."""
