"""A run on disk: its paths, manifest, metrics log, lock and the references people name it by; torch-free."""
