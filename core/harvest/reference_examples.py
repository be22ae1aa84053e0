"""The oracle's examples: orders of firings, and the windows of those that are kept."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from core.harvest.settings import HarvestSettings
from core.harvest.tables import ExampleTable


@dataclass(frozen=True)
class Seen:
    """One batch: sequence numbers, token ids, importances and activations of all components."""

    sequences: Int[Tensor, "B"]
    tokens: Int[Tensor, "B S"]
    importances: Float[Tensor, "B S C"]
    activations: Float[Tensor, "B S C"]


@dataclass
class Kept:
    """Firings with their places in an order (first, then key); `slots` points into a pool of windows."""

    components: NDArray[np.int64]
    first: NDArray[np.uint64]
    keys: NDArray[np.uint64]
    sequences: NDArray[np.uint64]
    positions: NDArray[np.int64]
    slots: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Kept":
        """Some of them."""
        return Kept(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def followed_by(self, other: "Kept") -> "Kept":
        """These and the others."""
        names = self.__dataclass_fields__
        return Kept(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


class Samples:
    """The uniform sample and the strongest firings of every component."""

    def __init__(self, components: int, settings: HarvestSettings) -> None:
        self.settings = settings
        self.samples = [
            Sample(components, size, settings.context)
            for size in (settings.uniform_examples, settings.strongest_examples)
        ]

    def add(self, seen: Seen) -> None:
        """Offer every firing of a batch to both samples."""
        rows, positions, components = (seen.importances > self.settings.threshold).nonzero(as_tuple=True)
        sequences = seen.sequences.numpy().view(np.uint64)[rows.numpy()]
        keys = firing_keys(self.settings.seed, components.numpy(), sequences, positions.numpy())
        importance = seen.importances[rows, positions, components].numpy().view(np.uint32)
        activation = seen.activations[rows, positions, components].abs().numpy().view(np.uint32)
        weakness = ~((importance.astype(np.uint64) << np.uint64(32)) | activation.astype(np.uint64))
        for sample, first in zip(self.samples, (keys, weakness), strict=True):
            unplaced = np.full(len(keys), -1)
            offered = Kept(components.numpy(), first, keys, sequences, positions.numpy(), unplaced)
            sample.offer(offered, rows.numpy(), seen)

    def table(self) -> ExampleTable:
        """Everything kept, by component, the uniform sample first."""
        kept = self.samples[0].kept.followed_by(self.samples[1].kept)
        strongest = np.repeat([False, True], [len(sample.kept.keys) for sample in self.samples])
        order = np.lexsort((kept.keys, kept.first, strongest, kept.components))
        windows = [self.samples[int(strongest[row])].window(int(kept.slots[row])) for row in order]
        kept, lengths = kept.take(order), [len(tokens) for tokens, _, _, _ in windows]
        return ExampleTable(
            components=kept.components.astype(np.uint32),
            strongest=strongest[order],
            sequences=kept.sequences,
            positions=kept.positions.astype(np.uint32),
            marks=np.array([mark for _, _, _, mark in windows], np.uint32),
            starts=np.cumsum([0, *lengths]).astype(np.uint64),
            tokens=np.concatenate([[], *(tokens for tokens, _, _, _ in windows)]).astype(np.uint32),
            importances=np.concatenate([[], *(values for _, values, _, _ in windows)]).astype(np.float32),
            activations=np.concatenate([[], *(values for _, _, values, _ in windows)]).astype(np.float32),
        )


class Sample:
    """The `size` firings of every component that come first in an order."""

    def __init__(self, components: int, size: int, context: int) -> None:
        self.size, self.context = size, context
        none = np.zeros(0, np.int64)
        self.kept = Kept(none, none.view(np.uint64), none.view(np.uint64), none.view(np.uint64), none, none)
        self.tokens = torch.full((components * size, 2 * context + 1), -1)
        self.importances = torch.zeros(self.tokens.shape)
        self.activations = torch.zeros(self.tokens.shape)
        self.free = np.arange(components * size)

    def offer(self, firings: Kept, rows: NDArray[np.int64], seen: Seen) -> None:
        """Keep what comes first among the kept firings and these, at `rows` of the batch."""
        both = self.kept.followed_by(firings)
        rows = np.concatenate([np.full(len(self.kept.keys), -1), rows])
        order = np.lexsort((both.keys, both.first, both.components))
        components = both.components[order]
        rank = np.arange(len(order)) - np.searchsorted(components, components)
        stays = np.zeros(len(order), np.bool_)
        stays[order[rank < self.size]] = True
        left = both.slots[~stays]
        self.free = np.concatenate([self.free, left[left >= 0]])
        new = np.flatnonzero(stays & (both.slots < 0))
        both.slots[new], self.free = self.free[: len(new)], self.free[len(new) :]
        self._store(both.take(new), rows[new], seen)
        self.kept = both.take(stays)

    def _store(self, new: Kept, rows: NDArray[np.int64], seen: Seen) -> None:
        around = torch.arange(-self.context, self.context + 1)
        at = torch.from_numpy(new.positions)[:, None] + around
        inside = (at >= 0) & (at < seen.tokens.shape[1])
        at = at.clamp(0, seen.tokens.shape[1] - 1)
        row, component = torch.from_numpy(rows)[:, None], torch.from_numpy(new.components)[:, None]
        slots = torch.from_numpy(new.slots)
        self.tokens[slots] = torch.where(inside, seen.tokens[row, at], -1)
        self.importances[slots] = seen.importances[row, at, component]
        self.activations[slots] = seen.activations[row, at, component]

    def window(self, slot: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], int]:
        """Tokens, importances and activations of a window inside its sequence, and its mark."""
        inside = self.tokens[slot] >= 0
        mark = int(inside[: self.context].sum())
        tokens, importances, activations = (
            table[slot][inside].numpy() for table in (self.tokens, self.importances, self.activations)
        )
        return tokens, importances, activations, mark


def firing_keys(
    seed: int,
    components: NDArray[np.int64],
    sequences: NDArray[np.uint64],
    positions: NDArray[np.int64],
) -> NDArray[np.uint64]:
    """The sampling key of every firing: a hash of seed, component, sequence and position (all (n))."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        place = _mix(_mix(sequences + golden) + positions.astype(np.uint64) * golden)
        start = _mix(np.array([seed], np.uint64) ^ golden)
        return _mix(place ^ _mix(start + components.astype(np.uint64) + np.uint64(1)))


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The SplitMix64 finaliser."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
