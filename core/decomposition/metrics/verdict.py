"""Whether the ground truth was recovered, in words a newcomer can check against the figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from core.numerals import grouped

MIN_MMCS = 0.99
"""Smallest mean max cosine similarity that counts as recovered."""

ML2R_RANGE = (0.9, 1.1)
"""Mean L2 ratios that count as recovered."""


@dataclass(frozen=True)
class ModuleEvidence:
    """What is known about one module; None where it does not apply."""

    kind: Literal["identity", "dense"] | None = None
    """Shape of the known answer, if there is one."""
    expected: int | None = None
    """Features (identity) or subcomponents in use (dense) in the known answer."""
    found: int | None = None
    """How many of them were found (`ModuleSolution.found`)."""
    error: int | None = None
    """Wrong entries at tolerance 0.1."""
    loose_error: int | None = None
    """Wrong entries at tolerance 0.2, which is what a dense answer is judged by."""
    live: int | None = None
    """Live subcomponents."""
    mmcs: float | None = None
    """Mean max cosine similarity to the target's weight vectors."""
    ml2r: float | None = None
    """Mean L2 ratio to the target's weight vectors."""
    count: int | None = None
    """Subcomponents, live or not."""
    l0: float | None = None
    """Mean number of active subcomponents per position."""


@dataclass(frozen=True)
class LanguageEvidence:
    """What is known about the decomposition of a language model, all modules together."""

    ci_recovered: float
    """Share of the cross-entropy recovered with masks by importance; NaN where it is undefined."""
    stochastic_recovered: float
    """The same with stochastic masks."""
    l0: float
    """Mean number of active subcomponents per token."""
    live: int
    """Live subcomponents."""
    count: int
    """All subcomponents."""


@dataclass(frozen=True)
class Verdict:
    """The judgement on a whole decomposition."""

    recovered: bool | None
    """Whether every module with a known answer has it; None where no answer is known."""
    sentences: dict[str, str]
    """One sentence for each module, without its name."""
    failures: dict[str, tuple[str, ...]]
    """Conditions that failed, by module; only modules with failures."""
    language: LanguageEvidence | None = None
    """What is known of a language model."""

    @property
    def headline(self) -> str:
        """One line for the whole decomposition."""
        if self.recovered is None and self.language is not None:
            return _of_language_model(self.language)
        if self.recovered is None:
            return "No ground truth is known for this model."
        if self.recovered:
            return "Ground truth recovered."
        return f"Ground truth not recovered: see {', '.join(self.failures)}."


def verdict(evidence: Mapping[str, ModuleEvidence], language: LanguageEvidence | None = None) -> Verdict:
    """Judge all modules.

    A module with a known answer is recovered when its identity error (at tolerance 0.1) or its dense error
    (at 0.2: the k subcomponents of a block are free to turn within it, so a stray entry a little above 0.1
    among thousands says nothing about the block) is 0, and, where they are defined, MMCS is at least 0.99
    and ML2R lies in 0.9 to 1.1. The live count is reported, and remarked on when it differs, but decides
    nothing: it also sees subcomponents that no probe needs.
    """
    failures = {name: tuple(failed) for name, e in evidence.items() if (failed := _failures(e))}
    judged = [name for name, e in evidence.items() if e.kind is not None]
    sentences = {name: _sentence(e, failures.get(name, ())) for name, e in evidence.items()}
    return Verdict(not failures if judged else None, sentences, failures, language)


def _of_language_model(e: LanguageEvidence) -> str:
    live = (
        f"{grouped(e.live)} of {grouped(e.count)} subcomponents are live, "
        f"{e.l0:.1f} of them active at a token."
    )
    if not isfinite(e.ci_recovered):
        return f"Without the decomposed modules the model predicts no worse, so nothing is to recover; {live}"
    return (
        f"CI masks recover {100 * e.ci_recovered:.1f} % of the cross-entropy, stochastic masks "
        f"{100 * e.stochastic_recovered:.1f} %; {live}"
    )


def _failures(e: ModuleEvidence) -> list[str]:
    if e.kind is None:
        return []
    failed: list[str] = []
    error, where = (e.error, "") if e.kind == "identity" else (e.loose_error, " at tolerance 0.2")
    if error is None:
        failed.append(f"{e.kind} error was not measured")
    elif error != 0:
        failed.append(f"{e.kind} error is {error}{where}, must be 0")
    if e.mmcs is not None and not e.mmcs >= MIN_MMCS:
        failed.append(f"MMCS is {e.mmcs:.4f}, must be at least {MIN_MMCS}")
    low, high = ML2R_RANGE
    if e.ml2r is not None and not low <= e.ml2r <= high:
        failed.append(f"ML2R is {e.ml2r:.3f}, must be {low} to {high}")
    return failed


def _sentence(e: ModuleEvidence, failed: tuple[str, ...]) -> str:
    parts = [part for part in (_found(e), _live(e), _weights(e)) if part]
    text = "; ".join(parts) if parts else "nothing measured"
    return f"{text}. Failed: {'; '.join(failed)}" if failed else text


def _found(e: ModuleEvidence) -> str:
    if e.kind is None or e.found is None or e.expected is None:
        return ""
    if e.kind == "identity":
        features = "feature" if e.expected == 1 else "features"
        if e.found < e.expected:
            return f"only {e.found} of {e.expected} {features} with a subcomponent of their own"
        return f"{e.found} of {e.expected} {features}, one subcomponent each"
    used = "subcomponent" if e.expected == 1 else "subcomponents"
    return f"{e.found} of {e.expected} {used} shared by all features"


def _live(e: ModuleEvidence) -> str:
    if e.live is None:
        return ""
    if e.expected is None:
        live = f"{e.live} live" if e.count is None else f"{e.live} of {e.count} live"
        return live if e.l0 is None else f"{live}, L0 {e.l0:.2f}"
    return f"{e.live} live" if e.live == e.expected else f"{e.live} live where {e.expected} are expected"


def _weights(e: ModuleEvidence) -> str:
    parts: list[str] = []
    if e.mmcs is not None:
        parts.append(f"MMCS {e.mmcs:.3f}" if isfinite(e.mmcs) else "MMCS undefined")
    if e.ml2r is not None:
        parts.append(f"ML2R {e.ml2r:.2f}" if isfinite(e.ml2r) else "ML2R undefined")
    return ", ".join(parts)
