"""A stream of batches with structure to find: components that fire at a token, after a token, together, at a
position, or as rarely as a power of their rank says; most never fire."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from core.demo.population import groups_of, make_population
from core.demo.vocabulary import Vocabulary
from core.harvest.kernel import HarvestBatch

_SUCCESSORS = 24
"""Tokens that may follow a token."""
_THEME = 16
"""Tokens that come up while a group is active."""

Events = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows of a batch and the components that fire there."""


class SyntheticStream:
    """Batches of `batch` sequences of `length` tokens of `layers`; the same for the same seed."""

    def __init__(
        self,
        layers: Sequence[tuple[str, int]],
        vocabulary: Vocabulary,
        *,
        batch: int = 4,
        length: int = 128,
        seed: int = 0,
    ) -> None:
        self.layers, self.vocabulary, self.batch, self.length = tuple(layers), vocabulary, batch, length
        self._draws = np.random.default_rng(seed)
        widths = np.array([width for _, width in layers])
        self.population = make_population(int(widths.sum()), vocabulary, length, self._draws)
        self._places = _places(widths, batch * length)
        size = int(widths.sum()) * batch * length
        noise = torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 0.05
        self._quiet = noise.to(torch.float16).numpy()
        self._importances = np.zeros(size, np.float16)
        self._activations = self._quiet.copy()
        self._outputs = np.empty((batch * length, len(vocabulary.texts)), np.float32)
        self._groups = groups_of(self.population)
        self._words = _words(vocabulary, len(self._groups), self._draws)
        self._ties = {role: self._ties_of(role) for role in ("token", "previous")}
        self._done = 0

    def batches(self, count: int) -> Iterator[HarvestBatch]:
        """`count` batches; a batch's tensors are overwritten by the next one."""
        for _ in range(count):
            tokens, active = self._text()
            rows, components = self._firings(tokens, active)
            at, batch = self._batch(tokens, active, rows, components)
            yield batch
            # Writing back what changed is much less than clearing every position of every component.
            self._importances[at] = 0.0
            self._activations[at] = self._quiet[at]

    def _text(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens, and the group that is active at each position or -1; both (batch length)."""
        draws, shape = self._draws, (self.batch, self.length)
        following, themes = self._words
        choice, which = draws.random(shape), draws.integers(0, _SUCCESSORS, shape)
        # Squared: the first of the tokens that may follow comes up most.
        which = np.minimum(which, draws.integers(0, _SUCCESSORS, shape))
        themed = draws.integers(0, _THEME, shape)
        fresh = draws.choice(len(following), shape, p=self.vocabulary.frequencies)
        groups = len(themes)
        span = max(2, self.length // 8)
        sections = draws.integers(-(groups // 2) - 1, groups, (self.batch, -(-self.length // span)))
        active = np.maximum(np.repeat(sections, span, axis=1)[:, : self.length], -1)
        tokens = np.empty(shape, np.int64)
        tokens[:, 0] = fresh[:, 0]
        for place in range(1, self.length):
            follows = following[tokens[:, place - 1], which[:, place]]
            theme = themes[active[:, place], themed[:, place]]
            in_theme = (choice[:, place] < 0.25) & (active[:, place] >= 0)
            tokens[:, place] = np.where(in_theme, theme, follows)
            tokens[:, place] = np.where(choice[:, place] > 0.6, fresh[:, place], tokens[:, place])
        return tokens, active

    def _ties_of(self, role: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Components of a role sorted by token, and where each token's begin."""
        ties = self.population.ties
        ties = ties[np.isin(ties[:, 1], self.population.roles[role])]
        ties = ties[np.argsort(ties[:, 0], kind="stable")]
        starts = np.searchsorted(ties[:, 0], np.arange(len(self.vocabulary.texts) + 1))
        return ties[:, 1], starts

    def _firings(self, tokens: NDArray[np.int64], active: NDArray[np.int64]) -> Events:
        population, draws = self.population, self._draws
        rows = np.arange(tokens.size)
        earlier = np.concatenate([np.full((self.batch, 1), -1), tokens[:, :-1]], axis=1).ravel()
        found = [
            _expand(rows, tokens.ravel(), *self._ties["token"]),
            _expand(rows[earlier >= 0], earlier[earlier >= 0], *self._ties["previous"]),
            self._together(active.ravel()),
            self._at_positions(),
        ]
        events = np.concatenate([np.stack(pair) for pair in found], axis=1)
        kept = draws.random(events.shape[1]) < population.reliability[events[1]]
        background = population.roles["background"]
        density = 0.95 * np.arange(1, len(background) + 1, dtype=np.float64) ** -0.9
        # Rows are drawn with replacement; this rate makes the density come out right.
        counts = draws.poisson(-np.log1p(-density) * tokens.size)
        anywhere = np.stack([draws.integers(0, tokens.size, counts.sum()), np.repeat(background, counts)])
        rows_found, components = np.concatenate([events[:, kept], anywhere], axis=1)
        size = len(population.strength)
        events = np.unique(rows_found * size + components)
        return events // size, events % size

    def _together(self, active: NDArray[np.int64]) -> Events:
        groups = self._groups
        rows = np.flatnonzero((active >= 0) & (self._draws.random(len(active)) < 0.4))
        members = [groups[group] for group in active[rows]]
        return np.repeat(rows, [len(each) for each in members]), np.concatenate(
            [*members, np.empty(0, np.int64)]
        )

    def _at_positions(self) -> Events:
        spans = self.population.spans
        components = np.repeat(self.population.roles["position"], spans[:, 1])
        offsets = np.concatenate([np.arange(count) for count in spans[:, 1]] or [np.empty(0, np.int64)])
        places = np.repeat(spans[:, 0], spans[:, 1]) + offsets
        components, places = components[places < self.length], places[places < self.length]
        rows = places[None, :] + self.length * np.arange(self.batch)[:, None]
        return rows.ravel(), np.tile(components, self.batch)

    def _batch(
        self,
        tokens: NDArray[np.int64],
        active: NDArray[np.int64],
        rows: NDArray[np.int64],
        components: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], HarvestBatch]:
        population, draws = self.population, self._draws
        first, width, index = (each[components] for each in self._places)
        at = first + rows * width + index
        noise = draws.normal(0.0, 0.25, len(at))
        importance = np.clip(population.strength[components] + noise, 0.01, 1.0)
        swings = np.where(draws.random(len(at)) < 0.06, -1.0, 1.0) * np.exp(draws.normal(0.0, 0.3, len(at)))
        self._importances[at] = importance
        self._activations[at] = population.scale[components] * (0.4 + importance) * swings
        self._predict(tokens, active)
        numbers = torch.arange(self._done, self._done + self.batch)
        self._done += self.batch
        batch = HarvestBatch(
            numbers,
            torch.from_numpy(tokens),
            self._by_layer(self._importances),
            self._by_layer(self._activations),
            torch.from_numpy(self._outputs.reshape(self.batch, self.length, -1)),
        )
        return at, batch

    def _by_layer(self, values: NDArray[np.float16]) -> dict[str, torch.Tensor]:
        rows, start, result = self.batch * self.length, 0, {}
        for name, width in self.layers:
            part = values[start * rows : (start + width) * rows]
            result[name] = torch.from_numpy(part.reshape(self.batch, self.length, width))
            start += width
        return result

    def _predict(self, tokens: NDArray[np.int64], active: NDArray[np.int64]) -> None:
        """Output probabilities: mostly tokens that may follow, some of the theme, a little of the rest."""
        following, themes = self._words
        outputs, rows = self._outputs, np.arange(tokens.size)[:, None]
        outputs[:] = 0.004 / outputs.shape[1]
        falling = 1.0 / (1.0 + np.arange(_SUCCESSORS)) ** (0.8 + 0.8 * (tokens.reshape(-1, 1) % 7) / 6)
        np.add.at(outputs, (rows, following[tokens.ravel()]), 0.996 * falling / falling.sum(1, keepdims=True))
        in_theme = np.flatnonzero(active.ravel() >= 0)
        outputs[in_theme] *= 0.7
        np.add.at(outputs, (in_theme[:, None], themes[active.ravel()[in_theme]]), 0.3 / _THEME)


def _places(widths: NDArray[np.int64], rows: int) -> tuple[NDArray[np.int64], ...]:
    """Of each component: where its layer's values begin, the layer's width, and its number in the layer."""
    starts = np.cumsum(widths) - widths
    index = np.arange(widths.sum()) - np.repeat(starts, widths)
    return np.repeat(starts * rows, widths), np.repeat(widths, widths), index


def _words(
    vocabulary: Vocabulary, groups: int, draws: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens that may follow each token (vocabulary, 24), and the theme of each group (groups, 16)."""
    size = len(vocabulary.texts)
    following = draws.choice(size, (size, _SUCCESSORS), p=vocabulary.frequencies)
    flat = vocabulary.frequencies**0.3
    flat[vocabulary.hard] = 0.0
    return following, draws.choice(size, (groups, _THEME), p=flat / flat.sum())


def _expand(
    rows: NDArray[np.int64],
    tokens: NDArray[np.int64],
    components: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> Events:
    """For each row the components tied to its token."""
    counts = starts[tokens + 1] - starts[tokens]
    before = np.cumsum(counts) - counts
    places = np.arange(counts.sum()) + np.repeat(starts[tokens] - before, counts)
    return np.repeat(rows, counts), components[places]
