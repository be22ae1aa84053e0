"""Runs with a small harvest written by the real engine on made-up values: what the component screens read."""

from pathlib import Path

import torch

from core.harvest.kernel import HarvestBatch, HarvestEngine
from core.harvest.settings import HarvestSettings
from core.harvest.writing import write_harvest
from core.runs.directory import RunDirectory
from core.runs.manifest import new_manifest
from core.text.display import display

LAYERS = (("h.0.mlp.c_fc", 24), ("h.0.mlp.down_proj", 16), ("h.1.attn.q_proj", 12))
WORDS = [
    " she",
    " her",
    " the",
    ",",
    ".",
    "\n",
    "\t",
    " 漢字",
    "👍",
    "e\u0301",
    "\x1b[31m",
    " said",
    " had",
    " never",
]
WORDS += [" seen", " mother", " he", " own", "  ", "<0xE2>", "🇩🇪", "❤\ufe0f", "\u0301", "\u200b", "क्षि", "]"]
TEXTS = [display(word.encode()) for word in WORDS] + [display(b"\xe2\x80"), "x" * 90, ""]


def make_run(root: Path, run_id: str = "s-0000aaaa", recipe: str = "tiny_lm") -> RunDirectory:
    """A finished run without a harvest."""
    run = RunDirectory.create(root, run_id)
    new_manifest(
        run_id=run_id, settings_digest="d", recipe=recipe, status="finished", step=100, steps=100
    ).write(run.manifest)
    return run


def add_text_harvest(
    run: RunDirectory, name: str = "h-20261101-120000", layers=LAYERS, seed: int = 0
) -> Path:
    """Components that fire mostly at one token each, in groups, over a stream of `TEXTS`."""
    make = torch.Generator().manual_seed(seed)
    vocabulary = len(TEXTS)
    engine = HarvestEngine(
        layers, vocabulary, HarvestSettings(context=8, uniform_examples=12, strongest_examples=6)
    )
    for batch in range(2):
        tokens = torch.randint(vocabulary, (8, 24), generator=make)
        importances, activations = {}, {}
        for number, (layer, width) in enumerate(layers):
            wanted = (torch.arange(width) * 3 + number) % vocabulary
            likely = (tokens[..., None] == wanted) * 0.8 + 0.04
            likely = likely * (torch.arange(width) % 7 != 6)  # every seventh never fires
            fires = torch.rand(8, 24, width, generator=make) < likely
            importances[layer] = torch.rand(8, 24, width, generator=make) * fires
            activations[layer] = torch.randn(8, 24, width, generator=make)
        logits = torch.randn(8, 24, vocabulary, generator=make)
        sequences = torch.arange(8) + 8 * batch
        engine.add_batch(HarvestBatch(sequences, tokens, importances, activations, logits.softmax(-1)))
    details = {"run_id": run.run_id, "kind": "text", "created": "2026-11-01T12:00:00+00:00"}
    write_harvest(engine, run.harvests / name, details, texts=TEXTS)
    return run.harvests / name


def add_feature_harvest(run: RunDirectory, name: str = "h-20261101-120000") -> Path:
    """A toy: five features, a component for each, inputs of one or two active features."""
    make = torch.Generator().manual_seed(1)
    values = torch.randn(200, 5, generator=make) * (torch.rand(200, 5, generator=make) < 0.2)
    layers = (("linear1", 8), ("linear2", 8))
    engine = HarvestEngine(
        layers, 5, HarvestSettings(context=0, uniform_examples=8, strongest_examples=4, output_share=0)
    )
    importances = torch.zeros(200, 1, 8)
    importances[:, 0, :5] = values.abs().clamp(max=1)
    activations = torch.zeros(200, 1, 8)
    activations[:, 0, :5] = values
    engine.add_batch(
        HarvestBatch(
            torch.arange(200),
            values.abs().argmax(-1, keepdim=True),
            {name: importances for name, _ in layers},
            {name: activations for name, _ in layers},
            features=(values != 0)[:, None],
        )
    )

    def inputs(sequences) -> list[dict[int, float]]:
        return [
            {feature: float(value) for feature, value in enumerate(values[int(number)]) if value}
            for number in sequences
        ]

    details = {"run_id": run.run_id, "kind": "features", "created": "2026-11-01T12:00:00+00:00"}
    write_harvest(engine, run.harvests / name, details, texts=[f"x{n}" for n in range(5)], inputs=inputs)
    return run.harvests / name
