"""Copying: by OSC 52 to the terminal's clipboard, and to a file, since not every terminal takes it."""

from pathlib import Path


def write_clipboard_file(folder: Path, text: str) -> Path:
    """Write `text` to the clipboard file in `folder` and say where that is.

    Raises:
        SpdError: it cannot be written.
    """
    from core.errors import SpdError
    from core.runs.files import write_error, write_text

    path = folder / "clipboard.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpdError(str(write_error(path, error))) from error
    write_text(path, text)
    return path


def home_relative(path: Path) -> str:
    """A path as people write it: with `~` for the home folder."""
    try:
        return f"~/{path.relative_to(Path.home())}" if path != Path.home() else "~"
    except ValueError:
        return str(path)
