"""How well a language model predicts the next token of text it was not trained on."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from core.parallel import Ranks
from core.shapes import TokenIds
from core.text.windows import TextWindows


def next_token_loss(model: nn.Module, windows: TokenIds) -> Tensor:
    """Mean cross-entropy in nats of each window's tokens 1, 2, ... given those before; windows (B S+1)."""
    logits = model(windows[:, :-1])
    return cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())


@torch.no_grad()
def validation_loss(
    model: nn.Module, text: TextWindows, batches: int, size: int, ranks: Ranks, device: torch.device
) -> float:
    """`next_token_loss` over the first `batches` batches of `size` windows of the `eval` stream.

    Always in float32, so that it can be compared with what is measured later on the same text.
    """
    total = torch.zeros((), dtype=torch.float64)
    model.eval()
    for index in range(batches):
        windows = ranks.rows(text.batch("eval", index, size)).to(device)
        total += next_token_loss(model, windows).double().cpu()
    model.train()
    return float(ranks.mean(total.to(device)) / batches)
