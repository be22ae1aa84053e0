"""The Python API: decompose any model you have in memory.

    import torch
    from core import decompose
    from core.decomposition.settings import settings_from

    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    settings = settings_from({
        "components": {"modules": [{"pattern": "[02]", "C": 12}]},  # fnmatch of module names
        "importance": {"kind": "vector_mlp", "hidden": [16]},
        "losses": {
            "minimality": {"kind": "minimality", "coeff": 1e-3},
            "stochastic": {"kind": "reconstruction", "coeff": 1.0},
        },
        "training": {"steps": 500, "batch_size": 256, "lr": {"start": 1e-3}},
    }, "my settings")
    run = decompose(model, lambda step: torch.randn(256, 8), settings, out="out")
    print(run.summary["live_components"], run.model.sites["0"].V.shape)

The settings that are left out have defaults; `core.settings.to_yaml(settings)` writes them all out.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.decomposition.settings import DecompositionSettings
from core.decomposition.start import RunRequest, RunResult, start_run
from core.errors import UsageError
from core.losses.context import Distance
from core.runs.directory import output_root
from core.runs.observer import Silent
from core.targets.target import Target


def decompose(
    model: nn.Module,
    batches: Callable[[int], Any] | Iterable[Any],
    settings: DecompositionSettings,
    *,
    eval_batches: Callable[[int], Any] | Iterable[Any] | None = None,
    output: Callable[[Any], Tensor] | None = None,
    distance: Distance = "mse",
    out: str | Path | None = None,
    device: str = "auto",
    precision: str = "fp32",
    resume: bool = False,
    observer: Any = None,
) -> RunResult:
    """Decompose `model` on `batches` and return the finished run.

    `batches` gives model inputs (a tensor, or a mapping of keyword arguments): a function of the step, or
    an iterable, which is kept in memory and cycled through. A function makes resuming exact when it is a
    pure function of its argument. `eval_batches` are held-out inputs; without them `batches` is asked for
    steps past the end of training. `output` picks the output tensor from what the model returns. The model
    is frozen meanwhile; `result.model.detach()` gives it back without any trace of the decomposition.

    Raises:
        UsageError: settings that do not fit the model, or no batches.
    """
    train = _by_index(batches, "batches")
    held_out = _by_index(eval_batches, "eval_batches") if eval_batches is not None else None

    def batch(stream: str, index: int, size: int) -> Any:
        if stream == "train":
            return train(index)
        return held_out(index) if held_out else train(settings.training.steps + index)

    target = Target(
        name=type(model).__name__,
        model=model,
        batch=batch,
        distance=distance,
        probes=None,
        ties=(),
        digest="",
        folder=None,
    )
    required = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    training = model.training
    request = RunRequest(
        settings=settings,
        root=output_root(Path(out) if out is not None else None),
        device=device,
        precision=precision,
        resume=resume,
        target=target,
        output=output,
    )
    try:
        return start_run(request, observer or Silent())
    finally:
        model.train(training)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(required.get(name, False))


def _by_index(batches: Callable[[int], Any] | Iterable[Any], name: str) -> Callable[[int], Any]:
    if callable(batches):
        return batches
    kept = [torch.as_tensor(b) if not isinstance(b, dict) else b for b in batches]
    if not kept:
        raise UsageError(f"{name} is empty.", "Give at least one batch of model inputs.")
    return lambda index: kept[index % len(kept)]
