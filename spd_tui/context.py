"""What the browser has open."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.harvest.artifact import Harvest
    from core.runs.catalogue import RunEntry


@dataclass
class Context:
    """What is open now; screens read it, only `Navigation` changes the run."""

    root: Path
    """The output folder with `runs/` in it."""
    run: "RunEntry | None" = None
    """The open run."""
    harvest: "Harvest | None" = None
    """Its harvest, once a screen has opened it; that screen sets it."""

    def describe(self) -> str:
        """What is loaded, in a few words: recipe, run id, harvest."""
        if self.run is None:
            return ""
        parts = [f"{self.run.manifest.recipe or 'imported'} {self.run.run_id}"]
        if self.harvest is not None:
            parts.append(f"harvest {self.harvest.folder.name}")
        return " · ".join(parts)
