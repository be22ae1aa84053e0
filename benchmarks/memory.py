"""Memory of one step of the largest recipe, counted without a GPU: what is alive on tensors without memory.

    python benchmarks/memory.py [ROWS ...]

A whole training step of `pile_llama_simple_mlp-4L` (66.9M parameters, 39,936 subcomponents) in bf16 on ROWS
windows of 512 tokens runs under FakeTensor, along the paths that a GPU takes; every storage is counted
while it lives. Prints the highest sum. What the allocator loses and libraries take comes on top.
"""

import argparse
import warnings
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core import native
from core.components.component_model import ComponentModel
from core.components.masks import NoiseKey
from core.decomposition.null_rows import Batch
from core.decomposition.step import Stepper
from core.language_models.build import build_language_model
from core.language_models.settings import LlamaSimpleMLPSettings
from core.recipes.registry import build_recipe

SHAPE = LlamaSimpleMLPSettings(vocabulary=50277, context=512, layers=4, heads=12, width=768)


class Alive(TorchDispatchMode):
    """Adds up the storages that operations make, for as long as they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._storages[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        self._storages = {key: found for key, found in self._storages.items() if not found[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._storages.values()))
        return out


def peak_bytes(rows: int) -> int:
    """Of two steps: the second one has the optimiser's moments."""
    settings = build_recipe("pile_llama_simple_mlp-4L")
    with FakeTensorMode(allow_non_fake_inputs=True):
        target = build_language_model(SHAPE, 0)
        model = ComponentModel(target, settings.components, settings.importance)
        stepper = Stepper(model, settings, "kl", "bf16", torch.device("cpu"))
        alive = Alive()
        for parameter in (*target.parameters(), *model.parameters()):
            alive.add(parameter)
        ids = torch.zeros(rows, 512, dtype=torch.int64)
        with alive:
            for step in range(2):
                stepper.update(stepper.measure(Batch(ids), step), step)
    return alive.peak


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
    parser.add_argument("rows", nargs="*", type=int, default=[8, 16, 32, 64])
    # A GPU has neither the kernels nor noise that is a function of the place.
    native.usable = native.usable_stored = lambda tensor: False
    NoiseKey.uniform = lambda self, shape, device: torch.rand(shape, device=device)  # type: ignore[method-assign]
    for rows in parser.parse_args().rows:
        print(f"{rows:4} rows: {peak_bytes(rows) / 1e9:6.1f} GB", flush=True)


if __name__ == "__main__":
    main()
