"""Starting, resuming and finishing a run: everything around `core.decomposition.loop`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, cast, get_args

from torch import Tensor

from core.components.component_model import ComponentModel
from core.decomposition.checkpoint import load_component_tensors, read_components, read_training
from core.decomposition.checks import check_evaluation, check_float32, check_positions, check_wrapping
from core.decomposition.loop import Job, run_job
from core.decomposition.metrics.wrapping_error import WrappingError
from core.decomposition.mirror import Mirror, NoMirror, WandbMirror
from core.decomposition.null_rows import ROW_BLOCK, Batch, zero_rows_are_null
from core.decomposition.opening import build_model, largest_product
from core.decomposition.settings import DecompositionSettings
from core.decomposition.step import Stepper
from core.decomposition.summary import Cost, summarise
from core.devices import (
    Precision,
    choose_threads,
    peak_memory_bytes,
    resolve_device,
    resolve_precision,
    thread_count,
)
from core.errors import Interrupted, SpdError, UsageError
from core.parallel import SINGLE, Ranks
from core.runs.catalogue import find_resumable, find_running, resolve_run
from core.runs.directory import RunDirectory, new_run_id, runs_folder
from core.runs.files import ensure_writable, new_folder, write_json, write_text
from core.runs.lock import RunLock
from core.runs.manifest import Manifest, new_manifest, this_process
from core.runs.metrics_log import MetricsLog
from core.runs.observer import Observer
from core.settings import to_plain, to_yaml
from core.targets.language_model import LanguageModelSettings, PretrainedHere
from core.targets.load import load_target
from core.targets.target import Target, TargetProgress


@dataclass(frozen=True)
class RunRequest:
    """What was asked for."""

    settings: DecompositionSettings
    root: Path
    """Folder of all runs and targets."""
    device: str = "auto"
    precision: str = "auto"
    resume: bool = False
    """Go on with the newest unfinished run of these settings instead of starting one."""
    resume_run: str | None = None
    """Go on with this run, whatever else is unfinished."""
    warm_start: str | None = None
    """Run whose components to begin with."""
    wandb_project: str | None = None
    command: tuple[str, ...] = ()
    """The command line, for the manifest."""
    target: Target | None = None
    """A model in memory, instead of the one the settings describe."""
    output: Callable[[Any], Tensor] | None = None
    """Picks the output tensor from what that model returns."""
    ranks: Ranks = SINGLE
    """The processes that share each batch; each of them makes the same request."""


@dataclass(frozen=True)
class RunResult:
    """A finished run."""

    directory: RunDirectory
    summary: dict[str, Any]
    model: ComponentModel = field(repr=False)


@dataclass(frozen=True)
class _Prepared:
    """Everything checked and built, nothing yet on disk."""

    stepper: Stepper
    target: Target
    probe: Any
    """Inputs of the first batch."""
    threads: int
    warm_start: str | None
    resumed: tuple[RunDirectory, Manifest] | None
    wrapping: WrappingError | None
    """How far the wrapped model is from the target when nothing is masked; of language models."""


def start_run(request: RunRequest, observer: Observer) -> RunResult:
    """Decompose from start or checkpoint to summary.

    Raises:
        UsageError: anything asked for that cannot be done; nothing is left on disk.
        Interrupted, NonFiniteLoss, SpdError: see `run_job`; the manifest says so and the run can be resumed.
    """
    began = monotonic()
    prepared = _prepare(request, observer)
    with thread_count(prepared.threads), _given_back(prepared.stepper.model):
        return _execute(request, prepared, observer, began)


def _prepare(request: RunRequest, observer: Observer) -> _Prepared:
    settings = request.settings
    ranks = request.ranks
    resolve_device(request.device)  # a wrong name is found before anything else is looked at
    ensure_writable(runs_folder(request.root))
    batch_size = settings.training.batch_size
    ranks.share_of(batch_size, "training.batch_size")
    ranks.share_of(settings.evaluation.batch_size or batch_size, "evaluation.batch_size")
    resumed = ranks.share(_find_resumed(request) if ranks.is_main else None)
    # Another device would draw other noise, so a resumed run stays on its own unless told otherwise.
    device = resolve_device(resumed[1].device if resumed and request.device == "auto" else request.device)
    if request.warm_start and not resumed:
        resolve_run(request.root, request.warm_start)  # a wrong name is told before a target is trained
    target = request.target or _load_target_together(request, observer)
    check_evaluation(target.model, settings)
    model = build_model(settings, target, device, request.output)
    with _given_back(model):
        check_float32(model)
        probe = Batch(target.batch("train", 0, batch_size)).share(ranks).to(device).inputs
        positions = check_positions(model.target_pass(probe))  # fails here where a module never runs
        if resumed:
            precision, threads, warm_start = resumed[1].precision, resumed[1].threads, resumed[1].warm_start
        else:
            largest = largest_product(model, positions.numel())
            precision = ranks.share(resolve_precision(request.precision, device, largest))
            threads = choose_threads(positions.numel(), sum(site.C for site in model.sites.values()))
            warm_start = request.warm_start
        if precision not in get_args(Precision):
            raise UsageError(f"the run to resume has precision {precision!r}.", "Allowed: fp32, bf16.")
        distance = settings.resolved_distance(target.distance)
        stepper = Stepper(model, settings, distance, cast(Precision, precision), device, ranks)
        stepper.check_sources(positions)
        wrapping = check_wrapping(model, probe) if target.name == "language_model" else None
        # Once there is a checkpoint, the run it started from is not needed any more.
        if warm_start and not (resumed and resumed[0].latest_checkpoint()):
            warm_start = _warm_start(model, request.root, warm_start)
        return _Prepared(stepper, target, probe, threads, warm_start, resumed, wrapping)


def _execute(request: RunRequest, prepared: _Prepared, observer: Observer, began: float) -> RunResult:
    ranks, stepper = request.ranks, prepared.stepper
    with ExitStack() as stack:
        begun = None
        if ranks.is_main:
            begun = prepared.resumed or _create(request, prepared)
            observer.message(f"run {begun[0].run_id} in {begun[0].path}")
            stack.enter_context(RunLock(begun[0]))
        begun = ranks.share(begun)
        assert begun is not None
        run, manifest = begun
        start = 0
        if prepared.resumed:  # read under the lock: until then another process may have gone on with it
            manifest, start = _resume(run, stepper, observer)
        job = Job(
            settings=request.settings,
            target=prepared.target,
            model=stepper.model,
            stepper=stepper,
            run=run,
            start=start,
            warms_up=prepared.warm_start is None,
            folds=not stepper.bound_to_rows
            and zero_rows_are_null(stepper.model, prepared.probe)
            and ROW_BLOCK % ranks.size == 0,
        )
        if not ranks.is_main:
            run_job(job, observer)
            return RunResult(run, ranks.share({}), stepper.model)
        if prepared.wrapping:
            observer.message(f"with nothing masked, logits are the target's {prepared.wrapping}")
        record = stack.enter_context(_recorded(run, manifest, began))
        summary = ranks.share(_write(job, request, record, observer, stack, prepared.wrapping))
        record(status="finished")
    return RunResult(run, summary, stepper.model)


def _write(
    job: Job,
    request: RunRequest,
    record: Callable[..., Manifest],
    observer: Observer,
    stack: ExitStack,
    wrapping: WrappingError | None,
) -> dict[str, Any]:
    """Do the job as the one process that writes; returns the summary."""
    log = stack.enter_context(MetricsLog(job.run.metrics))
    log.truncate_after(job.start - 1)
    mirror = _open_mirror(request, job.run, observer)
    record(status="running", wandb_url=mirror.url, error=None, **this_process())
    job = replace(job, log=log, mirror=mirror, on_saved=lambda step: record(step=step))
    summary: dict[str, Any] | None = None
    try:
        evaluation = run_job(job, observer)
        cost = Cost(record().seconds, peak_memory_bytes(job.stepper.device))
        summary = summarise(job.run, request.settings, evaluation, cost, wrapping)
        write_json(job.run.summary, summary)
    finally:
        mirror.finish(summary)
    assert summary is not None
    return summary


def _load_target_together(request: RunRequest, observer: Observer) -> Target:
    """The target: pretrained by all ranks together, anything else made by the first for all."""
    ranks, settings = request.ranks, request.settings.target
    model = settings.model if isinstance(settings, LanguageModelSettings) else None
    if isinstance(model, PretrainedHere) and model.settings.training.batch_size % ranks.size == 0:
        return _load_target(request, observer, ranks)
    if ranks.is_main:
        target = _load_target(request, observer)
        ranks.barrier()
        return target
    ranks.barrier()
    return _load_target(request, observer)


def _load_target(request: RunRequest, observer: Observer, ranks: Ranks = SINGLE) -> Target:
    settings = request.settings
    if settings.target is None:
        raise UsageError("settings have no target.", "Name one under `target:`, or use the Python API.")

    def report(progress: TargetProgress) -> None:
        if progress.phase == "training":
            observer.progress(progress.title, progress.step, progress.steps, progress.note)
        else:
            observer.message(f"target {progress.phase}: {progress.note}")

    return load_target(
        settings.target,
        settings.seed,
        request.root,
        report,
        check=lambda model: check_evaluation(model, settings),  # before minutes of training, not after
        device=request.device,
        precision=request.precision,
        ranks=ranks,
    )


def _find_resumed(request: RunRequest) -> tuple[RunDirectory, Manifest] | None:
    if request.resume_run is not None:
        found = resolve_run(request.root, request.resume_run)
        if found.status == "finished":
            raise UsageError(
                f"run {found.run_id} is finished; there is nothing to resume.",
                f"`spd runs show {found.run_id}` shows it; leave --resume out for a new run of its settings.",
            )
        return found.directory, found.manifest
    if not request.resume:
        return None
    digest, seed = request.settings.digest(), request.settings.seed
    found = find_resumable(request.root, digest, seed)
    if found is None and (running := find_running(request.root, digest, seed)) is not None:
        raise UsageError(
            f"run {running.run_id} of these settings is still running ({running.reason}).",
            "Wait for it, stop it first, or leave --resume out to start another.",
        )
    if found is None:
        raise UsageError(
            f"no unfinished run of {request.settings.recipe} with these settings and seed "
            f"{seed} under {request.root}.",
            "Leave --resume out to start one, or name a run: spd runs list.",
        )
    return found.directory, found.manifest


def _resume(run: RunDirectory, stepper: Stepper, observer: Observer) -> tuple[Manifest, int]:
    manifest = Manifest.read(run.manifest)
    if manifest.status == "finished":
        raise UsageError(f"run {run.run_id} is finished; there is nothing to resume.")
    checkpoint = run.latest_checkpoint()
    start = 0
    if checkpoint is not None:
        tensors, start = read_components(checkpoint)
        load_component_tensors(stepper.model, tensors, str(checkpoint))
        training = read_training(checkpoint)
        stepper.optimizer.load_state_dict(training["optimizer"])
        stepper.load_persistent_state(training.get("persistent", {}))
    observer.message(f"resuming {run.run_id} at step {start}")
    now = {"resumed": [*manifest.resumed, datetime.now(UTC)], "device": str(stepper.device)}
    return manifest.update(step=start, **now), start


def _create(request: RunRequest, prepared: _Prepared) -> tuple[RunDirectory, Manifest]:
    settings, stepper = request.settings, prepared.stepper
    run = RunDirectory(runs_folder(request.root) / new_run_id())
    manifest = new_manifest(
        run_id=run.run_id,
        settings_digest=settings.digest(),
        recipe=settings.recipe,
        seed=settings.seed,
        command=list(request.command),
        device=str(stepper.device),
        precision=stepper.precision,
        threads=prepared.threads,
        steps=settings.training.steps,
        warm_start=prepared.warm_start,
        wandb_id=run.run_id if request.wandb_project else None,
    )
    with new_folder(run.path) as folder:  # a run appears with its settings and manifest, or not at all
        write_text(RunDirectory(folder).settings, to_yaml(settings))
        manifest.write(RunDirectory(folder).manifest)
    return run, manifest


def _warm_start(model: ComponentModel, root: Path, reference: str) -> str:
    """Load the components of another run; returns a name of it that will mean no other run later."""
    found = resolve_run(root, reference)
    checkpoint = found.directory.latest_checkpoint()
    if checkpoint is None:
        raise UsageError(f"run {found.run_id} has no checkpoint to start from.")
    load_component_tensors(model, read_components(checkpoint)[0], str(checkpoint))
    here = found.directory.path == runs_folder(root) / found.run_id
    return found.run_id if here else str(found.directory.path)


@contextmanager
def _given_back(model: ComponentModel) -> Iterator[None]:
    """Detach from the target when something fails, so that a model of the user's is left as it was."""
    try:
        yield
    except BaseException:
        model.detach()
        raise


@contextmanager
def _recorded(run: RunDirectory, manifest: Manifest, began: float) -> Iterator[Callable[..., Manifest]]:
    """Keep the manifest true: a function that updates it with the time spent; failures are written too."""
    before = manifest.seconds

    def record(**changes: Any) -> Manifest:
        nonlocal manifest
        manifest = manifest.update(seconds=before + monotonic() - began, **changes)
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


def _open_mirror(request: RunRequest, run: RunDirectory, observer: Observer) -> Mirror:
    if request.wandb_project is None:
        return NoMirror()
    return WandbMirror(
        request.wandb_project, run.run_id, run.path, to_plain(request.settings), observer.message
    )
