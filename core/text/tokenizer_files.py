"""Tokenizers that exist already: a tokenizer.json, a transformers folder, a GGUF file, a name on the hub."""

import json
from pathlib import Path
from typing import Any

from core.errors import UsageError
from core.text.hub import quiet_hub
from core.text.settings import TokenizerFile
from core.text.tokenizer import CONFIG_FILE, Tokenizer, allow_threads

JSON_FILE = "tokenizer.json"


def load_tokenizer(settings: TokenizerFile) -> Tokenizer:
    """The tokenizer that the settings name.

    Raises:
        UsageError: nothing is there, it is damaged, or the hub cannot be reached.
    """
    return tokenizer_from(settings.path, settings.revision, settings.end_of_text)


def tokenizer_from(path: str, revision: str | None = None, end_of_text: str | None = None) -> Tokenizer:
    """The tokenizer at `path`: a .json or .gguf file, a folder, or else a name on the hub.

    Raises:
        UsageError: nothing is there, it is damaged, or the hub cannot be reached.
    """
    allow_threads()
    place = Path(path).expanduser()
    if place.is_dir() and (place / JSON_FILE).is_file():
        place = place / JSON_FILE
    if place.is_file() and place.suffix != ".gguf":
        return _from_json(place, end_of_text)
    if place.is_file():
        return _from_transformers(str(place.parent), end_of_text, gguf_file=place.name)
    if place.is_dir():
        return _from_transformers(str(place), end_of_text)
    if place.is_absolute() or path.startswith((".", "~")) or path.endswith((".json", ".gguf")):
        raise UsageError(f"no tokenizer at {path}: there is no such file or folder.")
    return _from_transformers(path, end_of_text, revision=revision)


def _from_json(path: Path, end_of_text: str | None) -> Tokenizer:
    from tokenizers import Tokenizer as Backend

    try:
        backend = Backend.from_str(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from error
    except Exception as error:  # `tokenizers` raises nothing more specific
        raise UsageError(
            f"{path} is not a tokenizer ({_first_line(error)}).",
            "A tokenizer.json of `tokenizers` is needed.",
        ) from error
    return Tokenizer(
        backend, end_of_text or _configured_end(path.with_name(CONFIG_FILE)), f"tokenizer {path}"
    )


def _configured_end(path: Path) -> str | None:
    """The end of text that a tokenizer_config.json names."""
    try:
        token = json.loads(path.read_text(encoding="utf-8")).get("eos_token")
    except (OSError, ValueError, AttributeError):
        return None
    return token.get("content") if isinstance(token, dict) else token


def _from_transformers(name: str, end_of_text: str | None, **options: Any) -> Tokenizer:
    from transformers import AutoTokenizer

    local = Path(name).is_dir()
    try:
        with quiet_hub():
            found = AutoTokenizer.from_pretrained(name, **options)
    except Exception as error:  # anything from a network fault to a broken JSON file
        if local:
            raise UsageError(
                f"the folder {name} holds no tokenizer that can be read ({_first_line(error)})."
            ) from error
        raise UsageError(
            f"no tokenizer {name!r}: it is no local file or folder, and the hub did not give it "
            f"({_first_line(error)}).",
            "Give a local path with --set ...tokenizer.path=..., or download it first.",
        ) from error
    backend = getattr(found, "backend_tokenizer", None)
    if not hasattr(backend, "to_str"):
        backend = found
    return Tokenizer(backend, end_of_text or found.eos_token, f"tokenizer {name}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__
