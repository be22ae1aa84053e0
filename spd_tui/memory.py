"""What the browser remembers for a person from one time to the next: run, screen, filters, what was typed."""

import json
from pathlib import Path
from typing import Any

_VERSION = 1
_MOST_HISTORY = 50


class Memory:
    """A small JSON file in the user's state folder.

    A file that is damaged or from another version is ignored, with a word in `problem`; the next `save`
    writes it anew. Nothing is read or written before `load` and `save` are called.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self.run: str | None = None
        """Id of the run that was open last."""
        self.root: str | None = None
        """The output folder it lies in."""
        self.mode: str = "runs"
        """The screen that was shown last."""
        self.theme: str | None = None
        """The theme chosen with `:theme`."""
        self._screens: dict[str, dict[str, Any]] = {}
        self._history: dict[str, list[str]] = {}

    def load(self) -> None:
        """Read the file, if there is one."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            self._ignore(str(error))
            return
        try:
            self._take(json.loads(text))
        except (ValueError, TypeError) as error:
            self._ignore(str(error))

    def save(self) -> None:
        """Write the file in one step.

        Raises:
            SpdError: it cannot be written.
        """
        from core.runs.files import write_error, write_json

        data = {
            "version": _VERSION,
            "run": self.run,
            "root": self.root,
            "mode": self.mode,
            "theme": self.theme,
            "screens": self._screens,
            "history": self._history,
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.path, error) from error
        write_json(self.path, data)

    def of_screen(self, mode: str) -> dict[str, Any]:
        """What a screen remembers: plain JSON values, to be read with care and changed in place."""
        return self._screens.setdefault(mode, {})

    def history(self, kind: str) -> list[str]:
        """What was typed before on one kind of line (`command`, `search`), oldest first."""
        return list(self._history.get(kind, ()))

    def typed(self, kind: str, text: str) -> None:
        """Remember what was typed; an earlier same text moves to the end."""
        if text.strip():
            earlier = [old for old in self._history.get(kind, ()) if old != text]
            self._history[kind] = [*earlier, text][-_MOST_HISTORY:]

    def _take(self, data: Any) -> None:
        if not isinstance(data, dict):
            raise TypeError(f"expected an object, got {type(data).__name__}")
        if data.get("version") != _VERSION:
            raise ValueError(f"version {data.get('version')!r}, this spd reads {_VERSION}")
        screens, history = data.get("screens", {}), data.get("history", {})
        if not isinstance(screens, dict) or not all(isinstance(value, dict) for value in screens.values()):
            raise TypeError("screens is not a table of tables")
        if not isinstance(history, dict) or not all(_is_texts(value) for value in history.values()):
            raise TypeError("history is not a table of lists of texts")
        for name in ("run", "root", "theme", "mode"):
            if not isinstance(data.get(name), str | None):
                raise TypeError(f"{name} is not a text")
        self.run, self.root, self.theme = data.get("run"), data.get("root"), data.get("theme")
        self.mode = data.get("mode") or "runs"
        self._screens, self._history = screens, history

    def _ignore(self, reason: str) -> None:
        self.problem = f"{self.path} is ignored ({reason}); it is written anew when you leave."


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
