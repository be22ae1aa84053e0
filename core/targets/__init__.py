"""What is decomposed: frozen target models, the data they work on and their quality checks."""
