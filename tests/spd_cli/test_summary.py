"""The evaluation sheet of a language model, as people see it."""

from typing import Any

import pytest

from spd_cli.summary import MODULES_SHOWN, print_summary

MODES = ("unmasked", "ci", "stochastic", "rounded", "random", "zero")


def summary_of(layers: int) -> dict[str, Any]:
    kinds = ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj", "mlp.c_fc", "mlp.down_proj")
    modules = [f"h.{layer}.{kind}" for layer in range(layers) for kind in kinds]
    table = {"ce/target": 3.21} | {f"{key}/{mode}": 0.5 for key in ("ce", "kl", "top1") for mode in MODES}
    table |= {f"ce_recovered/{mode}": 0.94321 for mode in MODES if mode != "zero"}
    return {
        "run_id": "s-12345678",
        "path": "/runs/s-12345678",
        "steps": 2000,
        "seconds": 61.0,
        "verdict": {"headline": "CI masks recover 94.3 %."} | dict.fromkeys(modules, "4 of 650 live"),
        "live_components": dict.fromkeys(modules, 4),
        "components": dict.fromkeys(modules, 650),
        "l0": dict.fromkeys(modules, 1.25),
        "l0_per_layer": {f"h.{layer}": 7.5 for layer in range(layers)},
        "cross_entropy": table,
        "adversaries": [
            {
                "metric": "pgd",
                "loss": 1.35,
                "steps": 40,
                "step_size": 0.1,
                "init": "random",
                "on": "each batch",
            }
        ],
        "metrics": {"table": table, "layers": {"worst_kl": 0.7, "worst_kl_subset": "h.1"}},
    }


def printed(capsys: pytest.CaptureFixture[str], layers: int) -> tuple[str, list[list[str]]]:
    print_summary(summary_of(layers))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    return out, [line.split() for line in out.splitlines()]


def test_small_models_have_a_row_for_each_module(capsys: pytest.CaptureFixture[str]) -> None:
    out, rows = printed(capsys, 2)
    assert "CI masks recover 94.3 %." in out
    assert ["stochastic", "0.5", "0.5", "0.9432", "0.5"] in rows
    assert ["target", "itself", "3.21"] in rows
    assert ["pgd", "40", "0.1", "random", "each", "batch", "1.35"] in rows
    assert "layers: worst is h.1, KL 0.7" in out
    assert ["h.1.mlp.c_fc", "1.25", "4", "650"] in rows
    assert ["all", "15", "48", "7800"] in rows
    assert "h.0 7.5, h.1 7.5" in out
    assert "run s-12345678, 2000 steps in 1 min 01 s" in out


def test_large_models_are_summed_over_layers_and_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert MODULES_SHOWN < 72
    out, rows = printed(capsys, 12)
    assert ["h.11", "7.5", "24", "3900"] in rows
    assert ["mlp.c_fc", "15", "48", "7800"] in rows
    assert rows.count(["all", "90", "288", "46800"]) == 2
    assert "h.3.mlp.c_fc" not in out
