"""What a decomposition is judged by, one idea a file.

Pure functions on tensors: `importance_tally` counts causal importances over batches, `target_solution`
compares them with a known answer, `column_match` compares weights (MMCS, ML2R), `neuron_contributions` does
so for residual MLPs, and `verdict` says in words what was found. The metrics one can ask for under
`evaluation.metrics` derive from `Metric` in `metric` and are listed in `union`.
"""
