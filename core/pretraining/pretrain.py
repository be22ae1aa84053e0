"""From settings to a finished target: found when it is there, gone on with when it was begun, else trained.

While it is trained, everything lies in a hidden folder beside the target's place, held by one process.
"""

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, cast

import torch
from torch import nn

from core.devices import (
    Precision,
    choose_threads,
    peak_memory_bytes,
    resolve_device,
    resolve_precision,
    thread_count,
)
from core.errors import Interrupted, SpdError, UsageError
from core.language_models.build import build_language_model
from core.parallel import SINGLE, Ranks
from core.pretraining.checkpoint import load_checkpoint
from core.pretraining.loop import Outcome, Training, compiled_loss, new_optimizer, run_training
from core.pretraining.published import pretrained_folder, publish, read_summary, samples_file
from core.pretraining.settings import PretrainSettings
from core.pretraining.validation import next_token_loss
from core.runs.directory import RunDirectory, targets_folder
from core.runs.files import ensure_writable, write_error, write_text
from core.runs.lock import RunLock, lock_holder
from core.runs.manifest import Manifest, new_manifest, this_process
from core.runs.metrics_log import MetricsLog
from core.runs.observer import Observer, Silent
from core.settings import to_yaml
from core.text.windows import TextWindows, open_text


@dataclass(frozen=True)
class PretrainResult:
    """A finished target."""

    folder: Path
    summary: dict[str, Any]
    """Validation loss and unigram entropy in nats, perplexity, parameters, tokens seen, seconds, path."""
    cached: bool
    """Whether it was there already."""


@dataclass(frozen=True)
class _Request:
    """What was asked for."""

    settings: PretrainSettings
    root: Path
    folder: Path
    """Where the target will be."""
    observer: Observer
    device: torch.device
    precision: str
    ranks: Ranks
    restart: bool


def pretrain(
    settings: PretrainSettings,
    root: Path,
    observer: Observer | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    ranks: Ranks = SINGLE,
    restart: bool = False,
) -> PretrainResult:
    """The language model of these settings under `root`, trained at most once on the text as it is now.

    A training of the same settings and text that was stopped goes on from its last checkpoint and comes to
    the same weights as one that was not. `restart` begins anew whatever is there; an old target stays until
    the new one is done. With several ranks, each calls this; they must see the same files.

    Raises:
        UsageError: something asked for cannot be done; nothing is left on disk.
        Interrupted: the user stopped it; a checkpoint was saved.
        SpdError: another process is at it, a loss was not finite, or a file could not be written.
    """
    folder = pretrained_folder(settings, root)
    # Named once and for all ranks: a file may change, or have other times, while they come along.
    folder = folder.with_name(ranks.share(folder.name))
    run = _unfinished(folder)
    request = _Request(
        settings, root, folder, observer or Silent(), resolve_device(device), precision, ranks, restart
    )
    if not restart and ranks.share(folder.is_dir()):
        if ranks.is_main and run.path.exists() and lock_holder(run) is None:
            shutil.rmtree(run.path, ignore_errors=True)  # killed after it had published
        return PretrainResult(folder, read_summary(folder), cached=True)
    ranks.share_of(settings.training.batch_size, "training.batch_size")
    if ranks.is_main:
        ensure_writable(targets_folder(root))
    text = _open_text(request)
    check_vocabulary(text, settings)
    model = build_language_model(settings.model, settings.seed, text.vocabulary)
    with _claimed(run, ranks):
        # Another process may have finished it while this one waited or read the text.
        if not restart and ranks.share(folder.is_dir()):
            return PretrainResult(folder, read_summary(folder), cached=True)
        summary = _train(request, run, model.to(request.device), text)
        ranks.barrier()
        return PretrainResult(folder, summary, cached=False)


def unfinished_training(settings: PretrainSettings, root: Path) -> RunDirectory:
    """Where a training of these settings on the text as it is now keeps what it has, until it is done.

    Raises:
        UsageError: the text is not there.
    """
    return _unfinished(pretrained_folder(settings, root))


def _unfinished(folder: Path) -> RunDirectory:
    return RunDirectory(folder.with_name(f".{folder.name}.partial"))


def check_vocabulary(text: TextWindows, settings: PretrainSettings) -> None:
    """Refuse a text with more tokens than the model has places for.

    Raises:
        UsageError: the tokenizer's vocabulary is larger than the embedding.
    """
    places = settings.model.vocabulary
    if places is not None and text.vocabulary > places:
        raise UsageError(
            f"the tokenizer has {text.vocabulary} tokens, but model.vocabulary is {places}.",
            f"Set model.vocabulary to {text.vocabulary} or more, or to null, or use a smaller tokenizer.",
        )


def _open_text(request: _Request) -> TextWindows:
    """The text; rank 0 goes first, since it may have to tokenise it for all."""
    settings, ranks = request.settings, request.ranks
    if not ranks.is_main:
        ranks.barrier()
    opened = open_text(settings.text, settings.seed, request.root, request.observer.progress)
    if ranks.is_main:
        ranks.barrier()
    return opened


@contextmanager
def _claimed(run: RunDirectory, ranks: Ranks) -> Iterator[None]:
    """Holds the training for this process; a folder in which nothing is saved is removed after."""
    if not ranks.is_main:
        yield
        return
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(run.path, error) from error
    with RunLock(run):
        try:
            yield
        finally:
            if run.latest_checkpoint() is None:
                shutil.rmtree(run.path, ignore_errors=True)


def _train(request: _Request, run: RunDirectory, model: nn.Module, text: TextWindows) -> dict[str, Any]:
    settings, ranks = request.settings, request.ranks
    began = monotonic()
    begun = ranks.share(_begin_or_resume(request, run, model) if ranks.is_main else None)
    assert begun is not None
    manifest, start = begun
    optimizer = new_optimizer(model, settings.training)
    if start:
        load_checkpoint(run.checkpoint(start), model, optimizer)
        request.observer.message(f"going on at step {start} of {settings.training.steps}")
    with ExitStack() as stack:
        stack.enter_context(thread_count(manifest.threads))
        record = stack.enter_context(_recorded(run, manifest, began, ranks))
        log, samples = (MetricsLog(path) for path in (run.metrics, samples_file(run)))
        for file in (log, samples):
            stack.enter_context(file)
            if ranks.is_main:
                file.truncate_after(start - 1)
        training = Training(
            settings=settings,
            model=model,
            optimizer=optimizer,
            text=text,
            run=run,
            log=log,
            samples=samples,
            device=request.device,
            precision=cast(Precision, manifest.precision),
            ranks=ranks,
            start=start,
            on_saved=lambda step: record(step=step),
            loss=compiled_loss() if settings.training.compile else next_token_loss,
        )
        outcome = run_training(training, request.observer)
        summary = _summary(training, outcome, record().seconds, request.folder)
        if ranks.is_main:
            publish(request.folder, model, text.tokenizer, settings, run, summary)
            shutil.rmtree(run.path, ignore_errors=True)
    return summary


def _begin_or_resume(request: _Request, run: RunDirectory, model: nn.Module) -> tuple[Manifest, int]:
    """The manifest, and the step to begin with."""
    settings = request.settings
    if request.restart:
        for path in (run.checkpoints, run.manifest, run.metrics, samples_file(run)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    checkpoint = run.latest_checkpoint()
    if checkpoint is not None and run.manifest.exists():
        # Its precision and threads are kept: with others the last bits would differ.
        manifest = Manifest.read(run.manifest).update(status="running", error=None, **this_process())
        return manifest, run.checkpoint_steps()[-1]
    rows, inner, columns = _largest_product(model, settings)
    manifest = new_manifest(
        run_id=request.folder.name,
        settings_digest=settings.digest(),
        recipe=settings.recipe,
        seed=settings.seed,
        device=str(request.device),
        precision=resolve_precision(request.precision, request.device, (rows, inner, columns)),
        threads=choose_threads(rows, columns),
        steps=settings.training.steps,
    )
    write_text(run.settings, to_yaml(settings))
    manifest.write(run.manifest)
    return manifest, 0


def _largest_product(model: nn.Module, settings: PretrainSettings) -> tuple[int, int, int]:
    """Rows, inner size and columns of the largest matrix product of a step, which decides the precision."""
    inner, columns = max(
        ((p.shape[0], p.shape[1]) for p in model.parameters() if p.dim() == 2), key=math.prod
    )
    return settings.training.batch_size * (settings.text.window - 1), inner, columns


@contextmanager
def _recorded(
    run: RunDirectory, manifest: Manifest, began: float, ranks: Ranks
) -> Iterator[Callable[..., Manifest]]:
    """Keep the manifest true: a function that updates it with the time spent; failures are written too."""
    before = manifest.seconds

    def record(**changes: Any) -> Manifest:
        nonlocal manifest
        manifest = manifest.update(seconds=before + monotonic() - began, **changes)
        if ranks.is_main:
            manifest.write(run.manifest)
        return manifest

    try:
        yield record
    except (Interrupted, KeyboardInterrupt):
        record(status="interrupted", error="stopped by the user")
        raise
    except BaseException as error:
        with suppress(SpdError):  # a full disk may be why it failed; that error is the one to show
            record(status="failed", error=f"{type(error).__name__}: {error}")
        raise


def _summary(training: Training, outcome: Outcome, seconds: float, folder: Path) -> dict[str, Any]:
    settings, text = training.settings, training.text
    batch = settings.training.batch_size
    return {
        "name": folder.name,
        "recipe": settings.recipe,
        "seed": settings.seed,
        "validation_loss": outcome.validation_loss,
        "unigram_entropy": text.unigram_entropy(),
        "perplexity": math.exp(min(outcome.validation_loss, 700.0)),
        "parameters": sum(p.numel() for p in training.model.parameters()),
        "vocabulary": settings.model.vocabulary or text.vocabulary,
        "context": settings.text.window - 1,
        "steps": settings.training.steps,
        "tokens_seen": settings.training.steps * batch * (settings.text.window - 1),
        "tokens_per_second": outcome.tokens_per_second,
        "seconds": seconds,
        "peak_memory_bytes": peak_memory_bytes(training.device),
        "device": str(training.device),
        "precision": training.precision,
        "ranks": training.ranks.size,
        "path": str(folder),
    }
