"""A run of published size without a model: a stream made up, everything else as in any finished run."""

from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from core.demo.record import STEPS, Counted, synthetic_metrics, synthetic_settings, synthetic_summary
from core.demo.stream import SyntheticStream
from core.demo.vocabulary import Vocabulary, make_vocabulary
from core.errors import UsageError
from core.harvest.kernel import HarvestEngine
from core.harvest.settings import HarvestSettings
from core.harvest.writing import write_harvest
from core.runs.catalogue import open_run
from core.runs.directory import RunDirectory, runs_folder
from core.runs.files import ensure_writable, new_folder, to_json, write_json, write_text
from core.runs.manifest import installed_versions, new_manifest
from core.runs.observer import Observer
from core.settings import to_yaml

IMPORTED_FROM = "synthetic demonstration"
"""What the manifest of a synthetic run says in place of a recipe."""

_BLOCKS = 4
_PARTS = {
    "attn.q_proj": 512,
    "attn.k_proj": 256,
    "attn.v_proj": 1024,
    "attn.o_proj": 1024,
    "mlp.c_fc": 4096,
    "mlp.down_proj": 3072,
}
_LENGTH, _BATCH = 128, 4


def make_synthetic(
    root: Path,
    components: int,
    seed: int,
    observer: Observer,
    *,
    positions: int = 16_384,
    vocabulary: int = 5_000,
    created: datetime | None = None,
) -> RunDirectory:
    """A finished run of `components` components with a harvest; one made earlier is used again.

    Everything but the times in it is the same for the same arguments. `created` is when it says it was made.

    Raises:
        UsageError: fewer than 240 components, or `root` is not writable.
        SpdError: the disk is full.
    """
    if components < 240:
        raise UsageError(f"components = {components} is too few for a synthetic run.", "Take 240 or more.")
    name = f"synthetic-{components}" + (f"-seed{seed}" if seed else "")
    run = RunDirectory(runs_folder(root) / name)
    if _finished(run):
        observer.message(f"using {run.run_id} in {run.path}")
        return run
    ensure_writable(runs_folder(root))
    now = datetime.now(UTC) if created is None else created
    began = monotonic()
    layers = layers_of(components)
    words = make_vocabulary(vocabulary)
    engine = _harvested(layers, words, seed, positions, observer)
    observer.message("writing the run")
    run.path.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(run.path) as folder:
        made = RunDirectory(folder)
        seconds = round(monotonic() - began, 3)
        _write_papers(made, run, engine, seed, now, seconds)
        details = {**_details(run, seed, now), "seconds": seconds}
        harvest = f"h-{now:%Y%m%d-%H%M%S}"
        made.harvests.mkdir()
        write_harvest(engine, made.harvest(harvest), details, texts=words.texts)
    observer.message(f"run {run.run_id} in {run.path}")
    return run


def layers_of(components: int) -> list[tuple[str, int]]:
    """Modules of a transformer of four blocks and their shares of `components`, at least one each."""
    names = [f"h.{block}.{part}" for block in range(_BLOCKS) for part in _PARTS]
    shares = np.array([count for _ in range(_BLOCKS) for count in _PARTS.values()], dtype=np.float64)
    ends = np.round(np.cumsum(shares) / shares.sum() * components).astype(int)
    return list(zip(names, np.diff(ends, prepend=0).tolist(), strict=True))


def _finished(run: RunDirectory) -> bool:
    """Whether it can be used again: it was made by this version of the program, down to the harvest."""
    if not run.manifest.is_file():
        return False
    manifest = open_run(run.path).manifest
    if manifest.imported_from != IMPORTED_FROM:
        raise UsageError(f"{run.path} is another run.", "Choose another folder with --out.")
    return manifest.versions == installed_versions() and bool(run.harvest_names())


def _harvested(
    layers: list[tuple[str, int]], words: Vocabulary, seed: int, positions: int, observer: Observer
) -> HarvestEngine:
    chosen = HarvestSettings(context=12, uniform_examples=20, strongest_examples=8, seed=seed)
    engine = HarvestEngine(layers, len(words.texts), chosen)
    stream = SyntheticStream(layers, words, batch=_BATCH, length=_LENGTH, seed=seed)
    count = max(1, positions // (_BATCH * _LENGTH))
    for done, batch in enumerate(stream.batches(count)):
        observer.progress("harvest", done, count, unit=None)
        engine.add_batch(batch)
    observer.progress("harvest", count, count, unit=None)
    return engine


def _write_papers(
    made: RunDirectory, run: RunDirectory, engine: HarvestEngine, seed: int, created: datetime, seconds: float
) -> None:
    """Everything but the harvest into `made`, which will become `run`."""
    counted = _counted(engine)
    settings = synthetic_settings(counted.widths, seed)
    write_text(made.settings, to_yaml(settings))
    records = list(synthetic_metrics(counted, seed))
    write_text(made.metrics, "".join(to_json(record) + "\n" for record in records))
    heading = {"run_id": run.run_id, "path": str(run.path), "recipe": None, "seed": seed, "seconds": seconds}
    write_json(made.summary, synthetic_summary(heading, records[-1], counted))
    manifest = new_manifest(
        run_id=run.run_id,
        settings_digest=settings.digest(),
        seed=seed,
        command=_command(engine, seed),
        status="finished",
        step=STEPS,
        steps=STEPS,
        seconds=seconds,
        imported_from=IMPORTED_FROM,
    )
    manifest.update(created=created).write(made.manifest)


def _counted(engine: HarvestEngine) -> Counted:
    firings = engine.components().firings
    widths = dict(engine.layers)
    parts = np.split(firings, np.cumsum(list(widths.values()))[:-1])
    by_layer = dict(zip(widths, parts, strict=True))
    return Counted(
        widths=widths,
        live={name: int((part > 0).sum()) for name, part in by_layer.items()},
        l0={name: float(part.sum() / engine.positions) for name, part in by_layer.items()},
    )


def _command(engine: HarvestEngine, seed: int) -> list[str]:
    count = sum(width for _, width in engine.layers)
    return ["spd", "demo", "--components", str(count), *(["--seed", str(seed)] if seed else [])]


def _details(run: RunDirectory, seed: int, created: datetime) -> dict[str, Any]:
    """What the harvest's manifest says besides its numbers."""
    return {
        "run_id": run.run_id,
        "checkpoint_step": STEPS,
        "target": IMPORTED_FROM,
        "kind": "text",
        "precision": "fp16",
        "device": "cpu",
        "batch_size": _BATCH,
        "shards": 1,
        "command": [],
        "created": created.isoformat(),
        "versions": installed_versions(),
        "data": {"stream": f"synthetic, seed {seed}", "window": _LENGTH, "passes": 1},
    }
