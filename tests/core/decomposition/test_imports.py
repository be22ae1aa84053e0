"""Published decompositions become runs of ours that give the same numbers; broken ones leave nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from core.components.component_model import ComponentModel
from core.components.importance_layerwise import LayerwiseImportance
from core.components.masks import ExplicitMask
from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition.imports import import_run
from core.decomposition.opening import open_run
from core.decomposition.settings import DecompositionSettings
from core.errors import UsageError
from core.losses.adversary import AdversarialMasks
from core.losses.hidden import HiddenActivationsLoss
from core.losses.minimality import MinimalityLoss
from core.losses.reconstruction import ReconstructionLoss
from core.runs.catalogue import list_runs
from core.runs.directory import RunDirectory
from core.targets.residual_mlp import ResidualMLP, ResidualMLPSettings
from core.targets.target import Target

PUBLISHED = Path(__file__).parents[2] / "golden" / "data" / "reference_run_tms_5-2"


def imported(source: Path | str, root: Path) -> tuple[ComponentModel, DecompositionSettings, Target]:
    return open_run(RunDirectory(import_run(str(source), root)), root)


def everything_under(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()] if root.exists() else []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the published run that a test may damage."""
    return Path(shutil.copytree(PUBLISHED, tmp_path / "published"))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "final_config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))


@pytest.mark.parametrize("source", [PUBLISHED, PUBLISHED / "model_10000.pth"], ids=["folder", "file"])
def test_an_imported_run_gives_the_published_numbers(tmp_path: Path, source: Path) -> None:
    model, _, target = imported(source, tmp_path)
    wanted = load_file(PUBLISHED / "expected.safetensors")
    x = wanted["x"]
    assert target.probes is not None
    assert_close(target.probes, x)
    seen = model.target_pass(x)
    importance = model.importance(seen)
    assert_close(seen.output, wanted["target_output"], rtol=0, atol=1e-5)
    for name in ("linear1", "linear2"):
        assert_close(importance.lower[name], wanted[f"lower_leaky/{name}"], rtol=0, atol=1e-5)
        assert_close(importance.upper[name], wanted[f"upper_leaky/{name}"], rtol=0, atol=1e-5)
    masked, _ = model.masked_pass(x, {n: ExplicitMask(g) for n, g in importance.lower.items()})
    unmasked, _ = model.masked_pass(x, {name: ExplicitMask() for name in model.sites})
    assert_close(masked, wanted["ci_masked_output"], rtol=0, atol=1e-5)
    assert_close(unmasked, wanted["unmasked_output"], rtol=0, atol=1e-5)


def test_the_run_is_listed_as_finished_and_imported(tmp_path: Path) -> None:
    path = import_run(str(PUBLISHED), tmp_path)
    (run,) = list_runs(tmp_path)
    assert run.directory.path == path
    assert (run.status, run.manifest.step, run.manifest.steps) == ("finished", 10_000, 10_000)
    assert run.manifest.imported_from == str(PUBLISHED)


def test_settings_are_translated(tmp_path: Path) -> None:
    _, settings, _ = imported(PUBLISHED, tmp_path)
    assert [(m.pattern, m.C) for m in settings.components.modules] == [("linear1", 20), ("linear2", 20)]
    assert settings.components.weight_delta
    assert set(settings.losses) == {"minimality", "stochastic", "stochastic_layerwise"}
    minimality, stochastic = settings.losses["minimality"], settings.losses["stochastic_layerwise"]
    assert isinstance(minimality, MinimalityLoss) and (minimality.coeff, minimality.p) == (3e-3, 1.0)
    assert isinstance(stochastic, ReconstructionLoss) and stochastic.routing.kind == "layerwise"
    assert settings.training.lr.at(0, 10_000) == 1e-3 and settings.training.lr.final == 0
    assert settings.training.warmup.steps == 200 and settings.training.warmup.weight_decay == 0.1
    assert [rule.n_features for rule in settings.evaluation.solution.identity] == [5, 5]
    assert settings.training.distance == "mse"


def test_the_highest_step_is_taken(copy: Path, tmp_path: Path) -> None:
    shutil.copy(copy / "model_10000.pth", copy / "model_9000.pth")
    (copy / "model_9000.pth").write_bytes(b"not the one")
    assert (import_run(str(copy), tmp_path / "out") / "checkpoints" / "step_10000").is_dir()


def test_two_imports_share_the_target(tmp_path: Path) -> None:
    first, second = import_run(str(PUBLISHED), tmp_path), import_run(str(PUBLISHED), tmp_path)
    assert first != second
    assert len(list((tmp_path / "targets").iterdir())) == 1
    open_run(RunDirectory(second), tmp_path)


def test_without_its_imported_target_a_run_is_not_trained_anew(tmp_path: Path) -> None:
    run = RunDirectory(import_run(str(PUBLISHED), tmp_path))
    shutil.rmtree(tmp_path / "targets")
    with pytest.raises(UsageError, match=r"imported weights .*Import the run again"):
        open_run(run, tmp_path)
    assert not (tmp_path / "targets").exists()


def test_losses_and_fields_of_later_versions(copy: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        del config["ci_fn_type"], config["ci_fn_hidden_dims"]
        config["ci_config"] = {"mode": "layerwise", "fn_type": "mlp", "hidden_dims": [16]}
        config["n_mask_samples"] = 3
        pgd = {"init": "zeroes", "step_size": 0.1, "n_steps": 4, "mask_scope": "unique_per_datapoint"}
        static = {"type": "static_probability", "p": 0.25}
        annealed = {"p_anneal_start_frac": 0.25, "p_anneal_final_p": 0.5, "p_anneal_end_frac": 0.75}
        config["loss_metric_configs"] = [
            {"classname": "ImportanceMinimalityLoss", "coeff": 1.0, "pnorm": 2.0, "beta": 0.5, **annealed},
            {"classname": "FaithfulnessLoss", "coeff": 2.0},
            {"classname": "CIMaskedReconSubsetLoss", "coeff": 0.5, "routing": static},
            {"classname": "PGDReconSubsetLoss", "coeff": 0.5, **pgd},
            {"classname": "StochasticReconLoss", "coeff": 1.0},
            {"classname": "StochasticReconLoss", "coeff": 0.25},
            {"classname": "StochasticHiddenActsReconLoss", "coeff": None},
        ]
        config["grad_clip_norm_components"] = 0.01

    edit(copy, change)
    _, settings, _ = imported(copy, tmp_path / "out")
    losses = settings.losses
    annealed, subset = losses["minimality"], losses["importance_masked_subset"]
    assert isinstance(annealed, MinimalityLoss) and annealed.exponent(0.5) == 1.25 and annealed.beta == 0.5
    assert isinstance(subset, ReconstructionLoss) and subset.routing.kind == "probability"
    assert subset.routing.probability == 0.25
    adversarial = losses["adversarial_subset"]
    assert isinstance(adversarial, ReconstructionLoss) and isinstance(adversarial.masks, AdversarialMasks)
    assert (adversarial.masks.init, adversarial.masks.n_steps) == ("zeros", 4)
    assert (losses["stochastic"].coeff, losses["stochastic_2"].coeff) == (1.0, 0.25)
    hidden = losses["hidden_activations"]
    assert isinstance(hidden, HiddenActivationsLoss) and hidden.coeff == 0
    assert hidden.masks.kind == "stochastic" and hidden.masks.samples == 3
    assert settings.training.clip_components == 0.01


def test_names_of_the_first_version(copy: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        for key in ("module_info", "lr_schedule", "loss_metric_configs", "ci_fn_type", "ci_fn_hidden_dims"):
            del config[key]
        config |= {"C": 20, "target_module_patterns": ["linear*"], "lr": 1e-3, "lr_schedule": "cosine"}
        config |= {"gate_type": "mlp", "gate_hidden_dims": [16], "pnorm": 0.9}
        config |= {"importance_minimality_coeff": 3e-3, "stochastic_recon_coeff": 1.0}

    edit(copy, change)
    state = torch.load(copy / "model_10000.pth", weights_only=True)
    renamed = {
        name.replace("_ci_fns.", "_gates.").replace("target_model.", "patched_model."): value
        for name, value in state.items()
    }
    torch.save(renamed, copy / "model_10000.pth")
    model, settings, _ = imported(copy, tmp_path / "out")
    assert set(settings.losses) == {"minimality", "stochastic"}
    assert (settings.training.lr.kind, settings.training.lr.final) == ("cosine", 0.0)
    wanted = load_file(PUBLISHED / "expected.safetensors")
    importance = model.importance(model.target_pass(wanted["x"]))
    assert_close(importance.lower["linear1"], wanted["lower_leaky/linear1"], rtol=0, atol=1e-5)


def delete(*keys: str) -> Callable[[Path], None]:
    def change(config: dict[str, Any]) -> None:
        for key in keys:
            del config[key]

    return lambda folder: edit(folder, change)


def update(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda config: config.update(values))


def truncate(folder: Path) -> None:
    data = (folder / "model_10000.pth").read_bytes()
    (folder / "model_10000.pth").write_bytes(data[: len(data) // 2])


def drop_tensor(folder: Path) -> None:
    state = torch.load(folder / "model_10000.pth", weights_only=True)
    del state["_components.linear2.U"]
    torch.save(state, folder / "model_10000.pth")


def untie(folder: Path) -> None:
    state = torch.load(folder / "model_10000.pth", weights_only=True)
    state["_components.linear2.U"] = state["_components.linear2.U"] + 1  # tied tensors share their memory
    torch.save(state, folder / "model_10000.pth")


class NotWeights:
    """Something that only code can rebuild."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code ran",)


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda f: (f / "final_config.yaml").unlink(), r"final_config\.yaml is missing"),
    "no target config": (
        lambda f: (f / "tms_train_config.yaml").unlink(),
        "tms_train_config.yaml is missing",
    ),
    "no weights": (lambda f: (f / "model_10000.pth").unlink(), "holds no model_<step>.pth"),
    "config is not YAML": (lambda f: (f / "final_config.yaml").write_text("a: ["), "not valid YAML"),
    "truncated weights": (truncate, "damaged or not a torch file"),
    "weights with code": (
        lambda f: torch.save({"a": NotWeights()}, f / "model_10000.pth"),
        "damaged or not a torch file",
    ),
    "weights of something else": (
        lambda f: torch.save({"a": torch.zeros(2)}, f / "model_10000.pth"),
        "holds no subcomponents",
    ),
    "a tensor is missing": (drop_tensor, "U/linear2 is only on one side"),
    "tied modules that differ": (untie, "not the transpose"),
    "a language model": (
        update(task_config={"task_name": "lm"}, pretrained_model_class="transformers.LlamaForCausalLM"),
        r"transformers\.LlamaForCausalLM.* cannot be imported yet.*tms, resid_mlp",
    ),
    "an unknown task": (update(task_config={"task_name": "chess"}), "'chess'.*Supported: tms, resid_mlp"),
    "an unknown loss": (
        update(loss_metric_configs=[{"classname": "PersistentPGDReconLoss", "coeff": 1.0}]),
        "'PersistentPGDReconLoss'.*Supported: CIMaskedReconLayerwiseLoss, .*StochasticReconLoss",
    ),
    "an importance function of an unknown kind": (
        update(ci_config={"mode": "global", "fn_type": "global_oracle"}),
        "mode 'global' and type 'global_oracle'.*global_shared_mlp",
    ),
    "an importance function that the weights are not of": (
        update(ci_config={"mode": "global", "fn_type": "global_shared_mlp", "hidden_dims": [4]}),
        "importance/.* is only on one side",
    ),
    "no steps": (delete("steps"), "has no 'steps'"),
    "no modules": (delete("module_info"), "has no 'C'"),
    "a wrong value": (update(steps=-3), "steps"),
    "a wrong C": (update(module_info=[{"module_pattern": "linear*", "C": 7}]), "does not fit these settings"),
    "a pattern without a match": (
        update(module_info=[{"module_pattern": "linear9", "C": 20}]),
        "matches no module",
    ),
    "losses that are no list": (update(loss_metric_configs={"a": 1}), "must be a list"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_explained_and_leaves_nothing(copy: Path, tmp_path: Path, bad: str) -> None:
    damage, message = BAD[bad]
    damage(copy)
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=message):
        import_run(str(copy), out)
    assert not everything_under(out)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is nothing at"):
        import_run(str(tmp_path / "nowhere"), tmp_path / "out")


def test_a_failure_while_writing_takes_the_target_away_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.decomposition.imports.save_checkpoint", fail)
    with pytest.raises(Exception, match="No space left"):
        import_run(str(PUBLISHED), tmp_path / "out")
    assert not everything_under(tmp_path / "out")
    assert not list_runs(tmp_path / "out")


RESIDUAL = ResidualMLPSettings(n_features=6, d_embed=8, n_layers=2, d_mlp=5, in_bias=True)


def published_residual_mlp(folder: Path, kind: Any, hidden: list[int]) -> tuple[ComponentModel, Tensor]:
    """Write a residual MLP with inserted identities as it is published; returns our own model of it."""
    torch.manual_seed(0)
    target = ResidualMLP(RESIDUAL)
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.normal_()
    state: dict[str, Tensor] = {
        f"target_model.{name}": value.clone() for name, value in target.state_dict().items()
    }
    for name in ("W_E", "W_U"):
        state[f"target_model.{name}"] = state.pop(f"target_model.{name}.weight").T
    components = ComponentsSettings(
        modules=(ModulePattern(pattern="layers.*.mlp_*", C=7),),
        identities=(ModulePattern(pattern="layers.1.mlp_in", C=9),),
    )
    settings = LayerwiseImportance(kind=kind, hidden=tuple(hidden), sigmoid="swish_hard")
    model = ComponentModel(target, components, settings, seed=3)
    for name, site in model.sites.items():
        dashed = name.replace(".", "-")
        state |= {f"_components.{dashed}.{part}": getattr(site, part).detach() for part in "VU"}
        for key, value in model.network(name).state_dict().items():
            part, number = key.split(".")
            letter = "W" if part == "weights" else "b"
            state[f"ci_fn._ci_fns.{dashed}.layers.{2 * int(number)}.{letter}"] = value
    config = {
        "module_info": [{"module_pattern": "layers.*.mlp_*", "C": 7}],
        "identity_module_info": [{"module_pattern": "layers.1.mlp_in", "C": 9}],
        "ci_config": {"mode": "layerwise", "fn_type": kind, "hidden_dims": hidden},
        "sigmoid_type": "swish_hard",
        "loss_metric_configs": [{"classname": "StochasticReconLoss", "coeff": 1.0}],
        "lr_schedule": {"start_val": 2e-3},
        "steps": 20,
        "batch_size": 4,
        "task_config": {"task_name": "resid_mlp", "feature_probability": 0.01},
    }
    shape = RESIDUAL.model_dump(include={"n_features", "d_embed", "n_layers", "d_mlp", "in_bias", "out_bias"})
    train = {"resid_mlp_model_config": {**shape, "act_fn_name": "relu"}, "lr": 3e-3, "steps": 9}
    folder.mkdir()
    (folder / "final_config.yaml").write_text(yaml.safe_dump(config))
    (folder / "resid_mlp_train_config.yaml").write_text(yaml.safe_dump({**train, "batch_size": 8}))
    torch.save(state, folder / "model_20.pth")
    return model, torch.randn(11, 6)


@pytest.mark.parametrize(
    ("kind", "hidden"), [("mlp", [3]), ("vector_mlp", [4, 3]), ("shared_mlp", [5]), ("shared_mlp", [])]
)
def test_a_residual_mlp_with_inserted_identities(tmp_path: Path, kind: str, hidden: list[int]) -> None:
    own, x = published_residual_mlp(tmp_path / "published", kind, hidden)
    model, settings, target = imported(tmp_path / "published", tmp_path / "out")
    assert list(model.sites) == list(own.sites) and "layers.1.mlp_in.pre_identity" in model.sites
    assert settings.importance.sigmoid == "swish_hard"
    assert isinstance(target.model, ResidualMLP)
    seen, wanted = model.target_pass(x), own.target_pass(x)
    assert torch.equal(seen.output, wanted.output)
    found, expected = model.importance(seen), own.importance(wanted)
    for name in own.sites:
        assert torch.equal(found.lower[name], expected.lower[name]), name
    masks = {name: ExplicitMask(g) for name, g in found.lower.items()}
    assert torch.equal(model.masked_pass(x, masks)[0], own.masked_pass(x, masks)[0])
