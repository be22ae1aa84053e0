"""Language models as targets: where the model comes from, the text it reads, and whether the two fit.

A model is either pretrained here, at most once per output folder and shared with `spd pretrain`, or loaded
from a folder, the hub, Weights & Biases or a package. Nothing that takes long begins before the settings are
known to fit the model.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.errors import UsageError
from core.language_models.build import check_vocabulary, empty_language_model
from core.language_models.load import LoadedLanguageModel, load_language_model
from core.language_models.sources import CheckpointSource, PretrainedSource, SmolLM2Source, TransformersSource
from core.parallel import SINGLE, Ranks
from core.pretraining.pretrain import pretrain
from core.pretraining.published import TOKENIZER, restore_pretrained, trained_corpus
from core.pretraining.settings import PretrainSettings
from core.settings import Settings, to_plain
from core.targets.target import BatchFn, ReportFn, Target, TargetProgress, freeze
from core.text.settings import CorpusSettings, DatasetCorpus, PresidentialCorpus, TextSettings, TokenizerFile
from core.text.tokenizer_files import load_tokenizer
from core.text.windows import open_text


class PretrainedHere(Settings):
    """A model that is pretrained here unless it is there already; `spd pretrain` makes the same one."""

    kind: Literal["pretrain"] = "pretrain"
    """Which kind of source this is."""

    settings: PretrainSettings
    """Everything that decides the model."""


class OwnTokenizer(Settings):
    """The tokenizer that comes with the model."""

    kind: Literal["own"] = "own"
    """Which kind of tokenizer this is."""

    otherwise: str | None = None
    """The tokenizer of a model that comes without: a tokenizer.json, a folder, or a name on the hub."""


class TargetText(TextSettings):
    """The text that a model reads while it is decomposed."""

    tokenizer: OwnTokenizer | TokenizerFile = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=OwnTokenizer(), discriminator="kind"
    )
    """How text becomes tokens. No tokenizer is trained: the model knows one already."""

    def resolved(self, own: TokenizerFile | None) -> TextSettings:
        """The text with a tokenizer that is known; `own` is the model's, if it came with one.

        Raises:
            UsageError: the model's own is asked for, and there is none.
        """
        found = self.tokenizer
        if isinstance(found, OwnTokenizer):
            found = own or (TokenizerFile(path=found.otherwise) if found.otherwise else None)
        if found is None:
            raise UsageError(
                "the model came without a tokenizer.",
                "Name one with --set 'target.text.tokenizer={kind: file, path: FILE}'.",
            )
        return TextSettings.model_validate({**to_plain(self), "tokenizer": to_plain(found)})


class LanguageModelSettings(Settings):
    """A language model and the text that its decomposition reads."""

    kind: Literal["language_model"] = "language_model"
    """Which kind of target this is."""

    model: Annotated[
        PretrainedHere | TransformersSource | PretrainedSource | CheckpointSource | SmolLM2Source,
        Field(discriminator="kind"),
    ]
    """Where the model comes from."""

    text: TargetText = TargetText()
    """What it reads: batches are windows of this text."""


def open_language_model(
    settings: LanguageModelSettings,
    seed: int,
    out_dir: Path,
    hear: ReportFn,
    check: Callable[[nn.Module], object] | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    ranks: Ranks = SINGLE,
) -> Target:
    """The target of these settings: `seed` orders its text, the model has a seed of its own.

    `check` sees a model with the right modules before anything slow begins, and may raise. A model that is
    missing is pretrained on `device` in `precision` by `ranks`, each of which must call this.

    Raises:
        UsageError: model, text and settings do not fit each other, or one of them is not there.
        SpdError, Interrupted: as `pretrain` says.
    """
    if isinstance(settings.model, PretrainedHere):
        loaded = _pretrained_here(
            settings, settings.model.settings, out_dir, hear, check, device, precision, ranks
        )
    else:
        loaded = load_language_model(settings.model, out_dir)
        if check is not None:
            check(loaded.model)
        if isinstance(settings.model, PretrainedSource) and loaded.folder is not None:
            _compare_corpora(trained_corpus(loaded.folder), settings.text.corpus, hear)
    _check_window(settings.text.window, loaded.context)
    text = settings.text.resolved(loaded.tokenizer)
    assert isinstance(text.tokenizer, TokenizerFile)
    # Before the corpus is tokenised, which may take long.
    check_vocabulary(load_tokenizer(text.tokenizer).vocabulary, loaded.vocabulary)

    def progress(phase: str, done: int, total: int) -> None:
        hear(TargetProgress("training", done, total, None, 0, work=phase))

    windows = open_text(text, seed, out_dir, progress)
    return Target(
        name=settings.kind,
        model=freeze(loaded.model),
        batch=_known_ids(windows.batch, loaded.vocabulary),
        distance="kl",
        probes=None,
        ties=(),
        digest=f"{loaded.digest}-{windows.digest}",
        folder=loaded.folder,
        text=windows,
    )


class _Reports:
    """Passes on what a pretraining tells its observer."""

    def __init__(self, hear: ReportFn) -> None:
        self._hear = hear

    def message(self, text: str) -> None:
        """One line of talk."""
        self._hear(TargetProgress("pretraining", 0, 0, None, 0, text))

    def progress(self, phase: str, done: int, total: int, note: str = "", unit: str | None = "step") -> None:
        """Updates done."""
        self._hear(TargetProgress("training", done, total, None, 0, note, work=phase))


def _pretrained_here(
    settings: LanguageModelSettings,
    wanted: PretrainSettings,
    out_dir: Path,
    hear: ReportFn,
    check: Callable[[nn.Module], object] | None,
    device: str,
    precision: str,
    ranks: Ranks,
) -> LoadedLanguageModel:
    _check_window(settings.text.window, wanted.model.context)
    if check is not None:
        with torch.device("meta"):  # names and shapes are all that is asked for
            check(empty_language_model(wanted.model, vocabulary=wanted.model.vocabulary or 1))
    _compare_corpora(wanted.text.corpus, settings.text.corpus, hear)
    result = pretrain(wanted, out_dir, _Reports(hear), device=device, precision=precision, ranks=ranks)
    loss, entropy = result.summary["validation_loss"], result.summary["unigram_entropy"]
    note = f"validation loss {loss:.3f} nats a token (unigram entropy {entropy:.3f})"
    steps = wanted.training.steps
    hear(TargetProgress("cached" if result.cached else "accepted", steps, steps, None, 0, note))
    found = restore_pretrained(result.folder)
    return LoadedLanguageModel(
        model=found.model,
        name=result.folder.name,
        context=wanted.model.context,
        vocabulary=next(m for m in found.model.modules() if isinstance(m, nn.Embedding)).num_embeddings,
        tokenizer=TokenizerFile(path=str(found.folder / TOKENIZER)),
        digest=result.folder.name.removeprefix(f"{wanted.model.kind}-"),
        folder=found.folder,
    )


def _compare_corpora(trained: CorpusSettings | None, read: CorpusSettings, hear: ReportFn) -> None:
    """Tell if the text of the decomposition is not that of the training."""
    if trained is None or (known := _corpus_in_words(trained)) == (now := _corpus_in_words(read)):
        return
    note = f"the model was trained on {known}, and is decomposed on {now}"
    hear(TargetProgress("pretraining", 0, 0, None, 0, note))


def _corpus_in_words(corpus: CorpusSettings) -> str:
    """Kind and place of a corpus, and whatever else chooses its documents."""
    # How a dataset is streamed changes nothing about what stands in it.
    fields = corpus.model_dump(
        exclude={"kind", "streaming", "chunk_windows", "eval_windows", "path"}, exclude_defaults=True
    )
    more = f" ({', '.join(f'{key}={value}' for key, value in fields.items())})" if fields else ""
    if isinstance(corpus, PresidentialCorpus):
        return "the presidential addresses"
    paths = [corpus.path] if isinstance(corpus.path, str) else corpus.path
    return f"{'the dataset ' if isinstance(corpus, DatasetCorpus) else ''}{', '.join(paths)}{more}"


def _check_window(window: int, context: int) -> None:
    if window > context:
        raise UsageError(
            f"target.text.window = {window} does not fit the model, whose context is {context} tokens.",
            f"Use a window of at most {context}.",
        )


def _known_ids(batch: BatchFn, vocabulary: int) -> BatchFn:
    """The same batches, but ids that the model has no embedding for are refused."""

    def checked(stream: str, index: int, size: int) -> Tensor:
        ids = batch(stream, index, size)
        if int(ids.max()) >= vocabulary or int(ids.min()) < 0:
            wrong = int(ids.max()) if int(ids.max()) >= vocabulary else int(ids.min())
            raise UsageError(
                f"batch {index} of the {stream} text holds the token id {wrong}; the model knows 0 to "
                f"{vocabulary - 1}.",
                "The text was tokenised for another model: give this one's with --set target.text.corpus...",
            )
        return ids

    return checked
