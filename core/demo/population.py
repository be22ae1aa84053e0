"""What each component of the synthetic run reacts to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.demo.vocabulary import Vocabulary

ROLES: tuple[str, ...] = ("token", "previous", "group", "position", "background")
_SHARES = (0.45, 0.15, 0.2, 0.05, 0.15)
_LIVE = 0.3
"""Share of the components that ever fire."""
MEMBERS = 12
"""Components that fire together in one group."""


@dataclass(frozen=True)
class Population:
    """What each component reacts to; numbers run through all layers."""

    roles: dict[str, NDArray[np.int64]]
    """Components of each of `ROLES`; the others never fire."""
    ties: NDArray[np.int64]
    """Pairs of token and component (ties 2): components of "token" and "previous"."""
    reliability: NDArray[np.float64]
    """Probability that a component fires where it may, (components)."""
    strength: NDArray[np.float64]
    """Mean causal importance at firings, (components)."""
    scale: NDArray[np.float32]
    """Size of the component activation, negative where it mostly is, (components)."""
    spans: NDArray[np.int64]
    """First position and number of positions of the components of "position" (n 2)."""


def make_population(
    components: int, vocabulary: Vocabulary, length: int, draws: np.random.Generator
) -> Population:
    """Draw what every component reacts to."""
    live = draws.permutation(components)[: max(len(ROLES), round(_LIVE * components))]
    cuts = np.round(np.cumsum(_SHARES) * len(live)).astype(int)
    roles = dict(zip(ROLES, np.split(live, cuts[:-1]), strict=True))
    tied = np.concatenate([roles["token"], roles["previous"]])
    per_component = draws.integers(1, 5, len(tied))
    # Rare tokens have their components too, but fewer than their share of the vocabulary.
    weights = vocabulary.frequencies**0.6
    tokens = draws.choice(len(weights), per_component.sum(), p=weights / weights.sum())
    mixed = np.where(draws.random(components) < 0.4, -1.0, 1.0)
    starts = np.where(
        draws.random(len(roles["position"])) < 0.2, 0, draws.integers(0, length, len(roles["position"]))
    )
    return Population(
        roles=roles,
        ties=np.stack([tokens, np.repeat(tied, per_component)], axis=1),
        reliability=draws.beta(5.0, 1.5, components),
        strength=draws.beta(2.0, 1.2, components),
        scale=(mixed * np.exp(draws.normal(0.0, 0.7, components))).astype(np.float32),
        spans=np.stack([starts, 1 + draws.geometric(0.25, len(starts))], axis=1),
    )


def groups_of(population: Population) -> list[NDArray[np.int64]]:
    """The components of "group", those that fire together in one array."""
    members = population.roles["group"]
    return np.array_split(members, max(1, len(members) // MEMBERS))
