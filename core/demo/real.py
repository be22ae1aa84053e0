"""The smallest real run: five features in two dimensions, decomposed and harvested in a minute."""

from pathlib import Path

from core.decomposition.start import RunRequest, start_run
from core.harvest.preparing import HarvestRequest
from core.harvest.run import harvest_run
from core.harvest.settings import HarvestSettings
from core.harvest.unfinished import unfinished_harvests
from core.recipes.registry import build_recipe
from core.runs.catalogue import RunEntry, find_resumable, list_runs
from core.runs.directory import RunDirectory
from core.runs.observer import Observer

RECIPE = "tms_5-2"

_POSITIONS = 65_536


def make_demo(root: Path, observer: Observer) -> RunDirectory:
    """A finished and harvested run of tms_5-2; what is already there under `root` is used again, and what was
    stopped goes on.

    Raises:
        UsageError: `root` is not writable.
        Interrupted, SpdError: the decomposition or the harvest was stopped.
    """
    settings = build_recipe(RECIPE)
    run = finished(root, settings.digest())
    if run is None:
        stopped = find_resumable(root, settings.digest(), settings.seed) is not None
        request = RunRequest(settings, root, device="cpu", resume=stopped, command=("spd", "demo"))
        result = start_run(request, observer)
        result.model.detach()
        run = result.directory
    else:
        observer.message(f"using {run.run_id} in {run.path}")
    if not run.harvest_names():
        request = HarvestRequest(
            run,
            root,
            HarvestSettings(),
            positions=_POSITIONS,
            device="cpu",
            resume=any(found.waiting for found in unfinished_harvests(run)),
            command=("spd", "demo"),
        )
        harvest_run(request, observer)
    return run


def finished(root: Path, digest: str) -> RunDirectory | None:
    """The newest finished run of these settings, a harvested one first."""
    found = [run for run in list_runs(root) if _is_of(run, digest)]
    found.sort(key=lambda run: not run.directory.harvest_names())
    return found[0].directory if found else None


def _is_of(run: RunEntry, digest: str) -> bool:
    return (
        run.status == "finished"
        and run.manifest.settings_digest == digest
        and run.directory.latest_checkpoint() is not None
    )
