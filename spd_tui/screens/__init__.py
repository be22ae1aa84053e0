"""The screens of the browser: one per mode, and those pushed over them."""
