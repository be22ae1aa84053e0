"""An optional copy of a run's numbers at Weights & Biases. Local files are the truth.

Nothing here can stop a run: the first failure is reported once and the mirror goes quiet. Without a key
or network the mirror is kept offline in the run's folder, for `wandb sync` later.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


class Mirror(Protocol):
    """Where numbers and figures are copied to."""

    url: str | None

    def scalars(self, record: dict[str, Any]) -> None:
        """Copy one record of metrics.jsonl."""
        ...

    def image(self, path: Path, step: int) -> None:
        """Copy one figure."""
        ...

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Close, with the final summary when there is one."""
        ...


class NoMirror:
    """Copies nothing."""

    url: str | None = None

    def scalars(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def image(self, path: Path, step: int) -> None:
        """Nothing."""

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Nothing."""


class WandbMirror:
    """Copies to the Weights & Biases run that has this run's own id."""

    def __init__(
        self, project: str, run_id: str, folder: Path, config: dict[str, Any], say: Callable[[str], None]
    ) -> None:
        self._say = say
        self._run: Any = None
        self._closed = False
        self.url: str | None = None
        self._guarded(lambda: self._open(project, run_id, folder, config))

    def scalars(self, record: dict[str, Any]) -> None:
        """Copy one record, at its step."""
        numbers = {f"{record['kind']}/{k}": v for k, v in record.items() if k not in ("step", "kind")}
        self._guarded(lambda: self._run.log({"step": record["step"], **numbers}))

    def image(self, path: Path, step: int) -> None:
        """Copy one figure, at its step."""

        def send() -> None:
            import wandb

            self._run.log({"step": step, f"figures/{path.stem}": wandb.Image(str(path))})

        self._guarded(send)

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Close the run there; `summary` becomes its summary."""

        def close() -> None:
            if summary is not None:
                self._run.summary.update(summary)
            self._run.finish(exit_code=0 if summary is not None else 1)

        self._guarded(close)
        self._closed = True

    def _open(self, project: str, run_id: str, folder: Path, config: dict[str, Any]) -> None:
        import wandb

        mode = os.environ.get("WANDB_MODE")
        if mode is None and not _has_key():
            mode = "offline"
            self._say(
                "Weights & Biases: no API key found, so the mirror is kept offline in the run's folder."
            )
        self._run = wandb.init(
            project=project,
            id=run_id,
            name=run_id,
            resume="allow",
            dir=str(folder),
            mode=mode,  # type: ignore[arg-type]
            config=config,
            settings=wandb.Settings(init_timeout=30, console="off", silent=True),
        )
        # Our own step is the x axis: a resumed run may log a step again, which wandb's own step refuses.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        self.url = None if mode == "offline" else self._run.url  # offline there is none, and asking warns

    def _guarded(self, action: Callable[[], None]) -> None:
        if self._closed:
            return
        try:
            action()
        except Exception as error:  # whatever the mirror does, the run goes on
            self._closed = True
            reason = f"{type(error).__name__}: {error}"
            self._say(f"Weights & Biases stopped working ({reason}); the run goes on without it.")


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return "wandb" in netrc.read_text(encoding="utf-8")
    except OSError:
        return False
