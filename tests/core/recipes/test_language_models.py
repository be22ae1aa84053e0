"""Language models decomposed end to end, in seconds: pretrained here, or from a folder of one's own."""

import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.components.masks import ExplicitMask
from core.decomposition.opening import open_run
from core.decomposition.settings import DecompositionSettings, settings_from
from core.decomposition.start import RunRequest, RunResult, start_run
from core.errors import Interrupted, UsageError
from core.recipes.registry import build_recipe
from core.settings import apply_overrides, to_plain
from core.text.tokenizer import train_bpe

WORDS = ("law", "of", "a", "free", "people", "shall", "be", "made", "by", "hand", "kept", "in", "peace")

QUICK = [
    "training.steps=3",
    "training.batch_size=2",
    "training.warmup.steps=2",
    "evaluation.every=3",
    "evaluation.figures_every=3",
    "evaluation.batches=1",
    "evaluation.metrics.adversary.budgets=[2]",
    "record.log_every=1",
    "record.checkpoint_every=2",
    "target.text.eval_fraction=0.2",
]


class Watcher:
    """Hears nothing, but may stop the run at a step, as Ctrl-C does."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at

    def message(self, text: str) -> None:
        """Nothing."""

    def progress(self, phase: str, done: int, total: int, note: str = "", unit: str | None = "step") -> None:
        if phase == "decompose" and done == self.stop_at:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    """About 5 kB in a file of its own."""
    file = tmp_path / "prose.txt"
    draw = random.Random(0)
    file.write_text(". ".join(" ".join(draw.choices(WORDS, k=12)) for _ in range(90)))
    return file


@pytest.fixture
def corpus(prose: Path) -> str:
    return f"{{kind: files, path: {prose}}}"


@pytest.fixture
def gpt2(tmp_path: Path, prose: Path) -> Path:
    """A folder with a tiny GPT-2 of transformers and its tokenizer, as its makers would save it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "gpt2"
    config = GPT2Config(vocab_size=300, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(folder)
    train_bpe([prose.read_text()], 300).save(folder / "tokenizer.json")
    return folder


@pytest.fixture
def tiny(corpus: str) -> DecompositionSettings:
    """The embedded recipe, with a model that is pretrained in a second."""
    return changed(
        "tiny_lm",
        *QUICK,
        f"target.text.corpus={corpus}",
        "target.text.window=12",
        f"target.model.settings.text.corpus={corpus}",
        "target.model.settings.text.eval_fraction=0.2",
        "target.model.settings.text.tokenizer.vocabulary=300",
        "target.model.settings.text.window=13",
        "target.model.settings.model.vocabulary=300",
        "target.model.settings.model.context=12",
        "target.model.settings.model.width=16",
        "target.model.settings.training.steps=3",
        "target.model.settings.training.batch_size=2",
        "target.model.settings.validation.batches=1",
        "target.model.settings.samples.tokens=2",
        "importance.hidden=[8]",
        "components.modules=[{pattern: h.*.mlp.*, C: 6}, {pattern: h.*.attn.*_proj, C: 4}]",
    )


def changed(recipe: str, *changes: str) -> DecompositionSettings:
    return settings_from(apply_overrides(to_plain(build_recipe(recipe)), list(changes)), recipe)


Decompose = Callable[..., RunResult]


@pytest.fixture
def decompose(tmp_path: Path) -> Decompose:
    def call(settings: DecompositionSettings, watcher: Any = None, **request: Any) -> RunResult:
        given = {"root": tmp_path / "out", "device": "cpu", "precision": "fp32", **request}
        return start_run(RunRequest(settings, **given), watcher or Watcher())

    return call


def lines(result: RunResult) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.directory.metrics.read_text().splitlines()]


def test_a_pretrained_model_is_decomposed(tiny: DecompositionSettings, decompose: Decompose) -> None:
    result = decompose(tiny)
    assert len(result.model.sites) == 12
    written = json.dumps(result.summary)
    assert all(metric in written for metric in ("cross_entropy", "adversary", "hidden"))
    targets = list((result.directory.path.parent.parent / "targets").iterdir())
    assert [folder.name.startswith("llama_simple_mlp-") for folder in targets] == [True]
    again = decompose(tiny)
    assert again.directory.run_id != result.directory.run_id
    assert [without_times(line) for line in lines(again)] == [without_times(line) for line in lines(result)]


def test_a_stopped_decomposition_goes_on_as_if_it_had_not_been(
    tiny: DecompositionSettings, decompose: Decompose
) -> None:
    whole = decompose(tiny)
    with pytest.raises(Interrupted):
        decompose(tiny, Watcher(stop_at=2))
    resumed = decompose(tiny, resume=True)
    assert resumed.directory.run_id != whole.directory.run_id
    for name, site in whole.model.sites.items():
        assert torch.equal(site.V, resumed.model.sites[name].V)
    assert [without_times(line) for line in lines(resumed)] == [without_times(line) for line in lines(whole)]


def test_a_hub_recipe_on_a_model_and_text_of_ones_own(
    gpt2: Path, corpus: str, decompose: Decompose, tmp_path: Path
) -> None:
    settings = changed(
        "ss_gpt2",
        *QUICK,
        f"target.model.path={gpt2}",
        f"target.text.corpus={corpus}",
        "target.text.window=16",
        "components.modules.0.C=5",
    )
    result = decompose(settings)
    assert list(result.model.sites) == ["transformer.h.1.mlp.c_fc"]
    result.model.detach()
    model, _, target = open_run(result.directory, tmp_path / "out")
    assert torch.equal(
        model.sites["transformer.h.1.mlp.c_fc"].V, result.model.sites["transformer.h.1.mlp.c_fc"].V
    )
    assert target.folder == gpt2


def test_all_masks_one_give_the_original_logits(
    gpt2: Path, tiny: DecompositionSettings, corpus: str, decompose: Decompose
) -> None:
    """Subcomponents and weight delta together are the weight, so what is left is the rounding of sums."""
    whole = changed(
        "ss_gpt2",
        *QUICK,
        f"target.model.path={gpt2}",
        f"target.text.corpus={corpus}",
        "target.text.window=16",
        "components.modules=[{pattern: transformer.h.*.*.c_*, C: 7}]",
    )
    for settings in (whole, tiny):
        model = decompose(settings).model
        ids = torch.arange(24).reshape(2, 12) % 250
        with torch.no_grad():
            target = model.target_pass(ids)
            ones = torch.ones(2, 12)
            masks = {name: ExplicitMask(delta=ones) for name in model.sites}
            output = model.masked_pass(ids, masks, target)[0]
        scale = target.output.abs().max()
        assert (output - target.output).abs().max() < 2e-6 * scale + 1e-6


def test_a_hub_text_that_cannot_be_had(gpt2: Path, decompose: Decompose) -> None:
    settings = changed("ss_gpt2", *QUICK, f"target.model.path={gpt2}", "target.text.window=16")
    with pytest.raises(UsageError, match=r"SimpleStories/SimpleStories.*corpus\.path="):
        decompose(settings)


def test_a_setting_that_fits_no_module_is_refused_before_pretraining(
    tiny: DecompositionSettings, decompose: Decompose, tmp_path: Path
) -> None:
    plain = apply_overrides(to_plain(tiny), ["components.modules.0.pattern=h.*.mlp.c_proj"])
    with pytest.raises(UsageError, match=r"c_proj' matches no module"):
        decompose(settings_from(plain, "tiny"))
    assert not list((tmp_path / "out").glob("targets/*"))


def without_times(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if "second" not in key and "time" not in key}
