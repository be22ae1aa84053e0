"""Windows cut out of one array of ids, each epoch in an order of its own."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Int

from core.randomness import generator

_KEPT_ORDERS = 2

Order = Callable[[int, int], Int[np.ndarray, " n"]]
"""The order of n windows in an epoch, from (epoch, n)."""


class WindowSource(Protocol):
    """One endless sequence of windows."""

    @property
    def n_windows(self) -> int | None:
        """Windows of one epoch; None where the text is only read as it is needed."""
        ...

    def rows(self, start: int, count: int) -> Int[np.ndarray, "count window"]:
        """The windows number `start` to `start + count - 1`."""
        ...

    def counted(self) -> Int[np.ndarray, " tokens"]:
        """The ids from which token frequencies are counted."""
        ...


class PackedWindows:
    """Windows of an array of ids (tokens); what is left over at the end is not used.

    `order` gives the order of an epoch of n windows from (epoch, n); None: always as they stand.
    """

    def __init__(
        self,
        ids: Int[np.ndarray, " tokens"],
        window: int,
        order: Order | None,
    ) -> None:
        self._count = len(ids) // window
        self._windows = ids[: self._count * window].reshape(self._count, window)
        self._ids = ids
        self._order = order
        self._orders: dict[int, np.ndarray] = {}

    @property
    def n_windows(self) -> int:
        """Windows of one epoch."""
        return self._count

    def rows(self, start: int, count: int) -> Int[np.ndarray, "count window"]:
        """The windows number `start` to `start + count - 1`, over the borders of epochs too."""
        epochs, places = np.divmod(np.arange(start, start + count), self._count)
        if self._order is not None:
            for epoch in range(start // self._count, (start + count - 1) // self._count + 1):
                here = epochs == epoch
                places[here] = self._order_of(epoch)[places[here]]
        return self._windows[places]

    def counted(self) -> Int[np.ndarray, " tokens"]:
        """All ids."""
        return self._ids

    def _order_of(self, epoch: int) -> Int[np.ndarray, " n"]:
        assert self._order is not None
        if epoch not in self._orders:
            while len(self._orders) >= _KEPT_ORDERS:
                self._orders.pop(next(iter(self._orders)))
            self._orders[epoch] = self._order(epoch, self._count)
        return self._orders[epoch]


def fixed_order(seed: int) -> Order:
    """One shuffled order for all epochs: a few batches stand for the whole stream and stay the same."""

    def order(epoch: int, count: int) -> Int[np.ndarray, " n"]:
        return torch.randperm(count, generator=generator(seed, "order of windows/fixed")).numpy()

    return order


def epoch_order(seed: int, stream: str) -> Order:
    """The shuffled order of n windows in an epoch, as a function of (epoch, n)."""

    def order(epoch: int, count: int) -> Int[np.ndarray, " n"]:
        return torch.randperm(count, generator=generator(seed, f"order of windows/{stream}", epoch)).numpy()

    return order
