"""The nouns of the method: subcomponents, masks, routing, causal importance and the model they live in."""
