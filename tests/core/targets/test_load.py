import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

import core.targets.cache as cache
from core.errors import SpdError, UsageError
from core.targets.cache import target_digest
from core.targets.induction import InductionSettings
from core.targets.load import load_target
from core.targets.residual_mlp import ResidualMLPSettings
from core.targets.sparse_features import SparseFeatureSettings
from core.targets.target import PROBE_VALUE, Target, TargetProgress
from core.targets.toy_superposition import ToySuperpositionSettings
from core.targets.training import TargetTrainingSettings
from core.targets.union import TargetSettings

QUICK = ToySuperpositionSettings(
    n_features=3,
    n_hidden=3,
    init_bias_to_zero=True,
    data=SparseFeatureSettings(probability=0.5),
    training=TargetTrainingSettings(steps=300, batch_size=64, lr=2e-2),
)
HOPELESS = ToySuperpositionSettings(
    max_attempts=3, training=TargetTrainingSettings(steps=2, batch_size=8, lr=1e-5)
)


def weights(target: Target) -> dict[str, torch.Tensor]:
    return target.model.state_dict()


def same(a: Target, b: Target) -> bool:
    return all(torch.equal(value, weights(b)[name]) for name, value in weights(a).items())


def leftovers(out: Path) -> list[Path]:
    return [path for path in out.rglob("*") if path.name.startswith(".")]


def test_a_target_is_frozen_and_says_what_it_is(tmp_path: Path) -> None:
    target = load_target(QUICK, 0, tmp_path)
    assert target.name == "toy_superposition" and target.distance == "mse"
    assert target.ties == (("linear1", "linear2"),)
    assert target.probes is not None and torch.equal(target.probes, PROBE_VALUE * torch.eye(3))
    assert not target.model.training
    assert all(not p.requires_grad and p.dtype == torch.float32 for p in target.model.parameters())
    assert torch.equal(target.batch("train", 0, 8), target.batch("train", 0, 8))
    folder = tmp_path / "targets" / f"toy_superposition-{target.digest}"
    assert target.folder == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.jsonl",
        "model.safetensors",
        "settings.yaml",
    ]
    assert not leftovers(tmp_path)


def test_the_second_time_it_is_read_bit_for_bit(tmp_path: Path) -> None:
    first = load_target(QUICK, 0, tmp_path)
    heard: list[TargetProgress] = []
    second = load_target(QUICK, 0, tmp_path, heard.append)
    assert [progress.phase for progress in heard] == ["cached"]
    assert heard[0].note == "3 of 3 features represented"
    assert same(first, second) and first.digest == second.digest
    assert same(first, load_target(QUICK, 0, tmp_path / "elsewhere"))


def test_the_seed_and_every_setting_name_another_target(tmp_path: Path) -> None:
    base = target_digest(QUICK, 0)
    assert target_digest(QUICK, 1) != base
    assert target_digest(QUICK.model_copy(update={"n_hidden": 2}), 0) != base
    assert not same(load_target(QUICK, 0, tmp_path), load_target(QUICK, 1, tmp_path))


def test_a_bad_target_is_reported_and_trained_again_then_given_up(tmp_path: Path) -> None:
    heard: list[TargetProgress] = []
    with pytest.raises(SpdError, match=r"after 3 trainings of 2 steps.*max_attempts"):
        load_target(HOPELESS, 0, tmp_path, heard.append)
    verdicts = [(p.phase, p.attempt) for p in heard if p.phase != "training"]
    assert verdicts == [("rejected", 0), ("rejected", 1), ("rejected", 2)]
    assert all("of 5 features represented" in p.note for p in heard if p.phase == "rejected")
    assert len({p.loss for p in heard if p.phase == "rejected"}) == 3, "each attempt has its own seed"
    assert list(tmp_path.iterdir()) == []


def test_attempts_are_kept_in_the_metrics(tmp_path: Path) -> None:
    settings = ToySuperpositionSettings(
        data=SparseFeatureSettings(probability=0.1),
        training=TargetTrainingSettings(steps=1500, batch_size=256, lr=1e-2),
    )
    heard: list[TargetProgress] = []
    seed = next(s for s in range(20) if _retries(settings, s, tmp_path / str(s), heard))
    target = load_target(settings, seed, tmp_path / str(seed))
    assert target.folder is not None
    lines = (target.folder / "metrics.jsonl").read_text().splitlines()
    assert len(lines) > 1
    assert '"passed": false' in lines[0] and '"passed": true' in lines[-1]


def _retries(settings: ToySuperpositionSettings, seed: int, out: Path, heard: list[TargetProgress]) -> bool:
    heard.clear()
    load_target(settings, seed, out, heard.append)
    return any(progress.phase == "rejected" for progress in heard)


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _flip, _empty, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "settings.yaml", "metrics.jsonl"])
def test_a_damaged_cache_is_named_and_never_used(
    name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    if name == "metrics.jsonl" and damage is _flip:
        pytest.skip("the last byte is the end of the line")
    folder = load_target(QUICK, 0, tmp_path).folder
    assert folder is not None
    damage(folder / name)
    with pytest.raises(SpdError) as caught:
        load_target(QUICK, 0, tmp_path)
    assert name in str(caught.value) and f"Delete the folder {folder}" in str(caught.value)


def test_two_that_train_the_same_target_end_with_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_trained = threading.Barrier(2, timeout=60)
    rename = cache._rename_unless_there

    def meet_then_rename(temporary: Path, folder: Path) -> None:
        both_trained.wait()
        rename(temporary, folder)

    monkeypatch.setattr(cache, "_rename_unless_there", meet_then_rename)
    found: list[Target] = []
    threads = [
        threading.Thread(target=lambda: found.append(load_target(QUICK, 0, tmp_path))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and same(found[0], found[1])
    assert len(list((tmp_path / "targets").iterdir())) == 1
    assert not leftovers(tmp_path)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_sync", full)
    with pytest.raises(SpdError, match="No space left"):
        load_target(QUICK, 0, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_output_place_that_is_a_file_is_refused_before_training(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    heard: list[TargetProgress] = []
    with pytest.raises(UsageError):
        load_target(QUICK, 0, place, heard.append)
    assert heard == []


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"training": TargetTrainingSettings(steps=50, batch_size=64, lr=1e30)})
    with pytest.raises(SpdError, match=r"training loss is (nan|inf) at step \d+"):
        load_target(settings, 0, tmp_path)


def test_other_kinds_of_target(tmp_path: Path) -> None:
    mlp = ResidualMLPSettings(
        n_features=6,
        d_embed=20,
        d_mlp=6,
        data=SparseFeatureSettings(probability=0.2),
        training=TargetTrainingSettings(steps=400, batch_size=128, lr=1e-2, schedule="cosine"),
    )
    target = load_target(mlp, 0, tmp_path)
    assert target.distance == "mse" and target.ties == () and target.probes is not None
    assert target.batch("train", 0, 512).min() < 0

    induction = InductionSettings(
        n_tokens=8,
        sequence_length=6,
        d_model=24,
        n_heads=1,
        training=TargetTrainingSettings(steps=400, batch_size=128, lr=1e-2, schedule="cosine"),
    )
    target = load_target(induction, 0, tmp_path)
    assert target.distance == "kl" and target.probes is None
    assert target.model(target.batch("eval", 0, 4)).shape == (4, 6, 9)


def test_the_kind_chooses_the_settings() -> None:
    adapter: TypeAdapter[TargetSettings] = TypeAdapter(TargetSettings)
    assert isinstance(adapter.validate_python({"kind": "residual_mlp"}), ResidualMLPSettings)
    assert isinstance(adapter.validate_python({"kind": "induction"}), InductionSettings)
    assert isinstance(adapter.validate_python({"kind": "toy_superposition"}), ToySuperpositionSettings)
