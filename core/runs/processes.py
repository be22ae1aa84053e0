"""Whether the process that a file names still lives, and is not a later one with its number."""

import os
import socket
from pathlib import Path


def this_host() -> str:
    """The name of this machine."""
    return socket.gethostname()


def start_mark(pid: int) -> str | None:
    """What tells a process from a later one with the same number; None where the system does not say.

    On Linux: the machine's boot id and the process's start in clock ticks since that boot.
    """
    fields = _stat(pid)
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{fields[19]}" if fields else None
    except (OSError, IndexError):
        return None


def why_dead(host: str, pid: int, mark: str | None) -> str | None:
    """A sentence that says how we know the process is gone; None when it lives or nobody here can tell."""
    if host != this_host():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return f"no process {pid} on {host}"
    except (PermissionError, OverflowError):
        pass
    # A killed process whose parent has not asked for its exit code still has its number.
    if _stat(pid)[:1] == ["Z"]:
        return f"process {pid} on {host} has ended"
    now = start_mark(pid)
    if mark is not None and now is not None and mark != now:
        return f"process {pid} on {host} is a later one"
    return None


def _stat(pid: int) -> list[str]:
    """What follows the command's name in /proc/PID/stat: the state first; the start time is number 19."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
