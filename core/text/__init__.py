"""Text as a model sees it: documents, tokenizers, packed windows of token ids."""
