"""Weights kept with the digest of their file, so that a damaged file is never read as a network."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from core.errors import SpdError


def file_digest(path: Path) -> str:
    """SHA-256 of the content of a file, in hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_checked_weights(
    model: nn.Module, path: Path, digest: object, damaged: Callable[[Path, str], SpdError]
) -> None:
    """Read the safetensors file `path` into `model`.

    Args:
        model: Gets the weights.
        path: The file.
        digest: What `file_digest` was when the file was written.
        damaged: Makes the error from the file and what is wrong with it.

    Raises:
        SpdError: what `damaged` makes: the file is missing, cut short, changed, or of another network.
    """
    try:
        if file_digest(path) != digest:
            raise damaged(path, "its content is not what was written")
        model.load_state_dict(load_file(path))
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    except (SafetensorError, RuntimeError) as error:
        raise damaged(path, str(error)) from error
