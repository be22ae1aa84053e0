"""What a decomposition is trained on: faithfulness, minimality, reconstruction and hidden activations."""
