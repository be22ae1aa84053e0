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
from core.launching import Place, launched_place

T = TypeVar("T")

TIMEOUT = timedelta(hours=6)
"""How long a rank waits for another, which may be training the target. A rank that dies is not waited for:
whoever launched the group ends it."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that share each batch."""

    rank: int = 0
    """Number of this process, from 0; rank 0 writes and speaks for all."""
    size: int = 1
    """How many there are."""
    control: Any = None
    """The process group of small messages: always on the CPU, so that none of them waits for a GPU."""

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

    def gather_rows(self, part: Tensor) -> Tensor:
        """The rows of all ranks, in their order: what `rows` has cut; a new tensor without gradient."""
        if self.size == 1:
            return part.detach().clone()
        parts = [torch.empty_like(part) for _ in range(self.size)]
        dist.all_gather(parts, part.detach().contiguous())
        return torch.cat(parts)

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

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Copy rank 0's values into the tensors of every rank."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def share(self, value: T) -> T:
        """Rank 0's value, on every rank; it must be picklable."""
        if self.size == 1:
            return value
        box: list[Any] = [value if self.is_main else None]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.size == 1:
            return flag
        found = torch.tensor([float(flag)])
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self.control)
        return bool(found.item())

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            dist.barrier(group=self.control)


SINGLE = Ranks()
"""A process on its own."""


@contextmanager
def joined_ranks(device: str = "auto", wanted: int | None = None) -> Iterator[Ranks]:
    """The group this process was launched into; a group of one when it was launched alone.

    Whoever launches tells each process its number: torchrun and `spd --dp` in RANK and WORLD_SIZE, SLURM's
    srun in SLURM_PROCID and SLURM_NTASKS, which count only when `wanted` of them were asked for (many tasks
    may also be many runs). The ranks talk through NCCL when they compute on GPUs, through gloo on CPUs.

    Raises:
        UsageError: `wanted` ranks were asked for and another number was launched.
    """
    place = launched_place(wanted)
    if place is None:
        yield SINGLE
        return
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        _take_gpu(place, device)
    # CPU tensors have a way on GPUs too: a run that was begun on the CPU goes on there.
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, rank=place.rank, world_size=place.size, timeout=TIMEOUT)
    try:
        control = dist.new_group(backend="gloo", timeout=TIMEOUT) if on_gpu else None
        yield Ranks(place.rank, place.size, control)
    finally:
        dist.destroy_process_group()


def _take_gpu(place: Place, device: str) -> None:
    if ":" in device:
        raise UsageError(f"--device {device} names one GPU for {place.size} ranks.", "Use --device cuda.")
    if torch.cuda.device_count() == 1 and "SLURM_STEP_GPUS" in os.environ:
        return  # each task was given a GPU of its own and sees no other
    if place.local_size > torch.cuda.device_count():
        raise UsageError(
            f"{place.local_size} ranks here need as many GPUs; there are {torch.cuda.device_count()}.",
            "Use a smaller --dp, or --device cpu.",
        )
    torch.cuda.set_device(place.local)
