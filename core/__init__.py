"""Stochastic parameter decomposition: the method and its statistics.

`decompose(model, batches, settings)` takes any `torch.nn.Module` apart; everything a command does goes
through the packages below. Read `core.decomposition.loop` first: it is the main path, told in order.

Stages meet only at files on disk: decompose writes a run (`core.runs`), and each later stage reads it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.decomposition.api import decompose as decompose

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loaded on first use: importing `core` must not import torch (the command line starts in 0.2 s).
    if name == "decompose":
        from core.decomposition.api import decompose

        return decompose
    raise AttributeError(f"module 'core' has no attribute {name!r}")
