"""One legend of dimension letters for the whole project.

letter        meaning
`B`           batch: independent inputs
`S`           sequence position
`...` / `pos` leading position dimensions: (B) for vectors, (B S) for sequences
`N`           number of positions, the product of `pos`
`C`           subcomponents of one module
`d_in` `d_out`  input and output width of a module (for an embedding, d_in is the vocabulary)
`H`           hidden width of a causal-importance network
`F`           features of a toy model
`M`           decomposed modules
`vocab`       vocabulary of a language model

symbol        meaning (Bushnaq, Braun, Sharkey 2025, "Stochastic Parameter Decomposition")
`V` `U`       subcomponent factors, (d_in C) and (C d_out): W is approximated by (V U)^T
`a`           component activation x V, (... C)
`g`           causal importance in [0, 1], (... C)
`r`           stochastic or adversarial source in [0, 1], (... C)
`m`           mask g + (1 - g) r, (... C)
`delta`       weight delta W - (V U)^T, what the subcomponents leave over
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Acts = Float[Tensor, "... d"]
"""Any activation whose last dimension is a width."""

ComponentActs = Float[Tensor, "... C"]
"""Component activations `a`, importances `g`, sources `r` or masks `m`: one number per subcomponent."""

PositionValues = Float[Tensor, "..."]
"""One number per position: delta masks, weights of rows."""

Routing = Bool[Tensor, "..."]
"""Per position: whether the module is replaced by its subcomponents there."""

TokenIds = Int[Tensor, "..."]
"""Token ids, the input of an embedding."""
