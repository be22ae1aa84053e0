"""The last words of `spd decompose` to people: what was found, and where it lies."""

from typing import Any

from spd_cli import report


def print_summary(summary: dict[str, Any]) -> None:
    """A table with one row for each module, a sentence about each, and the run's folder."""
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
    took = report.duration(summary["seconds"])
    report.result(f"run {summary['run_id']}, {summary['steps']} steps in {took}: {summary.get('path', '')}")
