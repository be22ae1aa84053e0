"""The legend of a plot: each series with its sign, side by side on as many lines as there are."""

from collections.abc import Sequence

from rich.cells import cell_len

Line = tuple[tuple[str, int | None], ...]
"""Pieces of text, each with the number of its curve; None for what belongs to none."""

_GAP = "   "


def legend_lines(legend: Sequence[tuple[str, int]], width: int, markers: str, most: int) -> list[Line]:
    """The entries, a text and the number of its curve each, on `most` lines of `width`.

    Where they need more lines, the last one says how many series it leaves out.
    """
    entries = [(f"{markers[marker % len(markers)]} {text}", marker) for text, marker in legend]
    lines = _filled(entries, width)
    if len(lines) <= most:
        return [_joined(line) for line in lines]
    kept = lines[:most]
    while True:
        more = f"+{len(entries) - sum(map(len, kept))} more"
        if not kept[-1] or _width([*kept[-1], (more, None)]) <= width:
            return [*map(_joined, kept[:-1]), _joined([*kept[-1], (more, None)])]
        kept[-1] = kept[-1][:-1]


def _filled(entries: Sequence[tuple[str, int]], width: int) -> list[list[tuple[str, int | None]]]:
    lines: list[list[tuple[str, int | None]]] = []
    for entry in entries:
        if lines and _width([*lines[-1], entry]) <= width:
            lines[-1].append(entry)
        else:
            lines.append([entry])
    return lines


def _width(entries: Sequence[tuple[str, int | None]]) -> int:
    return sum(cell_len(text) for text, _ in entries) + len(_GAP) * (len(entries) - 1)


def _joined(entries: Sequence[tuple[str, int | None]]) -> Line:
    gapped = [piece for entry in entries for piece in ((_GAP, None), entry)]
    return tuple(gapped[1:])
