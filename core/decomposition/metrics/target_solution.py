"""Distance of probe importances from a known answer.

Probes are inputs with one feature each, so a module's importances on them form a matrix (features by
subcomponents). The known answer is an identity (one subcomponent of its own per feature) or dense (k
subcomponents serve all features, the others none). Both hold up to the order of the columns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from core.errors import UsageError, nearest_names
from core.settings import Settings
from core.stats.matching import permute_to_dense, permute_to_identity

TOLERANCE = 0.1
"""Largest importance that counts as none, and largest shortfall from 1 that counts as full."""

LOOSE_TOLERANCE = 0.2
"""A second tolerance for the total, to tell nearly right from wrong."""


class IdentitySolution(Settings):
    """Modules in which every feature has one subcomponent of its own."""

    pattern: str
    """Module names, with shell wildcards."""
    n_features: int = Field(gt=0)
    """Number of features, which is the number of probe inputs."""
    joined: bool = False
    """Whether all matched modules together hold the answer: their subcomponents are laid side by side."""


class DenseSolution(Settings):
    """Modules in which k subcomponents serve all features."""

    pattern: str
    """Module names, with shell wildcards."""
    k: int = Field(ge=0)
    """Number of subcomponents in use."""
    joined: bool = False
    """Whether all matched modules together hold the answer: their subcomponents are laid side by side."""


class TargetSolution(Settings):
    """The known answer of a toy model; the first pattern that matches a module counts, identity first."""

    identity: tuple[IdentitySolution, ...] = ()
    """Modules with one subcomponent per feature."""
    dense: tuple[DenseSolution, ...] = ()
    """Modules with a fixed number of subcomponents for all features."""

    def check(self, modules: Iterable[str]) -> None:
        """Refuse a pattern that matches no module.

        Raises:
            UsageError: naming the pattern and the nearest module names.
        """
        known = list(modules)
        for rule in (*self.identity, *self.dense):
            if not any(fnmatchcase(name, rule.pattern) for name in known):
                raise UsageError(
                    f"target solution: pattern {rule.pattern!r} matches no decomposed module.",
                    nearest_names(rule.pattern, known),
                )


@dataclass(frozen=True)
class ModuleSolution:
    """How far one module (or one joined group of modules) is from its known answer."""

    kind: Literal["identity", "dense"]
    """Which shape was expected."""
    expected: int
    """Features (identity) or subcomponents in use (dense)."""
    found: int
    """Features with a subcomponent that serves them fully, serves nothing else and has no rival (identity);
    subcomponents of the k heaviest that reach full importance somewhere (dense)."""
    error: int
    """Entries of the permuted matrix that are wrong at the tolerance; 0 is the known answer."""
    loose_error: int
    """The same at `LOOSE_TOLERANCE`."""
    modules: tuple[str, ...]
    """Names of the modules laid side by side; one, unless the rule is joined."""
    order: Int[Tensor, "C"]
    """Column order the comparison was made in."""


@dataclass(frozen=True)
class SolutionErrors:
    """Errors of all modules that have a known answer, by module name (joined: by pattern)."""

    modules: dict[str, ModuleSolution]

    @property
    def total(self) -> int:
        """Wrong entries of all modules at the tolerance."""
        return sum(m.error for m in self.modules.values())

    @property
    def loose_total(self) -> int:
        """Wrong entries of all modules at `LOOSE_TOLERANCE`."""
        return sum(m.loose_error for m in self.modules.values())


def identity_error(permuted: Float[Tensor, "F C"], tolerance: float = TOLERANCE) -> int:
    """Off-diagonal entries above the tolerance, plus diagonal entries below 1 - tolerance.

    With fewer subcomponents than features, every feature without a diagonal entry is an error too.
    """
    diagonal = permuted.diagonal()
    strong = int((permuted > tolerance).sum()) - int((diagonal > tolerance).sum())
    return strong + int((diagonal < 1 - tolerance).sum()) + permuted.shape[0] - len(diagonal)


def dense_error(permuted: Float[Tensor, "F C"], k: int, tolerance: float = TOLERANCE) -> int:
    """Of the first k columns those that nowhere reach 1 - tolerance, plus entries above it in the others."""
    return k - _full_columns(permuted, k, tolerance) + int((permuted[:, k:] > tolerance).sum())


def measure_solution(
    importances: Mapping[str, Float[Tensor, "F C"]], solution: TargetSolution, tolerance: float = TOLERANCE
) -> SolutionErrors:
    """Compare probe importances (one row per feature, by module) with the known answer.

    Raises:
        UsageError: an identity rule expects another number of features than there are probes.
    """
    groups: dict[int, list[str]] = {}
    rules = (*solution.identity, *solution.dense)
    for name in importances:
        for index, rule in enumerate(rules):
            if fnmatchcase(name, rule.pattern):
                groups.setdefault(index, []).append(name)
                break
    found: dict[str, ModuleSolution] = {}
    for index in sorted(groups):
        rule, names = rules[index], groups[index]
        parts = [tuple(names)] if rule.joined else [(name,) for name in names]
        for part in parts:
            side_by_side = torch.cat([importances[n].detach().cpu() for n in part], dim=-1)
            key = rule.pattern if rule.joined else part[0]
            found[key] = _measure(side_by_side, rule, part, tolerance)
    return SolutionErrors(found)


def _measure(
    importance: Float[Tensor, "F C"],
    rule: IdentitySolution | DenseSolution,
    names: tuple[str, ...],
    tolerance: float,
) -> ModuleSolution:
    if isinstance(rule, DenseSolution):
        order = permute_to_dense(importance)
        permuted = importance[:, order]
        errors = [dense_error(permuted, rule.k, t) for t in (tolerance, LOOSE_TOLERANCE)]
        found = _full_columns(permuted, rule.k, tolerance)
        return ModuleSolution("dense", rule.k, found, errors[0], errors[1], names, order)
    if importance.shape[0] != rule.n_features:
        raise UsageError(
            f"target solution: {', '.join(names)} was probed with {importance.shape[0]} features, "
            f"but pattern {rule.pattern!r} says n_features = {rule.n_features}."
        )
    order = permute_to_identity(importance)
    permuted = importance[:, order]
    errors = [identity_error(permuted, t) for t in (tolerance, LOOSE_TOLERANCE)]
    found = _features_alone(permuted, tolerance)
    return ModuleSolution("identity", rule.n_features, found, errors[0], errors[1], names, order)


def _full_columns(permuted: Float[Tensor, "F C"], k: int, tolerance: float) -> int:
    return int((permuted[:, :k] >= 1 - tolerance).any(dim=0).sum())


def _features_alone(permuted: Float[Tensor, "F C"], tolerance: float) -> int:
    strong = permuted > tolerance
    n = min(permuted.shape)
    alone = (strong.sum(1)[:n] == 1) & (strong.sum(0)[:n] == 1)
    return int((alone & (permuted.diagonal() >= 1 - tolerance)).sum())
