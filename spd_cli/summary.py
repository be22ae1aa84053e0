"""The last words of `spd decompose` to people: what was found, and where it lies."""

from typing import Any

from spd_cli import report

MODULES_SHOWN = 24
"""Modules up to which a language model's sheet has a row for each; beyond, one for each layer and kind."""

MASKS = {
    "target": "target itself",
    "unmasked": "all on (no delta)",
    "ci": "by importance (CI)",
    "stochastic": "stochastic",
    "rounded": "rounded",
    "random": "random",
    "zero": "all off",
}
"""What the rows of the table of masks are called."""


def print_summary(summary: dict[str, Any]) -> None:
    """What was found, module by module, and the run's folder.

    Of a toy model a table with one row for each module and a sentence about each; where cross-entropies were
    measured, the evaluation sheet of a language model.
    """
    if summary.get("cross_entropy"):
        _print_sheet(summary)
    else:
        _print_modules(summary)
    took = report.duration(summary["seconds"])
    report.result(f"run {summary['run_id']}, {summary['steps']} steps in {took}: {summary.get('path', '')}")


def _print_modules(summary: dict[str, Any]) -> None:
    columns = {
        "live": summary["live_components"],
        "identity error": summary["identity_ci_error"],
        "MMCS": summary["mmcs"],
        "ML2R": summary["ml2r"],
    }
    shown = {title: values for title, values in columns.items() if values}
    rows = [
        (module, *(values.get(module) for values in shown.values())) for module in summary["live_components"]
    ]
    verdict = summary.get("verdict") or {}
    report.result_table(("module", *shown), rows, title=verdict.get("headline"))
    for name, sentence in verdict.items():
        if name != "headline":
            report.result(f"{name}: {sentence}")


def _print_sheet(summary: dict[str, Any]) -> None:
    found = summary["cross_entropy"]
    rows = [
        (
            title,
            _rounded(found.get(f"ce/{mode}")),
            _rounded(found.get(f"kl/{mode}")),
            _rounded(found.get(f"ce_recovered/{mode}")),
            _rounded(found.get(f"top1/{mode}")),
        )
        for mode, title in MASKS.items()
    ]
    headline = (summary.get("verdict") or {}).get("headline")
    report.result_table(("masks", "CE", "KL", "CE recovered", "same top token"), rows, title=headline)
    _print_adversaries(summary)
    _print_worst_subsets(summary)
    _print_components(summary)


def _print_adversaries(summary: dict[str, Any]) -> None:
    rows = [
        (row["metric"], row["steps"], row["step_size"], row["init"], row["on"], _rounded(row["loss"]))
        for row in summary.get("adversaries") or []
    ]
    if rows:
        report.result_table(("adversary", "steps", "step size", "start", "sees", "KL"), rows)


def _print_worst_subsets(summary: dict[str, Any]) -> None:
    for name, values in summary["metrics"].items():
        if "worst_kl_subset" in values:
            worst, divergence = values["worst_kl_subset"], _rounded(values["worst_kl"])
            report.result(f"{name}: worst is {worst}, KL {divergence} with its modules alone replaced")


def _print_components(summary: dict[str, Any]) -> None:
    from core.decomposition.metrics.layers import kind_of, layer_of

    modules: list[str] = list(summary["components"])
    if len(modules) <= MODULES_SHOWN:
        tables = [("module", {module: [module] for module in modules})]
    else:
        tables = [("layer", _grouped(modules, layer_of)), ("modules", _grouped(modules, kind_of))]
    for title, groups in tables:
        rows = [(group, *_counts(summary, members)) for group, members in groups.items()]
        report.result_table((title, "L0", "live", "C"), [*rows, ("all", *_counts(summary, modules))])
    layers = summary.get("l0_per_layer") or {}
    if len(modules) <= MODULES_SHOWN and len(layers) < len(modules):
        report.result(f"L0 per layer: {', '.join(f'{layer} {l0:.4g}' for layer, l0 in layers.items())}")


def _grouped(modules: list[str], group_of: Any) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for module in modules:
        groups.setdefault(group_of(module), []).append(module)
    return groups


def _counts(summary: dict[str, Any], modules: list[str]) -> tuple[float, int, int]:
    l0, live, counts = summary["l0"], summary["live_components"], summary["components"]
    return (
        round(sum(l0[module] for module in modules), 2),
        sum(live[module] for module in modules),
        sum(counts[module] for module in modules),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
