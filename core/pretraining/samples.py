"""Text that a language model writes."""

import torch
from torch import nn

from core.language_models.generate import generate
from core.pretraining.settings import SampleSettings
from core.randomness import derive_seed
from core.text.tokenizer import Tokenizer


def draw_samples(
    model: nn.Module, tokenizer: Tokenizer, settings: SampleSettings, context: int, seed: int, number: int
) -> list[tuple[str, str]]:
    """Each prompt with what the model adds to it, up to the end of the text it begins.

    `context` is how many tokens the model reads. Samples of another `number` differ, those of the same one
    do not. The texts may hold control characters.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    found: list[tuple[str, str]] = []
    for index, prompt in enumerate(settings.prompts):
        begin = tokenizer.encode(prompt) or [tokenizer.end_of_text]
        written = generate(
            model,
            torch.tensor([begin], device=device),
            settings.tokens,
            temperature=settings.temperature,
            top_k=settings.top_k,
            seed=derive_seed(seed, "pretrain/samples", number, index),
            context=context,
        )
        new: list[int] = written[0, len(begin) :].tolist()
        if tokenizer.end_of_text in new:
            new = new[: new.index(tokenizer.end_of_text)]
        found.append((prompt, tokenizer.decode(new)))
    model.train(training)
    return found
