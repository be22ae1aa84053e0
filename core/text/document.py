"""What a corpus is made of."""

Document = str | list[int]
"""A text, or the token ids of one where the corpus is tokenised already."""
