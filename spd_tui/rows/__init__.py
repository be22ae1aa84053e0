"""Pure functions that turn what is on disk into table rows and lines of text."""
