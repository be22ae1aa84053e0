"""Named randomness: every draw is a pure function of (seed, purpose, indices).

No generator is carried from step to step. The draw for step 731 of the purpose "masks" is derived from
the run's seed, that name and the number 731, so a resumed run continues bit for bit without any saved
generator state, and a new evaluation can never change a training trajectory.
"""

import hashlib

import torch
from torch import Tensor


def derive_seed(seed: int, purpose: str, *indices: int) -> int:
    """A 63-bit seed for one purpose and index tuple; different names give independent seeds."""
    text = f"{seed}/{purpose}/" + "/".join(str(i) for i in indices)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, *indices: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh torch generator for one purpose and index tuple (see `derive_seed`)."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose, *indices))


def uniform(shape: tuple[int, ...], source: torch.Generator) -> Tensor:
    """Uniform float32 draws in [0, 1) on the generator's device."""
    return torch.rand(shape, generator=source, device=source.device)
