"""Figures of a decomposition: each function takes tensors and returns a matplotlib Figure.

Matplotlib is imported only when a figure is made, and never through pyplot, so nothing global changes.
`canvas` holds the page (grid, style, saving); the other files hold one family of figures each.
"""
