"""Text that a language model writes, token by token."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from core.errors import UsageError
from core.randomness import generator


@torch.no_grad()
def generate(
    model: nn.Module,
    ids: Int[Tensor, "B S"],
    n_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    context: int | None = None,
) -> Int[Tensor, "B S_and_n"]:
    """`ids` with `n_tokens` more tokens after each row; the same arguments always give the same ids.

    `temperature` 0 takes the likeliest token, otherwise logits are divided by it; `top_k` leaves only so many
    of the likeliest. With `context` the model reads only that many of the last tokens.

    Raises:
        UsageError: no token to begin with, a negative temperature, or top_k below 1.
    """
    if ids.shape[1] == 0:
        raise UsageError(
            "there is no token to continue.", "Begin with at least one, such as the end of text."
        )
    if temperature < 0 or (top_k is not None and top_k < 1):
        raise UsageError(f"temperature {temperature} must be at least 0 and top_k {top_k} at least 1.")
    for step in range(n_tokens):
        logits = model(ids if context is None else ids[:, -context:])[:, -1].float()
        chosen = _choose(logits, temperature, top_k, seed, step).to(ids.dtype)
        ids = torch.cat((ids, chosen.unsqueeze(1)), dim=1)
    return ids


def _choose(
    logits: Float[Tensor, "B vocab"], temperature: float, top_k: int | None, seed: int, step: int
) -> Int[Tensor, "B"]:
    if temperature == 0:
        return logits.argmax(dim=-1)
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    # Drawn on the CPU, so that every device writes the same text.
    probabilities = (logits / temperature).softmax(dim=-1).cpu()
    draw = generator(seed, "generate", step)
    return torch.multinomial(probabilities, 1, generator=draw).squeeze(1).to(logits.device)
