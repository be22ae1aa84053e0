"""Schedules of learning rates."""

import math
from typing import Literal

from pydantic import Field, model_validator

from core.settings import Settings


class Schedule(Settings):
    """Linear warm-up from zero, then constant, linear or half-cosine to a fraction of the start."""

    start: float = Field(gt=0)
    """Value after warm-up."""

    kind: Literal["constant", "cosine", "linear"] = "constant"
    """Shape after warm-up."""

    warmup: float = Field(default=0.0, ge=0, le=1)
    """Fraction of all steps spent rising linearly from zero."""

    final: float = Field(default=1.0, ge=0)
    """Value at the end as a fraction of `start`; must be 1 for a constant schedule."""

    @model_validator(mode="after")
    def _check_final(self) -> "Schedule":
        if self.kind == "constant" and self.final != 1:
            raise ValueError(f"a constant schedule ends where it starts: final must be 1, not {self.final}")
        return self

    def at(self, step: int, steps: int) -> float:
        """The value at one step of `steps`."""
        warm = int(steps * self.warmup)
        if step < warm:
            return self.start * step / warm
        if self.kind == "constant" or steps - warm <= 1:
            return self.start
        # The last *update* is at step steps - 1, so that is where the schedule ends; step `steps` only
        # evaluates, and there progress passes one.
        progress = (step - warm) / (steps - warm - 1)
        remaining = (1 + math.cos(math.pi * progress)) / 2 if self.kind == "cosine" else 1 - progress
        return self.start * (self.final + (1 - self.final) * remaining)
