"""What stands before a harvest: the plan, new or found again, and the model and inputs it names."""

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import torch

from core.components.component_model import ComponentModel
from core.decomposition.checkpoint import COMPONENTS, keep_components
from core.decomposition.opening import largest_product, open_run, read_settings
from core.devices import Precision, choose_threads, resolve_device, resolve_precision
from core.errors import SpdError, UsageError
from core.harvest.forward import output_width
from core.harvest.inputs import HarvestInputs, open_inputs
from core.harvest.plan import HarvestPlan, check_same
from core.harvest.settings import HarvestSettings
from core.harvest.unfinished import choose_unfinished
from core.runs.directory import RunDirectory
from core.runs.files import ensure_writable, write_error
from core.runs.observer import Observer
from core.targets.target import Target, TargetProgress

TEXT_POSITIONS = 1_000_000
SAMPLES = 100_000

CHUNK_BYTES = 512 * 2**20
"""What one batch may take: its values, and the output tokens the engine keeps of it until they are added."""

CHUNK_POSITIONS = 4096
"""Positions of a batch beyond which nothing gets faster."""

WORKERS_PER_CORE = 8
"""A process takes some hundred megabytes: many more of them than cores only fill the memory."""

SAVE_SECONDS = 60.0


@dataclass(frozen=True)
class HarvestRequest:
    """What was asked for."""

    run: RunDirectory
    root: Path
    """Folder of all runs and targets."""
    settings: HarvestSettings
    """What is counted; no output is counted of targets that read vectors of features. A harvest that is
    resumed keeps its own, and what was set here must agree with them."""
    positions: int | None = None
    """Positions to count at least, in whole sequences; None: a million, or 100,000 vectors of features."""
    batches: int | None = None
    """Batches to count, in place of `positions`."""
    batch_size: int | None = None
    """Sequences of a batch; None: as many as fit into `CHUNK_BYTES` and `CHUNK_POSITIONS`."""
    workers: int | None = None
    """Processes; None: one, or one for each GPU, or as many as there are shards to go on with."""
    device: str = "auto"
    precision: str | None = None
    """fp32, bf16 or auto (whichever is faster here); None: fp32, or what it was begun with."""
    resume: bool = False
    """Go on with an unfinished harvest of the run."""
    harvest: str | None = None
    """Name of the one to go on with; None: the newest that nobody works on."""
    command: tuple[str, ...] = ()
    """The command line, for the manifest."""
    save_seconds: float = SAVE_SECONDS
    """A worker saves its state about this often."""


def check_request(request: HarvestRequest) -> None:
    """Refuse what can be refused before anything is loaded.

    Raises:
        UsageError: a number below one, more workers than can be of use, two sizes at once, an unknown device
            or precision, a run without a checkpoint or whose folder cannot be written.
    """
    resolve_device(request.device)
    if request.precision not in (None, *get_args(Precision), "auto"):
        raise UsageError(f"unknown precision {request.precision!r}.", "Allowed: fp32, bf16, auto.")
    for name in ("positions", "batches", "batch_size", "workers"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise UsageError(f"{name} = {value} is not possible.", f"Use {name} of at least 1.")
    if request.workers is not None and request.workers > most_workers():
        raise UsageError(
            f"workers = {request.workers} is too many for the {_cores()} cores here.",
            f"Use at most {most_workers()}.",
        )
    if request.positions is not None and request.batches is not None:
        raise UsageError(
            f"{request.positions} positions and {request.batches} batches were asked for.", "Give one."
        )
    if not request.resume and not request.run.checkpoint_steps():
        raise UsageError(
            f"run {request.run.run_id} has no checkpoint yet, so there is nothing to harvest.",
            "Let it run longer, or resume it.",
        )
    ensure_writable(request.run.harvests)


def count_workers(request: HarvestRequest) -> int:
    """How many processes count."""
    if request.workers is not None:
        return request.workers
    device = resolve_device(request.device)
    return torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1


def most_workers() -> int:
    """How many processes may count on this machine."""
    return WORKERS_PER_CORE * max(_cores(), torch.cuda.device_count())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_plan(request: HarvestRequest) -> HarvestPlan:
    """The plan of the unfinished harvest to go on with, if it is what is asked for.

    Raises:
        UsageError: there is none, it was begun otherwise, or the checkpoint it kept is gone.
    """
    run = request.run
    plan = choose_unfinished(run, request.harvest)
    settings = request.settings.model_dump(exclude_unset=True)
    if plan.kind == "features":
        settings.pop("output_share", None)
    per_batch = request.batch_size or plan.batch_size
    sequences = None if request.batches is None else request.batches * per_batch
    if request.positions is not None:
        sequences = -(-request.positions // plan.length)
    wanted = {
        **settings,
        "run_digest": read_settings(run).digest(),
        "sequences": sequences,
        "batch_size": request.batch_size,
        "device": None if request.device == "auto" else resolve_device(request.device).type,
        "precision": None if request.precision == "auto" else request.precision,
    }
    check_same(plan, wanted)
    resolve_device(plan.device)  # it may have been begun on another machine
    if not (run.harvest_work(plan.name) / COMPONENTS).is_file():
        raise UsageError(
            f"the unfinished harvest {plan.name} of {run.run_id} has lost {COMPONENTS}, "
            f"which it kept of the checkpoint of step {plan.checkpoint_step}.",
            f"Remove {run.harvest_work(plan.name)} and leave --resume out to begin another.",
        )
    return plan


def new_plan(
    request: HarvestRequest, observer: Observer
) -> tuple[HarvestPlan, ComponentModel, HarvestInputs]:
    """A plan for what is asked for, and its model (on the CPU if workers share the work) and inputs."""
    run, workers = request.run, count_workers(request)
    device = resolve_device(request.device)
    at = device if workers == 1 else torch.device("cpu")
    step, (model, target, inputs) = _open_newest(run, request.root, at, observer)
    settings = request.settings
    if inputs.kind == "features":
        settings = settings.model_copy(update={"output_share": 0.0})
    layers = tuple((name, site.C) for name, site in model.sites.items())
    components = sum(width for _, width in layers)
    batch_size = request.batch_size or fitting_sequences(
        inputs.length, components, inputs.vocabulary, settings.output_share
    )
    default = SAMPLES if inputs.kind == "features" else TEXT_POSITIONS
    sequences = -(-(request.positions or default) // inputs.length)
    if request.batches is not None:
        sequences = request.batches * batch_size
    elif request.batch_size is None:
        # No worker stands idle because the work is in too few pieces.
        batch_size = max(1, min(batch_size, -(-sequences // workers)))
    shards = min(workers, -(-sequences // batch_size))
    plan = HarvestPlan(
        name="",
        run_id=run.run_id,
        run_digest=read_settings(run).digest(),
        target_digest=target.digest,
        checkpoint_step=step,
        settings=settings,
        kind=inputs.kind,
        layers=layers,
        vocabulary=inputs.vocabulary,
        length=inputs.length,
        sequences=sequences,
        batch_size=batch_size,
        shards=shards,
        threads=_threads(inputs, batch_size, components, shards),
        device=device.type,
        precision=resolve_precision(
            request.precision or "fp32", device, largest_product(model, batch_size * inputs.length)
        ),
        save_seconds=request.save_seconds,
        created=datetime.now(UTC),
        command=request.command,
    )
    return plan, model, inputs


def begin(plan: HarvestPlan, run: RunDirectory) -> HarvestPlan:
    """Give the plan a name and a work folder of its own, and write it there.

    The folder keeps the checkpoint too: training that goes on meanwhile removes its older ones.

    Raises:
        UsageError: the checkpoint is gone already.
        SpdError: the folder cannot be made.
    """
    second = int(plan.created.timestamp())
    while True:
        name = f"h-{datetime.fromtimestamp(second, UTC):%Y%m%d-%H%M%S}"
        try:
            run.harvests.mkdir(exist_ok=True)
            if not run.harvest(name).exists():
                run.harvest_work(name).mkdir()
                break
        except FileExistsError:
            pass
        except OSError as error:
            raise write_error(run.harvest_work(name), error) from error
        second += 1  # another harvest was begun in this second
    plan = plan.model_copy(update={"name": name})
    try:
        keep_components(run.checkpoint(plan.checkpoint_step), run.harvest_work(name))
        plan.write(run.harvest_work(name))
    except SpdError:
        shutil.rmtree(run.harvest_work(name), ignore_errors=True)
        raise
    return plan


def open_at_checkpoint(
    plan: HarvestPlan, run: RunDirectory, root: Path, device: str, observer: Observer | None = None
) -> tuple[ComponentModel, HarvestInputs]:
    """The model and inputs that a plan names.

    Raises:
        UsageError: they are not there any more, or not the same.
    """
    kept = run.harvest_work(plan.name)
    try:
        model, target, inputs = _open(run, root, resolve_device(device), kept, observer)
    except UsageError as error:
        if str(kept) not in error.message:
            raise
        raise UsageError(error.message, f"Remove {kept} and leave --resume out to begin another.") from error
    if target.digest != plan.target_digest:
        raise UsageError(
            f"the target of run {run.run_id} is {target.digest} now; the harvest {plan.name} was begun "
            f"with {plan.target_digest}.",
            "Leave --resume out to begin another.",
        )
    return model, inputs


def _open_newest(
    run: RunDirectory, root: Path, device: torch.device, observer: Observer | None
) -> tuple[int, tuple[ComponentModel, Target, HarvestInputs]]:
    step = run.checkpoint_steps()[-1]
    while True:
        try:
            return step, _open(run, root, device, run.checkpoint(step), observer)
        except UsageError:
            # Training goes on and may have replaced it while the target was being opened.
            newest = run.checkpoint_steps()[-1:]
            if run.checkpoint(step).exists() or newest in ([], [step]):
                raise
            [step] = newest


def _open(
    run: RunDirectory, root: Path, device: torch.device, checkpoint: Path, observer: Observer | None
) -> tuple[ComponentModel, Target, HarvestInputs]:
    def report(progress: TargetProgress) -> None:
        if observer is None or progress.phase == "cached":
            return
        if progress.phase == "training":
            observer.progress(progress.title, progress.step, progress.steps, progress.note)
        else:
            observer.message(f"target {progress.phase}: {progress.note}")

    model, _, target = open_run(run, root, str(device), report=report, checkpoint=checkpoint)
    stream = "train" if target.text is not None else "harvest"
    return model, target, open_inputs(target, output_width(model, target.batch(stream, 0, 1), device))


def fitting_sequences(length: int, components: int, vocabulary: int, output_share: float) -> int:
    """Sequences whose values fit into `CHUNK_BYTES`, with what the engine keeps of the output meanwhile."""
    importance_and_activation, probability, kept_token = 8, 4, 8
    taken = importance_and_activation * components
    if output_share:
        taken += probability * vocabulary
    if 0 < output_share < 1:
        # Of a flat distribution nearly every token is kept; how flat these are is not known before.
        taken += kept_token * vocabulary
    return max(1, min(CHUNK_POSITIONS, CHUNK_BYTES // taken) // length)


def _threads(inputs: HarvestInputs, batch_size: int, components: int, shards: int) -> int:
    """The threads of this process shared out; small models stay on one."""
    useful = choose_threads(batch_size * inputs.length, components)
    return max(1, min(torch.get_num_threads() // shards, useful))
