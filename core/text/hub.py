"""Hugging Face libraries kept quiet, and quick to give up where there is no network."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from core.errors import UsageError


def import_datasets() -> None:
    """Make sure that `datasets` can be imported, without its progress bars.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            "reading a dataset needs the library `datasets`, which is not installed.",
            "Install it with pip install 'spd[text]'.",
        ) from error
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Inside, the hub's log is silent, and where no network is, only what was downloaded before is used.

    Without this a name is looked up six times, with half a minute of waiting, before the answer is no.
    """
    import huggingface_hub
    from huggingface_hub import constants

    earlier = constants.HF_HUB_OFFLINE
    level = huggingface_hub.logging.get_verbosity()
    huggingface_hub.logging.set_verbosity_error()
    offline = earlier or not _reachable(constants.ENDPOINT)
    _set_offline(offline)
    try:
        yield
    finally:
        _set_offline(earlier)
        huggingface_hub.logging.set_verbosity(level)


def _reachable(endpoint: str) -> bool:
    """Whether the hub's name is known here; taken for granted behind a proxy, which looks it up itself."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    try:
        socket.getaddrinfo(urlsplit(endpoint).hostname, 443)
    except OSError:
        return False
    return True


def _set_offline(offline: bool) -> None:
    import sys

    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = offline
    # `datasets` keeps a copy from the time it was imported.
    config = sys.modules.get("datasets.config")
    if config is not None:
        config.HF_HUB_OFFLINE = offline  # pyright: ignore[reportAttributeAccessIssue]
