"""What is told of the run under the cursor: pure functions of what was read from disk."""

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from core.numerals import grouped, three_digits
from spd_tui.rows.bars import course
from spd_tui.rows.pace import pace_text
from spd_tui.rows.runs import STYLES, RunRow, duration, plain_line, status_text, step_text
from spd_tui.rows.wrapping import wrapped

if TYPE_CHECKING:
    from core.runs.overview import RunOverview

_MOST_SPARKS = 24


@dataclass(frozen=True)
class RunDetail:
    """What the panel tells of a run beyond its row."""

    run_id: str
    settings: Mapping[str, Any]
    modules: tuple[str, ...]
    """Decomposed modules, as logged; empty before the first record."""
    losses: tuple[float, ...]
    """Training losses spread over the run, oldest first."""
    sparsities: tuple[float, ...]
    """L0 summed over modules, likewise."""
    resumed: bool = False
    """Whether it was resumed, so that its age does not tell its pace."""
    problems: tuple[str, ...] = ()
    """Files that cannot be read, and why."""


def panel(row: RunRow, detail: RunDetail | None, pace: float | None, width: int) -> list[Text]:
    """What is told of the run under the cursor: what it is, its course, how it stands, what it has.

    Args:
        row: The run.
        detail: What was read of it beyond the row, once it is there.
        pace: Steps a second of a running one, None when not known.
        width: Cells of a line.
    """
    overview = row.overview
    if overview is None:
        lines = wrapped(plain_line(row.problem), width, most=4)
        return [_head(row, detail), *(Text(line, "red") for line in lines)]
    lines = [_head(row, detail), _course(overview, detail, pace, width), *_standing(row, width)]
    lines.append(Text(f"has {_belongings(overview)}"))
    if overview.resumable:
        lines.append(Text.assemble("go on with  ", (resume_command(overview), "bold"), "   Y copies this"))
    if detail is not None:
        lines += [Text(plain_line(problem), "red") for problem in detail.problems]
    return lines


def losses(row: RunRow) -> list[str]:
    """What is lost with a run, a line each."""
    overview = row.overview
    if overview is None:
        return []
    done = f"{step_text(row)} steps" + (f" in {duration(overview.seconds)}" if overview.seconds else "")
    return [f"{status_text(row)}, {done}", f"has {_belongings(overview)}"]


def resume_command(overview: "RunOverview") -> str:
    """The command that goes on with an unfinished run."""
    return f"spd decompose {overview.run_id} --resume"


def _head(row: RunRow, detail: RunDetail | None) -> Text:
    overview = row.overview
    text = Text.assemble((plain_line(row.run_id), "bold"))
    if overview is None:
        return text
    text.append(f" {row.recipe}", "bold")
    parts = [_target(detail.settings), _components(detail)] if detail is not None else []
    parts += [f"seed {overview.seed}", plain_line(overview.host)]
    text.append("".join(f" · {part}" for part in parts if part))
    return text


def _course(overview: "RunOverview", detail: RunDetail | None, pace: float | None, width: int) -> Text:
    pieces: list[Text] = []
    sparks = max(4, min(_MOST_SPARKS, (width - 58) // 2))
    for name, values, last in (
        ("loss", detail.losses if detail else (), overview.loss),
        ("L0", detail.sparsities if detail else (), overview.sparsity),
    ):
        if last is not None:
            drawn = f"{course(_spread(values, sparks))} " if values else ""
            pieces.append(Text.assemble(f"{name} ", (drawn, "cyan"), three_digits(last)))
    if overview.status == "running" and pace:
        left = (overview.steps - overview.step) / pace
        pieces.append(Text(f"{pace_text(pace)}, {duration(left)} left"))
    elif overview.seconds:
        pieces.append(Text(f"took {duration(overview.seconds)}"))
    if not pieces:
        running = overview.status == "running"
        return Text(
            "nothing logged yet" if running else f"nothing logged up to step {grouped(overview.step)}"
        )
    return Text("   ").join(pieces)


def _spread(values: Sequence[float], most: int) -> list[float]:
    """At most so many of the values, from the first to the last."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) <= most:
        return known
    return [known[place * (len(known) - 1) // (most - 1)] for place in range(most)]


def _standing(row: RunRow, width: int) -> list[Text]:
    """How it stands and how that is known, on two lines at most."""
    assert row.overview is not None
    word = row.status
    lines = wrapped(f"{word}: {plain_line(row.overview.reason)}", width, most=2)
    texts = [Text(line) for line in lines]
    texts[0].stylize(f"bold {STYLES[row.status]}", 0, len(word))
    return texts


def _belongings(overview: "RunOverview") -> str:
    parts = []
    for letter, names, one, many in (
        ("C", overview.checkpoints, "checkpoint", "checkpoints"),
        ("H", overview.harvests, "harvest", "harvests"),
        ("H", overview.unfinished_harvests, "unfinished harvest", "unfinished harvests"),
        ("A", overview.attributions, "set of attributions", "sets of attributions"),
        ("L", overview.labels, "set of labels", "sets of labels"),
    ):
        if names:
            newest = f"step {grouped(names[-1])}" if isinstance(names[-1], int) else plain_line(names[-1])
            parts.append(f"{letter} {len(names)} {one if len(names) == 1 else many}, newest {newest}")
    return "  ".join(parts) or "no checkpoint, harvest, attributions or labels"


def _target(settings: Mapping[str, Any]) -> str:
    """What is decomposed, from the settings: its kind and the numbers that name its size."""
    target = settings.get("target")
    if not isinstance(target, dict):
        return ""
    model = target.get("model")
    if isinstance(model, dict):
        return plain_line(_language_model(model))
    name = next(
        (str(target[key]) for key in ("name", "model", "architecture", "kind") if target.get(key)), ""
    )
    sizes = (("n_features", "features"), ("n_hidden", "hidden"), ("n_layers", "layers"), ("d_model", "wide"))
    numbers = [f"{target[key]} {word}" for key, word in sizes if isinstance(target.get(key), int)]
    return plain_line(" ".join([name.replace("_", " "), *numbers]).strip())


def _language_model(source: Mapping[str, Any]) -> str:
    """`llama simple mlp 2L d128`, or where the weights come from."""
    pretraining = source.get("settings")
    model = pretraining.get("model") if isinstance(pretraining, dict) else None
    if not isinstance(model, dict):
        return " ".join(str(source[key]) for key in ("kind", "path") if source.get(key))
    name = str(model.get("kind", "")).replace("_", " ")
    sizes = (("layers", "{}L"), ("width", "d{}"))
    return " ".join(
        [name, *(form.format(model[key]) for key, form in sizes if isinstance(model.get(key), int))]
    )


def _components(detail: RunDetail) -> str:
    components = detail.settings.get("components")
    patterns = components.get("modules") if isinstance(components, dict) else None
    if not detail.modules or not isinstance(patterns, list):
        return ""
    total = 0
    for module in detail.modules:
        fitting = (
            pattern.get("C")
            for pattern in patterns
            if isinstance(pattern, dict) and fnmatch.fnmatchcase(module, str(pattern.get("pattern")))
        )
        count = next(fitting, None)
        if not isinstance(count, int):
            return f"{len(detail.modules)} modules"
        total += count
    modules = "module" if len(detail.modules) == 1 else "modules"
    return f"{len(detail.modules)} {modules}, {grouped(total)} components"
