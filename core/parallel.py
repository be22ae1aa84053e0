"""The ranks of a data-parallel run: which one this process is, and what they add up.

Every rank holds the whole model and takes an equal share of the rows of each batch. What is random is drawn
for the whole batch and cut like it, so N ranks do what one alone would have done, up to the rounding of sums.
A single process is a group of one, and nothing here then costs anything.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from core.errors import UsageError

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for another: an evaluation or a checkpoint of the first rank must fit in."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that share each batch."""

    rank: int = 0
    """Number of this process, from 0; rank 0 writes and speaks for all."""
    size: int = 1
    """How many there are."""
    local: int = 0
    """Number of this process on its machine, which chooses its GPU."""

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share_of(self, count: int, name: str) -> int:
        """This rank's part of `count` rows.

        Raises:
            UsageError: they cannot be shared out evenly; `name` is what they are called.
        """
        if count % self.size:
            raise UsageError(
                f"{name} = {count} cannot be divided among {self.size} ranks.",
                f"Use a multiple of {self.size}, or another --dp.",
            )
        return count // self.size

    def rows(self, batch: Tensor) -> Tensor:
        """This rank's rows of a batch of the whole group."""
        if self.size == 1:
            return batch
        part = batch.shape[0] // self.size
        return batch[self.rank * part : (self.rank + 1) * part]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks, a new tensor without gradient."""
        if self.size == 1:
            return tensor.detach()
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all ranks, a new tensor without gradient."""
        return self.sum(tensor) / self.size if self.size > 1 else tensor.detach()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over all ranks, in one message."""
        if self.size == 1:
            return
        parameters = list(parameters)
        for parameter in parameters:
            if parameter.grad is None:  # another rank may have one
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def share(self, value: T) -> T:
        """Rank 0's value, on every rank; it must be picklable."""
        if self.size == 1:
            return value
        box: list[Any] = [value if self.is_main else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.size == 1:
            return flag
        found = torch.tensor([float(flag)], device=_collective_device())
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return bool(found.item())

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            dist.barrier()


SINGLE = Ranks()
"""A process on its own."""


@contextmanager
def joined_ranks(device: str = "auto") -> Iterator[Ranks]:
    """The group this process was launched into (by torchrun, SLURM's srun or `--dp`); a group of one otherwise.

    They talk through NCCL when they compute on GPUs, through gloo on CPUs.
    """
    rank, size, local = _launched_as()
    if size == 1:
        yield SINGLE
        return
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if on_gpu else "gloo", rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield Ranks(rank, size, local)
    finally:
        dist.destroy_process_group()


def _launched_as() -> tuple[int, int, int]:
    """Rank, size and local rank from the environment; torchrun's variables come before SLURM's."""
    environment = os.environ
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return int(environment["RANK"]), int(environment["WORLD_SIZE"]), int(environment.get("LOCAL_RANK", 0))
    return 0, 1, 0


def _collective_device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
