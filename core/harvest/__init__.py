"""Component statistics of a whole stream: the accumulating engine, its oracle, and the artifact on disk."""
