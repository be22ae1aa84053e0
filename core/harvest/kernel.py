"""The door to the compiled harvest: torch tensors in, numpy tables out.

The engine keeps every statistic as integers, so its tables have the same bits for any batch size, number of
threads, split among engines or order of merging. `core.harvest.reference` does the same in plain torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from core.errors import SpdError
from core.harvest.settings import HarvestSettings
from core.harvest.tables import (
    CofiringTable,
    ComponentTable,
    ExampleTable,
    InputTable,
    OutputTable,
    TokenTable,
)
from core.native import _harvest
from core.runs.files import new_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

_BITS = {torch.float16: "f16", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class HarvestBatch:
    """B sequences of S tokens and what the model computed there; values in float32, float16 or bfloat16.

    Tensors on the CPU that are contiguous are read where they lie; others are copied first.
    """

    sequences: Int[Tensor, "B"]
    """Number of each sequence in the whole stream; no two sequences of a harvest may share one."""

    tokens: Int[Tensor, "B S"]
    """Token ids."""

    importances: Mapping[str, Float[Tensor, "B S C"]]
    """Causal importance in [0, 1] of every layer's components."""

    activations: Mapping[str, Float[Tensor, "B S C"]]
    """Component activation of the same."""

    probabilities: Float[Tensor, "B S vocab"] | None = None
    """Output probabilities of the target model; None where no output is counted."""

    features: Bool[Tensor, "B S vocab"] | None = None
    """Where a position has any number of inputs at once, as in the toys: which features are active there.
    They are counted as its inputs in the place of its token, which windows still show."""


class HarvestEngine:
    """Statistics of a stream of batches, exact and mergeable.

    `layers` gives each module path and its number of components; component numbers run through the layers
    in this order.

    Raises:
        SpdError: more than 2^20 components or tokens, or none.
    """

    def __init__(
        self, layers: Sequence[tuple[str, int]], vocabulary: int, settings: HarvestSettings | None = None
    ) -> None:
        self.layers = tuple(layers)
        self.vocabulary = vocabulary
        self.settings = HarvestSettings() if settings is None else settings
        chosen = self.settings
        self._harvest = _refusing(
            _harvest.Harvest,
            list(self.layers),
            vocabulary,
            threshold=chosen.threshold,
            context=chosen.context,
            uniform=chosen.uniform_examples,
            strongest=chosen.strongest_examples,
            share=output_units(chosen.output_share),
            seed=chosen.seed,
        )
        self._handles: NDArray[np.uint32] | None = None

    @property
    def positions(self) -> int:
        """Token positions counted so far."""
        return self._harvest.positions

    def add_batch(self, batch: HarvestBatch) -> None:
        """Count one batch, on `torch.get_num_threads()` threads.

        Raises:
            SpdError: a shape does not fit, a value is NaN or out of its range, or a token id is outside the
                vocabulary; the message names layer, place in the batch and value, and nothing was counted.
        """
        for name, width in self.layers:
            for kind, values in (("importances", batch.importances), ("activations", batch.activations)):
                if name not in values:
                    raise SpdError(f"the batch has no {kind} of layer {name}.")
                _check_shape(f"{kind} of layer {name}", values[name], (*batch.tokens.shape, width))
        if unknown := sorted(set(batch.importances) - {name for name, _ in self.layers}):
            raise SpdError(
                f"the batch has importances of {unknown[0]}, which is not a layer of this harvest."
            )
        _check_shape("sequences", batch.sequences, (batch.tokens.shape[0],))
        if batch.probabilities is not None:
            _check_shape("output probabilities", batch.probabilities, (*batch.tokens.shape, self.vocabulary))
        features = None
        if batch.features is not None:
            _check_shape("features", batch.features, (*batch.tokens.shape, self.vocabulary))
            features = batch.features.detach().to("cpu", torch.bool).contiguous().view(torch.uint8).numpy()
        self._handles = None
        _refusing(
            self._harvest.add_batch,
            batch.sequences.to("cpu", torch.int64).contiguous().numpy().view("uint64"),
            batch.tokens.to("cpu", torch.int64).contiguous().numpy(),
            [(_values(batch.importances[name]), _values(batch.activations[name])) for name, _ in self.layers],
            None if batch.probabilities is None else _values(batch.probabilities),
            torch.get_num_threads(),
            features,
        )

    def merge(self, other: "HarvestEngine") -> None:
        """Count what `other` counted on other sequences; `other` is empty afterwards.

        Raises:
            SpdError: its settings are not the same.
        """
        assert other is not self, "a harvest cannot be merged with itself"
        self._handles = other._handles = None
        _refusing(self._harvest.merge, other._harvest)

    def save(self, path: Path) -> None:
        """Write the whole state with a checksum to `path`, in one step.

        Raises:
            SpdError: the disk is full or the folder may not be written.
        """
        with new_file(path) as temporary:
            self._harvest.save(temporary, torch.get_num_threads())

    @classmethod
    def load(cls, path: Path) -> "HarvestEngine":
        """The engine saved at `path`; it goes on as if it had never been saved.

        Raises:
            SpdError: the file is missing, truncated, changed, or of another version.
        """
        engine = cls.__new__(cls)
        try:
            engine._harvest = _harvest.Harvest.load(path)
        except (OSError, ValueError) as error:
            raise SpdError(
                f"cannot read the harvest state {path}: {error}.", "Remove it; the work is done again."
            ) from error
        layers, vocabulary, threshold, context, uniform, strongest, share, seed = engine._harvest.settings()
        engine.layers, engine.vocabulary, engine._handles = tuple(layers), vocabulary, None
        engine.settings = HarvestSettings(
            threshold=_shortest(lambda number: np.float32(number) == np.float32(threshold), threshold),
            context=context,
            uniform_examples=uniform,
            strongest_examples=strongest,
            output_share=_shortest(lambda number: output_units(number) == share, share / 2**32),
            seed=seed,
        )
        return engine

    def memory_bytes(self) -> dict[str, int]:
        """Bytes that each part holds."""
        return dict(self._harvest.memory_bytes())

    def fired(self) -> "NDArray[np.uint32]":
        """Components that fired at least once, ascending."""
        fired, self._handles = self._harvest.settle(torch.get_num_threads())
        return fired

    def components(self) -> ComponentTable:
        """Numbers of every component."""
        firings, importance, activation, at_firings, activation_at_firings, bins = self._harvest.totals()
        return ComponentTable(
            firings=firings,
            importance_sum=importance,
            activation_sum=activation,
            firing_importance_sum=at_firings,
            firing_activation_sum=activation_at_firings,
            importance_histogram=bins.reshape(len(firings), -1),
        )

    def cofiring(self, start: int, stop: int) -> CofiringTable:
        """Co-firing of the components at `start` to `stop` of `fired()`."""
        starts, others, counts = self._harvest.cofiring(self._wanted(start, stop))
        return CofiringTable(starts, others, counts)

    def input_tokens(self, start: int, stop: int) -> InputTable:
        """Input tokens of the components at `start` to `stop` of `fired()`."""
        return InputTable(*self._harvest.input_tokens(self._wanted(start, stop)))

    def output_tokens(self, start: int, stop: int) -> OutputTable | None:
        """Output mass of the components at `start` to `stop` of `fired()`; None when it is not counted."""
        table = self._harvest.output_tokens(self._wanted(start, stop))
        return None if table is None else OutputTable(*table)

    def tokens(self) -> TokenTable:
        """Counts and masses of every token of the vocabulary."""
        occurrences, masses = self._harvest.tokens()
        return TokenTable(occurrences, *((None, None) if masses is None else masses))

    def output_totals(self) -> tuple[float, float] | None:
        """Output mass of all positions, and how much of it was dropped; None when it is not counted."""
        return self._harvest.output_totals()

    def examples(self, start: int, stop: int) -> ExampleTable:
        """Examples of the components at `start` to `stop` of `fired()`."""
        heads, starts, windows = self._harvest.examples(self._wanted(start, stop))
        return ExampleTable(*heads, starts, *windows)

    def _wanted(self, start: int, stop: int) -> list[int]:
        if self._handles is None:
            self.fired()
        assert self._handles is not None
        return self._handles[start:stop].tolist()


def output_units(share: float) -> int:
    """A share of output mass in the engine's units of 2^-32, rounded up to at least one if it is not zero."""
    return 0 if share == 0 else max(1, round(share * 2**32))


def _shortest(fits: Callable[[float], bool], number: float) -> float:
    """The number with the fewest digits that fits: what a person gave before the engine rounded it."""
    candidates = (float(f"{number:.{digits}g}") for digits in range(1, 18))
    return next((candidate for candidate in candidates if fits(candidate)), number)


def _values(tensor: Tensor) -> "tuple[str, NDArray[np.float32 | np.uint16]]":
    """The tensor's own memory as an array, with the name of its format."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype in _BITS:
        return _BITS[tensor.dtype], tensor.view(torch.uint16).numpy()
    return "f32", tensor.to(torch.float32).numpy()


def _check_shape(what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise SpdError(f"{what} have shape {tuple(tensor.shape)}, expected {shape}.")


def _refusing(function: Callable[..., T], *arguments: object, **options: object) -> T:
    """Call the engine; its refusals are sentences for the user."""
    try:
        return function(*arguments, **options)
    except ValueError as error:
        raise SpdError(f"{error}.") from error
