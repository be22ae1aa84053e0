"""Persistent adversarial sources, step by step against golden numbers, with fixed weights."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from core.components.masks import NoiseKey
from core.losses.context import LossContext
from core.losses.persistent import PersistentMasks
from core.losses.persistent_sources import PersistentSources
from core.losses.reconstruction import ReconstructionLoss

CASE = "04_ppgd_lm"
RUNS = range(10)


def settings_of(run: dict[str, Any]) -> PersistentMasks:
    optimizer, scope = dict(run["optimizer"]), dict(run["scope"])
    schedule = optimizer.pop("lr_schedule")
    renamed = {"start_val": "start", "fn_type": "kind", "warmup_pct": "warmup", "final_val_frac": "final"}
    lr = {renamed[name]: value for name, value in schedule.items()}
    if "n_sources" in scope:
        scope["sources"] = scope.pop("n_sources")
    return PersistentMasks.model_validate(
        {
            "optimizer": {"kind": optimizer.pop("type"), "lr": lr, **optimizer},
            "scope": {"kind": scope.pop("type"), **scope},
            "sigmoid": run["use_sigmoid_parameterization"],
            "warmup_steps": run["n_warmup_steps"],
        }
    )


def test_all_runs_are_tested(golden: Any) -> None:
    assert len(golden(CASE).data["runs"]) == len(RUNS)


@pytest.mark.parametrize("index", RUNS)
def test_a_run(component_model: Any, index: int) -> None:
    case, model = component_model(CASE)
    run, steps = case.data["runs"][index], case.data["total_steps"]
    masks = settings_of(run)
    # Any coefficient leads to the same sources: they follow the loss, not its share of the total.
    loss = ReconstructionLoss(coeff=[1.0, 0.5, 1e-3][index % 3], masks=masks)
    held = PersistentSources(masks, case.group(f"run{index}/init"))
    for step, tokens in enumerate(case["batches"].long()):
        rate = held.rate(step, steps)
        assert rate == pytest.approx(run["lr"][step])
        target = model.target_pass(tokens)
        context = LossContext(
            model=model,
            inputs=tokens,
            target=target,
            importance=model.importance(target),
            distance="kl",
            progress=0.0,
            noise=NoiseKey(0, "test", (step,)),
            weight_delta=run["use_delta_component"],
            n_positions=tokens.numel(),
            persistent={"ppgd": held},
        )
        loss.warm_up_sources(context, "ppgd", rate)
        value = loss.measure(context, "ppgd").value
        assert float(value.detach()) == pytest.approx(run["losses"][step], rel=1e-3)
        (loss.coeff * value).backward()
        held.ascend_after_backward(loss.coeff, rate)
        for name, wanted in case.group(f"run{index}/step{step}").items():
            found = held.values[name].detach()
            # The first position attends to itself alone, so its query has no gradient but rounding.
            skip = int(name.endswith("q_proj") and wanted.shape[1] > 1)
            assert_close(
                found[:, skip:],
                wanted[:, skip:],
                rtol=1e-3,
                atol=2e-3,
                msg=lambda m, s=step, n=name: f"step {s}, {n}: {m}",
            )
    assert held.count == len(case["batches"]) * (1 + masks.warmup_steps)
    assert torch.is_grad_enabled() and all(value.grad is None for value in held.values.values())
