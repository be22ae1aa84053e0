"""The verdict on a trained target: does it do its task, and the numbers that say so."""

from dataclasses import dataclass

from torch import Tensor

_NAMES_SHOWN = 8


@dataclass(frozen=True)
class Quality:
    """Whether a trained target does its task, with the numbers behind the verdict."""

    passed: bool
    """True when the target may be decomposed."""

    note: str
    """The verdict in words, such as `4 of 5 features represented (missing: 2)`."""

    numbers: dict[str, float]
    """What was measured, by name."""


def represented_quality(good: Tensor, numbers: dict[str, float], verb: str = "represented") -> Quality:
    """The verdict that asks every feature of `good`, bool (F), to be true; `verb` says what good means."""
    total, count = good.numel(), int(good.sum())
    missing = [str(index) for index in (~good).nonzero().flatten().tolist()]
    note = f"{count} of {total} features {verb}"
    if missing:
        shown = ", ".join(missing[:_NAMES_SHOWN]) + (", ..." if len(missing) > _NAMES_SHOWN else "")
        note += f" (missing: {shown})"
    return Quality(not missing, note, {verb: count, "features": total, **numbers})
