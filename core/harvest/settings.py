"""What a harvest counts."""

from typing import Annotated

from pydantic import Field

from core.settings import Settings


class HarvestSettings(Settings):
    """What a harvest counts; two harvests merge only when all of it is equal."""

    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A component fires where its causal importance is above this."""

    context: Annotated[int, Field(ge=0, le=65536)] = 20
    """Tokens that an example shows on either side of a firing."""

    uniform_examples: Annotated[int, Field(ge=0, le=65536)] = 200
    """Examples per component drawn uniformly, without replacement, from all of its firings."""

    strongest_examples: Annotated[int, Field(ge=0, le=65536)] = 50
    """Examples per component with the largest causal importance, then magnitude of component activation."""

    output_share: Annotated[float, Field(ge=0, le=1)] = 0.99
    """Share of each position's output probability that is counted, most probable tokens first; the rest is
    recorded as dropped. 1 counts every token, 0 counts no output at all."""

    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    """Seed of the uniform sample of examples."""
