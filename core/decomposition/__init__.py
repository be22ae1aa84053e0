"""Taking a model apart: settings, the training loop, evaluation, checkpoints. Start with `loop`."""
