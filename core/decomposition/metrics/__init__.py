"""What a decomposition is judged by: pure functions on tensors, one idea a file.

`importance_tally` counts causal importances over batches, `target_solution` compares them with a known
answer, `column_match` compares weights (MMCS, ML2R), `neuron_contributions` does so for residual MLPs, and
`verdict` says in words whether the ground truth was recovered.
"""
