"""Tokenizers: loaded from a file, a transformers folder or the hub, or trained on a corpus."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import UsageError, nearest_names
from core.runs.files import new_file, write_json
from core.text.display import Spelling, display, display_missing, token_bytes

END_OF_TEXT = "<|endoftext|>"
"""The end-of-text token of the tokenizers trained here."""

END_NAMES = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]", "<|im_end|>", "[SEP]")
"""Names under which tokenizers keep their end of text, looked for in this order when they do not say."""

CONFIG_FILE = "tokenizer_config.json"


class Tokenizer:
    """Text to token ids and back.

    `backend` is a `tokenizers.Tokenizer`, or a transformers tokenizer that has none inside. Special tokens
    that stand in a text, such as `<|endoftext|>`, become their ids; none are added at the ends.
    `end_name` is the end-of-text token, or None to look for one of the usual names.
    """

    def __init__(self, backend: Any, end_name: str | None = None, source: str = "the tokenizer") -> None:
        self._backend = backend
        self._fast = hasattr(backend, "to_str")
        self._end_name = end_name
        self.source = source
        if self._fast:
            backend.no_truncation()
            backend.no_padding()
            names = backend.get_vocab(with_added_tokens=True)
            self._added = {int(i): str(t.content) for i, t in backend.get_added_tokens_decoder().items()}
        else:
            names = backend.get_vocab()
            self._added = {int(i): str(t) for i, t in backend.added_tokens_decoder.items()}
        self._ids: dict[str, int] = names
        self._spelling: Spelling = (
            _spelling(json.loads(backend.to_str())) if self._fast else _slow_spelling(names)
        )
        self._piece = lru_cache(maxsize=1 << 17)(self._show)

    @property
    def vocabulary(self) -> int:
        """One more than the largest id."""
        return max(self._ids.values()) + 1

    @property
    def end_of_text(self) -> int:
        """The id that ends a document.

        Raises:
            UsageError: the tokenizer has none under a known name, and none was named.
        """
        found = self._find_end()
        if found is None:
            special = sorted(self._added.values())
            has = (
                f"its special tokens are {', '.join(special[:20])}" if special else "it has no special tokens"
            )
            raise UsageError(
                f"{self.source} does not say which token ends a text; {has}.",
                "Name one with --set ...tokenizer.end_of_text=TOKEN.",
            )
        if found not in self._ids:
            raise UsageError(
                f"{self.source} has no token {found!r} to end a text with.", nearest_names(found, self._ids)
            )
        return self._ids[found]

    @property
    def digest(self) -> str:
        """Sixteen hex digits that name everything that decides which ids a text gets."""
        state = self._backend.to_str() if self._fast else json.dumps(self._ids, sort_keys=True)
        named = f"{self._find_end()}\n{state}"
        return hashlib.blake2b(named.encode("utf-8", "replace"), digest_size=8).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The token ids of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of several texts, on all cores.

        Raises:
            UsageError: a text holds half of a surrogate pair, which no encoding of text allows.
        """
        try:
            if self._fast:
                found = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
                return [item.ids for item in found]
            return [list(self._backend.encode(text, add_special_tokens=False)) for text in texts]
        except (TypeError, UnicodeEncodeError) as error:
            half = next((char for text in texts for char in text if "\ud800" <= char <= "\udfff"), None)
            if half is None:
                raise
            raise half_character("a text", half) from error

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included; bytes that make no character become U+FFFD."""
        if self._fast:
            return self._backend.decode(list(ids), skip_special_tokens=False)
        return self._backend.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each token shown exactly and safely for a terminal (see `core.text.display` for the legend)."""
        return [self._piece(int(i)) for i in ids]

    def bytes_of(self, token_id: int) -> bytes | None:
        """The bytes that a token stands for; None for an id without a token."""
        if token_id in self._added:
            return self._added[token_id].encode("utf-8", "replace")
        if not 0 <= token_id < 1 << 31:
            return None
        token = self._token(token_id)
        return None if token is None else token_bytes(token, self._spelling)

    def save(self, path: Path) -> None:
        """Write `path` as a tokenizer.json, and its end of text beside it where the name does not tell.

        Raises:
            UsageError: it is a transformers tokenizer that has no such form.
        """
        if not self._fast:
            raise UsageError(
                f"{self.source} cannot be written as one tokenizer.json.",
                "Use a tokenizer with a fast form (a tokenizer.json).",
            )
        with new_file(path) as temporary:
            temporary.write_text(self._backend.to_str(), encoding="utf-8")
        end = self._find_end()
        if end is not None and end != _usual_end(self._ids):
            write_json(path.with_name(CONFIG_FILE), {"eos_token": end})

    def _find_end(self) -> str | None:
        return _usual_end(self._ids) if self._end_name is None else self._end_name

    def _token(self, token_id: int) -> str | None:
        if self._fast:
            return self._backend.id_to_token(token_id)
        return self._backend.convert_ids_to_tokens(token_id) if token_id < self.vocabulary else None

    def _show(self, token_id: int) -> str:
        data = self.bytes_of(token_id)
        return display_missing(token_id) if data is None else display(data)


def train_bpe(documents: Iterable[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE of at most `vocabulary` tokens: `<|endoftext|>` as id 0, the 256 bytes, merges.

    The same documents always give the same tokenizer.
    """
    allow_threads()
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, trainers

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(documents, trainer)
    return Tokenizer(backend, END_OF_TEXT, "the trained tokenizer")


def half_character(place: str, char: str) -> UsageError:
    """The error for a text that holds half of a surrogate pair."""
    return UsageError(
        f"{place} holds half of a surrogate pair ({char!a}), which is not a character.",
        "Remove it from the text.",
    )


def allow_threads() -> None:
    """Let `tokenizers` use its threads, without a warning when this process forks later."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def _usual_end(ids: dict[str, int]) -> str | None:
    return next((name for name in END_NAMES if name in ids), None)


def _spelling(state: dict[str, Any]) -> Spelling:
    """How a `tokenizers` vocabulary is written, from its decoder, or its pre-tokenizer where it has none."""
    parts = json.dumps([state.get("decoder"), state.get("pre_tokenizer")], ensure_ascii=False)
    if '"ByteLevel"' in parts:
        return "byte_level"
    return "metaspace" if "▁" in parts or '"ByteFallback"' in parts else "plain"


def _slow_spelling(names: dict[str, int]) -> Spelling:
    if any(name.startswith("▁") for name in names) or "<0x0A>" in names:
        return "metaspace"
    return "byte_level" if any(name.startswith("Ġ") for name in names) else "plain"
