"""Which device and precision to compute with: chosen once at the door, then handed down."""

import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter
from typing import Literal

import torch

from core.errors import UsageError

Precision = Literal["fp32", "bf16"]

# bf16 must win clearly: it rounds to 8 bits, and a choice near the break-even would change from run to run.
BF16_ADVANTAGE = 1.5

THREAD_ELEMENTS = 2**18
"""Elements of one operation that keep one thread busy."""


def resolve_device(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: an unknown name, or CUDA asked for and absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}.", "Allowed: auto, cpu, cuda, cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported.", "Allowed: auto, cpu, cuda, cuda:N.")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(f"device {name!r} was asked for, but torch finds no CUDA device.", "Use cpu.")
        if (device.index or 0) >= torch.cuda.device_count():
            raise UsageError(f"there is no device {name!r}; CUDA devices: {torch.cuda.device_count()}.")
    return device


def resolve_precision(name: str, device: torch.device, largest_matmul: tuple[int, int, int]) -> Precision:
    """`fp32` or `bf16`; `auto` times both on a matrix product of the work's own size (rows, inner, columns).

    Small products stay in fp32: rounding would cost more than it saves.

    Raises:
        UsageError: an unknown name.
    """
    if name == "fp32":
        return "fp32"
    if name == "bf16":
        return "bf16"
    if name != "auto":
        raise UsageError(f"unknown precision {name!r}.", "Allowed: auto, fp32, bf16.")
    rows, inner, columns = largest_matmul
    if rows * inner * columns < 2**26:
        return "fp32"
    fp32 = _matmul_seconds(rows, inner, columns, torch.float32, device)
    bf16 = _matmul_seconds(rows, inner, columns, torch.bfloat16, device)
    return "bf16" if fp32 > BF16_ADVANTAGE * bf16 else "fp32"


def choose_threads(positions: int, components: int) -> int:
    """CPU threads for steps on so many positions of `components` subcomponents in all.

    Waking a second thread costs more than it saves below about a quarter million elements an operation
    (measured: tms_5-2 takes 2.9 ms a step on one thread and 8 to 10 on two). Never more than torch has.
    """
    return max(1, min(torch.get_num_threads(), positions * components // THREAD_ELEMENTS))


@contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Torch and the kernels on this many threads while it lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context in which matrix products run in `precision`; parameters and sums stay float32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def peak_memory_bytes(device: torch.device) -> int:
    """Largest memory the process has held so far: on the GPU if it computes there, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _matmul_seconds(rows: int, inner: int, columns: int, dtype: torch.dtype, device: torch.device) -> float:
    left = torch.ones(rows, inner, dtype=dtype, device=device)
    right = torch.ones(inner, columns, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(7):
        start = perf_counter()
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, perf_counter() - start)
    return best
