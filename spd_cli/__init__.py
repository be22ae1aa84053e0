"""The command line: a thin face over `core` that prints, and nothing else."""
