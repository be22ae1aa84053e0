"""What the engine counts, computed from the model: importances, activations and outputs of one batch."""

import torch
from jaxtyping import Int
from torch import Tensor

from core.components.component_model import ComponentModel
from core.decomposition.checks import check_positions
from core.devices import Precision, autocast
from core.harvest.inputs import HarvestInputs
from core.harvest.kernel import HarvestBatch


class Forward:
    """The forward pass of a harvest: inputs of a batch to what is counted of it, on the CPU.

    Importances are the lower ones, from which masks are made, without the noise of training. The activation
    of a component is (x . v) |u|. Output probabilities are the target's own.
    """

    def __init__(
        self,
        model: ComponentModel,
        inputs: HarvestInputs,
        device: torch.device,
        precision: Precision,
        counts_output: bool,
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.device = device
        self._precision: Precision = precision
        self._counts_output = counts_output
        with torch.no_grad():
            self._norms = {name: site.U.norm(dim=1) for name, site in model.sites.items()}

    @torch.no_grad()
    def batch(self, index: int, size: int, count: int) -> HarvestBatch:
        """The first `count` sequences of batch `index` of `size`."""
        rows = self.inputs.batch(index, size)[:count]
        shape = (count, self.inputs.length)
        features = (rows != 0).unsqueeze(1) if self.inputs.kind == "features" else None
        tokens = rows if features is None else rows.abs().argmax(dim=1, keepdim=True)
        with autocast(self.device, self._precision):
            target = self.model.target_pass(rows.to(self.device))
            found = self.model.importance(target)
            activations = {name: acts * self._norms[name] for name, acts in found.acts.items()}
        probabilities = None
        if self._counts_output:
            probabilities = self._moved(target.output.float().softmax(dim=-1), shape)
        batch = HarvestBatch(
            sequences=torch.arange(index * size, index * size + count),
            tokens=tokens,
            importances={name: self._moved(values, shape) for name, values in found.lower.items()},
            activations={name: self._moved(values, shape) for name, values in activations.items()},
            probabilities=probabilities,
            features=features,
        )
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        return batch

    def _moved(self, values: Tensor, shape: tuple[int, int]) -> Tensor:
        """The values as (B S ...) on the CPU; from a GPU they are there only after a synchronisation."""
        values = values.reshape(*shape, values.shape[-1])
        if values.device.type == "cpu":
            return values
        # A copy to pinned memory does not wait, so layer after layer is on its way at once.
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        return host.copy_(values, non_blocking=True)


@torch.no_grad()
def output_width(model: ComponentModel, rows: Int[Tensor, "1 ..."], device: torch.device) -> int:
    """The last dimension of what the target returns, once its modules are known to see the same positions.

    Raises:
        UsageError: modules that see different positions.
    """
    target = model.target_pass(rows.to(device))
    check_positions(target)
    return target.output.shape[-1]
