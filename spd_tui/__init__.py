"""The browser in the terminal: runs, training and components, over SSH and without a mouse."""
