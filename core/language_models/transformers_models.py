"""Loading causal language models with transformers: folders, hub names and GGUF files."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from core.errors import UsageError
from core.language_models.build import giving_logits
from core.language_models.sources import TransformersSource
from core.text.hub import quiet_hub
from core.text.settings import TokenizerFile

_SESSION_FIELDS = (
    "transformers_version",
    "dtype",
    "torch_dtype",
    "use_cache",
    "quantization_config",
)
"""Parts of a configuration that say nothing about the function the model computes."""


def load_transformers(source: TransformersSource) -> tuple[nn.Module, dict[str, Any], TokenizerFile | None]:
    """The model in float32 and giving logits, its configuration, and where its tokenizer is.

    Raises:
        UsageError: no such folder or hub name, damaged weights, weights that are missing, no causal model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    name, gguf_file = _located(source)
    options: dict[str, Any] = {"output_loading_info": True}
    if gguf_file is not None:
        _check_gguf_readers()
        options["gguf_file"] = gguf_file
    elif source.revision is not None:
        options["revision"] = source.revision
    try:
        # Loading draws weights and throws them away; the global generator stays as it was.
        with _quiet(), torch.random.fork_rng(devices=[]):
            loaded: Any = AutoModelForCausalLM.from_pretrained(name, **options)
    except Exception as error:  # anything from a network fault to a broken file
        raise _failure(name, gguf_file, error) from error
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        raise UsageError(
            f"the weights in {name} are not all there: {missing[0]} is missing"
            + (f", and {len(missing) - 1} more." if len(missing) > 1 else "."),
            "Use a folder whose config.json and weights belong together.",
        )
    nn.Module.float(model)  # the model's own refuses after GGUF, though nothing is quantised any more
    plain = model.config.to_dict()
    config = {key: plain[key] for key in plain if key not in _SESSION_FIELDS and not key.startswith("_")}
    config["max_position_embeddings"] = model.config.max_position_embeddings
    return giving_logits(model), config, _tokenizer(name, gguf_file, source.revision)


def _located(source: TransformersSource) -> tuple[str, str | None]:
    """Folder or hub name, and the GGUF file in it."""
    place = Path(source.path).expanduser()
    if place.is_file() and place.suffix == ".gguf":
        return str(place.parent), place.name
    if place.is_dir():
        if source.gguf_file is not None and not (place / source.gguf_file).is_file():
            raise UsageError(f"there is no file {place / source.gguf_file}.")
        return str(place), source.gguf_file
    local = place.is_absolute() or source.path.startswith((".", "~")) or source.path.count("/") > 1
    if local or place.suffix == ".gguf":
        raise UsageError(
            f"there is no folder or .gguf file {source.path!r} to load a model from.",
            "Name one that exists with --set target.model.path=FOLDER.",
        )
    return source.path, source.gguf_file


def _tokenizer(name: str, gguf_file: str | None, revision: str | None) -> TokenizerFile | None:
    folder = Path(name)
    if not folder.is_dir():
        return TokenizerFile(path=name, revision=revision)
    if gguf_file is not None:
        return TokenizerFile(path=str(folder / gguf_file))
    files = ("tokenizer.json", "tokenizer.model", "vocab.json")
    return TokenizerFile(path=name) if any((folder / file).is_file() for file in files) else None


def _failure(name: str, gguf_file: str | None, error: Exception) -> UsageError:
    lines = str(error).strip().splitlines()
    reason = lines[0].rstrip(".")[:200] if lines else type(error).__name__
    if Path(name).is_dir():
        place = Path(name) / gguf_file if gguf_file else name
        return UsageError(
            f"cannot load the model in {place}: {reason}.",
            "Copy it again, or name another folder with --set target.model.path=FOLDER.",
        )
    return UsageError(
        f"cannot load the model {name!r} from the Hugging Face hub: {reason}.",
        "Check the name and the network, or download it elsewhere and name its folder with "
        "--set target.model.path=FOLDER.",
    )


def _check_gguf_readers() -> None:
    missing = [package for package in ("gguf", "accelerate") if find_spec(package) is None]
    if missing:
        raise UsageError(
            f"reading a GGUF file needs {' and '.join(missing)}, which is not installed.",
            "Install it with `pip install 'spd[gguf]'`.",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers without its progress bars and log while it loads."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # The bar of GGUF conversion asks no setting, only where the error stream is.
        with quiet_hub(), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
