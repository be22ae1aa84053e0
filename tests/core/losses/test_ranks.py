"""Two real processes do what one does: every loss, its gradients, and persistent sources over steps.

This file is also what those processes run; they talk through gloo.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.testing import assert_close

from core.components.component_model import ComponentModel
from core.components.importance_layerwise import LayerwiseImportance
from core.components.masks import NoiseKey
from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition.null_rows import Batch
from core.decomposition.settings import settings_from
from core.decomposition.step import Stepper
from core.losses.reconstruction import persistent_losses
from core.parallel import SINGLE, Ranks

STEPS = 4
SCOPES: dict[str, dict[str, Any]] = {
    "single_source": {"kind": "single_source"},
    "broadcast_across_batch": {"kind": "broadcast_across_batch"},
    "repeat_across_batch": {"kind": "repeat_across_batch", "sources": 2},
    "per_batch_per_position": {"kind": "per_batch_per_position"},
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sign": {"kind": "sign", "lr": {"start": 0.02}},
    "adam": {"kind": "adam", "lr": {"start": 0.02}, "eps": 1e-4},
}
MASKS: dict[str, dict[str, Any]] = {
    "unmasked": {"kind": "unmasked"},
    "importance": {"kind": "importance"},
    "stochastic": {"kind": "stochastic", "samples": 2},
    "adversarial shared": {"kind": "adversarial", "n_steps": 2, "step_size": 0.1},
    "adversarial unique": {
        "kind": "adversarial",
        "n_steps": 2,
        "step_size": 0.1,
        "scope": "unique_per_datapoint",
    },
    **{
        f"persistent {scope}": {"kind": "persistent", "scope": settings, "optimizer": OPTIMIZERS["sign"]}
        for scope, settings in SCOPES.items()
    },
}
ROUTINGS = ["all", "layerwise", "subset", "probability"]


def loss_table() -> dict[str, dict[str, Any]]:
    """Every kind of loss, reconstruction at every point of its axes."""
    table: dict[str, dict[str, Any]] = {
        "faithfulness": {"kind": "faithfulness"},
        "minimality": {"kind": "minimality", "p": 0.9, "eps": 1e-6},
        "minimality, beta": {"kind": "minimality", "p": 0.9, "beta": 0.5, "eps": 1e-6},
        "hidden, stochastic": {"kind": "hidden_activations", "masks": {"kind": "stochastic", "samples": 2}},
        "hidden, importance": {"kind": "hidden_activations", "masks": {"kind": "importance"}},
        "kl": {"kind": "reconstruction", "distance": "kl"},
    }
    for masks, settings in MASKS.items():
        for routing in ROUTINGS:
            table[f"{masks}, {routing}"] = {
                "kind": "reconstruction",
                "masks": settings,
                "routing": {"kind": routing},
            }
    return {name: {"coeff": 1.0, **loss} for name, loss in table.items()}


LOSSES = loss_table()
TRAININGS = [f"{scope} {optimizer}" for scope in SCOPES for optimizer in OPTIMIZERS]


def make_stepper(ranks: Ranks, losses: dict[str, Any]) -> Stepper:
    """A small model of windows, (B S 6) to (B S 5), and its training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        target = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5))
    data = {
        "components": {"modules": [{"pattern": "[02]", "C": 7}]},
        "losses": losses,
        "training": {"steps": 10, "batch_size": 8, "lr": {"start": 1e-3}},
    }
    settings = settings_from(data, "test")
    components = ComponentsSettings(modules=(ModulePattern(pattern="[02]", C=7),))
    model = ComponentModel(target, components, LayerwiseImportance(hidden=(4,)))
    return Stepper(model, settings, "mse", "fp32", torch.device("cpu"), ranks)


def batch_of(step: int, ranks: Ranks) -> Batch:
    """This rank's rows of a batch of windows, (8 3 6) in all."""
    return Batch(torch.randn(8, 3, 6, generator=torch.Generator().manual_seed(100 + step))).share(ranks)


def measured(ranks: Ranks) -> dict[str, Any]:
    """Total, count and gradients of every loss, of this rank's rows."""
    stepper = make_stepper(ranks, LOSSES)
    persistent = persistent_losses(stepper.settings.losses)
    parameters = dict(stepper.model.named_parameters())
    found: dict[str, Any] = {}
    for name, loss in stepper.settings.losses.items():
        context = stepper.context(batch_of(0, ranks), 0)
        if name in persistent:
            context = replace(context, persistent={name: persistent[name][1].begin(context, name)})
        part = loss.measure(context, name)
        gradients = torch.autograd.grad(part.value, list(parameters.values()), materialize_grads=True)
        found[name] = {
            "total": part.total.detach(),
            "count": float(part.count),
            "gradients": dict(zip(parameters, gradients, strict=True)),
        }
    return found


def trained(ranks: Ranks) -> dict[str, Any]:
    """Sources and parameters after some steps against persistent adversaries."""
    found: dict[str, Any] = {}
    for name in TRAININGS:
        scope, optimizer = name.split()
        masks = {
            "kind": "persistent",
            "scope": SCOPES[scope],
            "optimizer": OPTIMIZERS[optimizer],
            "warmup_steps": 1,
        }
        loss = {"kind": "reconstruction", "coeff": 0.5, "masks": masks, "routing": {"kind": "subset"}}
        stepper = make_stepper(ranks, {"persistent": loss})
        for step in range(STEPS):
            if step == STEPS // 2:  # as if it were stopped and resumed here
                stepper.load_persistent_state(stepper.persistent_state())
            stepper.update(stepper.measure(batch_of(step, ranks), step), step)
        found[name] = {
            "state": stepper.persistent_state(),
            "parameters": {key: value.detach() for key, value in stepper.model.named_parameters()},
        }
    return found


def run_rank(rank: int, size: int, folder: Path) -> None:
    """What each process does."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=size)
    ranks = Ranks(rank, size)
    torch.save({"measured": measured(ranks), "trained": trained(ranks)}, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found, by rank."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, __file__, str(rank), "2", str(folder)] for rank in range(2)]
    processes = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    """What one process finds."""
    return {"measured": measured(SINGLE), "trained": trained(SINGLE)}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_add_up_to_that_of_one_process(
    one: dict[str, Any], two: list[dict[str, Any]], name: str
) -> None:
    whole = one["measured"][name]
    parts = [rank["measured"][name] for rank in two]
    value = sum(part["total"] for part in parts) / sum(part["count"] for part in parts)
    assert float(value) > 0
    assert_close(value, whole["total"] / whole["count"], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_averaged_gradients_are_those_of_one_process(
    one: dict[str, Any], two: list[dict[str, Any]], name: str
) -> None:
    wanted: dict[str, Tensor] = one["measured"][name]["gradients"]
    largest = max(float(gradient.abs().max()) for gradient in wanted.values())
    assert largest > 0
    for key, gradient in wanted.items():
        mean = torch.stack([rank["measured"][name]["gradients"][key] for rank in two]).mean(0)
        assert_close(mean, gradient, rtol=2e-5, atol=2e-6 * largest, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize(
    "name", [name for name in LOSSES if name not in ("faithfulness", "minimality, beta")]
)
def test_the_ranks_hold_different_rows(two: list[dict[str, Any]], name: str) -> None:
    first, second = (float(rank["measured"][name]["total"]) for rank in two)
    assert first != second


@pytest.mark.parametrize("name", TRAININGS)
def test_persistent_sources_go_the_way_of_one_process(
    one: dict[str, Any], two: list[dict[str, Any]], name: str
) -> None:
    whole = one["trained"][name]
    for rank in two:
        found = rank["trained"][name]
        assert found["state"]["persistent"]["count"] == 2 * STEPS
        for key, value in whole["parameters"].items():
            assert_close(found["parameters"][key], value, rtol=1e-4, atol=1e-5)
        for key, value in whole["state"]["persistent"]["values"].items():
            assert_close(found["state"]["persistent"]["values"][key], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TRAININGS)
def test_ranks_agree_on_what_a_checkpoint_holds(two: list[dict[str, Any]], name: str) -> None:
    first, second = (rank["trained"][name]["state"]["persistent"] for rank in two)
    for key, value in first["values"].items():
        assert torch.equal(value, second["values"][key])
        assert all(map(torch.equal, first["moments"][key], second["moments"][key]))


def test_a_key_of_the_whole_is_drawn_alike_on_all_ranks() -> None:
    keys = [NoiseKey(0, "field", (1,), part) for part in (0, 1)]
    whole = keys[0].uniform(torch.Size((4, 3)), torch.device("cpu"))
    halves = [key.uniform(torch.Size((2, 3)), torch.device("cpu")) for key in keys]
    assert torch.equal(torch.cat(halves), whole)
    assert torch.equal(keys[1].whole().uniform(torch.Size((4, 3)), torch.device("cpu")), whole)


if __name__ == "__main__":
    run_rank(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
