"""Named full settings, as functions: one file per target family, listed in `registry`."""
