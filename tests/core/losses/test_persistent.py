"""Persistent sources: their shapes, how they move, and that nothing else does."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from core.components.component_model import ComponentModel
from core.components.importance_layerwise import LayerwiseImportance
from core.components.routing import RouteLayerwise, RouteSubset
from core.components.selection import ComponentsSettings, ModulePattern
from core.decomposition.null_rows import Batch
from core.decomposition.settings import DecompositionSettings, settings_from
from core.decomposition.step import Stepper
from core.errors import UsageError
from core.losses.persistent import PersistentMasks
from core.losses.persistent_sources import restored_sources
from core.losses.reconstruction import ReconstructionLoss

SCOPES: dict[str, dict[str, Any]] = {
    "single_source": {"kind": "single_source"},
    "broadcast_across_batch": {"kind": "broadcast_across_batch"},
    "repeat_across_batch": {"kind": "repeat_across_batch", "sources": 2},
    "per_batch_per_position": {"kind": "per_batch_per_position"},
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sign": {"kind": "sign", "lr": {"start": 0.02}},
    "adam": {"kind": "adam", "lr": {"start": 0.02}},
}


def masks_of(scope: str = "single_source", optimizer: str = "sign", **fields: Any) -> PersistentMasks:
    return PersistentMasks.model_validate(
        {"scope": SCOPES[scope], "optimizer": OPTIMIZERS[optimizer], **fields}
    )


def loss_of(*args: Any, coeff: float = 1.0, **fields: Any) -> ReconstructionLoss:
    return ReconstructionLoss(coeff=coeff, masks=masks_of(*args, **fields))


@pytest.fixture
def windows() -> Tensor:
    """Inputs with a sequence axis, (4 3 6)."""
    return torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(2))


def began(loss: ReconstructionLoss, context: Any, name: str = "p") -> Any:
    """The context with the loss's sources at their start."""
    assert isinstance(loss.masks, PersistentMasks)
    return replace(context, persistent={name: loss.masks.begin(context, name)})


def move(loss: ReconstructionLoss, context: Any, rate: float = 0.02) -> float:
    """One training step of the sources alone; the loss before it."""
    value = loss.measure(context, "p").value
    (loss.coeff * value).backward()
    context.persistent["p"].ascend_after_backward(loss.coeff, rate)
    return float(value.detach())


def copied(context: Any, name: str = "p") -> dict[str, Tensor]:
    return {site: value.detach().clone() for site, value in context.persistent[name].values.items()}


@pytest.mark.parametrize(
    ("scope", "sequences", "vectors"),
    [
        ("single_source", (1, 1), (1,)),
        ("broadcast_across_batch", (1, 3), None),
        ("repeat_across_batch", (2, 3), (2,)),
        ("per_batch_per_position", (4, 3), (4,)),
    ],
)
def test_shapes(
    model: Any, windows: Tensor, context_of: Any, scope: str, sequences: Any, vectors: Any
) -> None:
    for delta in (False, True):
        context = context_of(model, windows, weight_delta=delta)
        sources = masks_of(scope).begin(context, "p")
        assert {value.shape for value in sources.values.values()} == {(*sequences, 7 + delta)}
        plain = context_of(model, windows[:, 0], weight_delta=delta)
        if vectors is None:
            with pytest.raises(UsageError, match="are no sequences"):
                masks_of(scope).begin(plain, "p")
        else:
            assert masks_of(scope).begin(plain, "p").values["0"].shape == (*vectors, 7 + delta)


def test_repeated_sources_must_divide_the_rows(model: Any, batch: Tensor, context_of: Any) -> None:
    with pytest.raises(UsageError, match="2 sources do not divide the 9 rows"):
        masks_of("repeat_across_batch").begin(context_of(model, batch), "p")


def test_repeated_sources_are_tiled_along_the_batch(model: Any, windows: Tensor, context_of: Any) -> None:
    context = context_of(model, windows)
    sources = masks_of("repeat_across_batch").begin(context, "p")
    spread, own = sources.of("0", context.positions), sources.values["0"]
    assert spread.shape == (4, 3, 8)
    for row in range(4):
        assert torch.equal(spread[row], own[row % 2])


def test_the_start_is_named_by_the_loss_and_not_by_the_step(
    model: Any, windows: Tensor, context_of: Any
) -> None:
    context = context_of(model, windows)
    later = replace(context, noise=replace(context.noise, indices=(7,)))
    masks = masks_of("per_batch_per_position")
    cases = ((context, "a"), (later, "a"), (context, "b"))
    first, again, other = (masks.begin(c, name).values["0"] for c, name in cases)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_sources_start_uniform_or_normal(model: Any, context_of: Any) -> None:
    context = context_of(model, torch.ones(4000, 6))
    uniform = masks_of("per_batch_per_position").begin(context, "p").values["0"].detach()
    assert float(uniform.min()) >= 0 and float(uniform.max()) < 1
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.01)
    normal = masks_of("per_batch_per_position", sigmoid=True).begin(context, "p")
    raw = normal.values["0"].detach()
    assert float(raw.mean()) == pytest.approx(0, abs=0.02) and float(raw.std()) == pytest.approx(1, abs=0.02)
    assert torch.equal(normal.of("0", context.positions), raw.sigmoid())


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("sigmoid", [False, True], ids=["clamped", "sigmoid"])
def test_ascent_raises_the_loss(
    model: Any, windows: Tensor, context_of: Any, scope: str, optimizer: str, sigmoid: bool
) -> None:
    loss = loss_of(scope, optimizer, sigmoid=sigmoid)
    context = began(loss, context_of(model, windows))
    losses = []
    for _ in range(30):
        context = replace(context_of(model, windows), persistent=context.persistent)
        losses.append(move(loss, context, 0.05))
    assert losses[1] > losses[0] and losses[-1] > 1.2 * losses[0]
    for site in context.sites:
        seen = context.persistent["p"].of(site, context.positions).detach()
        assert float(seen.min()) >= 0 and float(seen.max()) <= 1


def test_adam_remembers_and_sign_does_not(model: Any, windows: Tensor, context_of: Any) -> None:
    for optimizer, moments in (("sign", 0), ("adam", 2)):
        loss = loss_of(optimizer=optimizer)
        context = began(loss, context_of(model, windows))
        move(loss, context)
        held = context.persistent["p"]
        assert {len(found) for found in held.moments.values()} == {moments} and held.count == 1
        assert all(bool(m.any()) for found in held.moments.values() for m in found)


def test_sources_follow_the_loss_and_not_its_coefficient(
    model: Any, windows: Tensor, context_of: Any
) -> None:
    found = []
    for coeff in (1.0, 2.0**-12):
        loss = loss_of("per_batch_per_position", "adam", coeff=coeff)
        context = began(loss, context_of(model, windows))
        move(loss, context)
        found.append(copied(context))
    for site, value in found[0].items():
        assert torch.equal(value, found[1][site])


def test_the_gradient_is_that_of_the_measured_loss(model: Any, windows: Tensor, context_of: Any) -> None:
    # A plain step of length one: what is added is the sign of the gradient.
    loss = loss_of("broadcast_across_batch", coeff=0.5)
    context = began(loss, context_of(model, windows))
    before = copied(context)
    held = context.persistent["p"]
    wanted = torch.autograd.grad(loss.measure(context, "p").value, list(held.values.values()))
    move(loss, began(loss, context_of(model, windows)))  # other sources, which must not matter here
    fresh = replace(context_of(model, windows), persistent=context.persistent)
    move(loss, fresh, 0.01)
    for (site, value), gradient in zip(held.values.items(), wanted, strict=True):
        assert_close(value.detach(), (before[site] + 0.01 * gradient.sign()).clamp(0, 1))


class OneOfTwo(nn.ModuleList):
    """Two linear layers, the second of which nobody listens to."""

    def __init__(self) -> None:
        super().__init__([nn.Linear(6, 5), nn.Linear(6, 5)])

    def forward(self, x: Tensor) -> Tensor:
        self[1](x)
        return self[0](x)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_sources_of_a_module_without_gradient_stay(batch: Tensor, context_of: Any, optimizer: str) -> None:
    components = ComponentsSettings(modules=(ModulePattern(pattern="[01]", C=4),))
    model = ComponentModel(OneOfTwo(), components, LayerwiseImportance(hidden=(4,)))
    loss = loss_of(optimizer=optimizer, warmup_steps=2)
    context = began(loss, context_of(model, batch))
    before = copied(context)
    loss.warm_up_sources(context, "p", 0.1)
    move(loss, context)
    assert torch.equal(copied(context)["1"], before["1"])
    assert not torch.equal(copied(context)["0"], before["0"])


@pytest.mark.parametrize("routing", [RouteLayerwise(), RouteSubset()], ids=lambda r: r.kind)
def test_any_routing_reaches_the_sources(model: Any, windows: Tensor, context_of: Any, routing: Any) -> None:
    loss = ReconstructionLoss(coeff=1, masks=masks_of(warmup_steps=1), routing=routing)
    context = began(loss, context_of(model, windows))
    before = copied(context)
    loss.warm_up_sources(context, "p", 0.1)
    between = copied(context)
    move(loss, context)
    for site in context.sites:
        assert not torch.equal(before[site], between[site])
        assert not torch.equal(between[site], copied(context)[site])


def test_warm_up_moves_the_sources_alone(model: Any, windows: Tensor, context_of: Any) -> None:
    loss = loss_of(warmup_steps=3)
    context = began(loss, context_of(model, windows))
    before = float(loss.measure(context, "p").value.detach())
    loss.warm_up_sources(context, "p", 0.05)
    assert context.persistent["p"].count == 3
    assert float(loss.measure(context, "p").value.detach()) > before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(value.grad is None for value in context.persistent["p"].values.values())


@pytest.mark.parametrize("scope", SCOPES)
def test_state_is_everything_that_goes_on(model: Any, windows: Tensor, context_of: Any, scope: str) -> None:
    loss = loss_of(scope, "adam")
    context = began(loss, context_of(model, windows))
    move(loss, context)
    state = {key: value for key, value in context.persistent["p"].state().items()}
    copy = restored_sources(loss.masks, state, torch.device("cpu"))  # type: ignore[arg-type]
    for held in (context.persistent["p"], copy):
        move(loss, replace(context_of(model, windows), persistent={"p": held}))
    assert copy.count == 2
    for site, value in context.persistent["p"].values.items():
        assert torch.equal(value, copy.values[site])
        for one, other in zip(context.persistent["p"].moments[site], copy.moments[site], strict=True):
            assert torch.equal(one, other) and one.data_ptr() != other.data_ptr()


def settings(**losses: dict[str, Any]) -> DecompositionSettings:
    data = {
        "components": {"modules": [{"pattern": "[02]", "C": 7}]},
        "losses": {name: {"kind": "reconstruction", "coeff": 1, **loss} for name, loss in losses.items()},
        "training": {"steps": 10, "batch_size": 4, "lr": {"start": 1e-3}},
    }
    return settings_from(data, "test")


def stepper_of(model: ComponentModel, precision: Any = "fp32", **losses: Any) -> Stepper:
    return Stepper(model, settings(**losses), "mse", precision, torch.device("cpu"))


def persistent(scope: str = "single_source", optimizer: str = "adam", **fields: Any) -> dict[str, Any]:
    return {
        "masks": {"kind": "persistent", "scope": SCOPES[scope], "optimizer": OPTIMIZERS[optimizer], **fields}
    }


def test_a_training_step_moves_the_sources_once_after_its_warm_up(model: Any, windows: Tensor) -> None:
    stepper = stepper_of(model, p=persistent(warmup_steps=2), plain={})
    for step in range(3):
        stepper.update(stepper.measure(Batch(windows), step), step)
        assert stepper.persistent["p"].count == 3 * (step + 1)
        assert all(value.grad is None for value in stepper.persistent["p"].values.values())


def test_a_coefficient_of_zero_measures_and_moves_nothing(model: Any, windows: Tensor) -> None:
    stepper = stepper_of(model, p=persistent(warmup_steps=2) | {"coeff": 0}, plain={})
    before = None
    for step in range(2):
        result = stepper.measure(Batch(windows), step)
        assert float(result.losses["p"].detach()) > 0
        stepper.update(result, step)
        found = copied(result.context)
        assert before is None or all(torch.equal(value, before[site]) for site, value in found.items())
        before = found
    assert stepper.persistent["p"].count == 0


def test_two_losses_keep_their_sources_apart(model: Any, windows: Tensor) -> None:
    stepper = stepper_of(model, a=persistent(), b=persistent("broadcast_across_batch", "sign"))
    stepper.update(stepper.measure(Batch(windows), 0), 0)
    a, b = stepper.persistent["a"], stepper.persistent["b"]
    assert a.values["0"].shape != b.values["0"].shape and a.count == b.count == 1


def test_sources_stay_float32_under_bf16(model: Any, windows: Tensor) -> None:
    stepper = stepper_of(model, "bf16", p=persistent(warmup_steps=1))
    stepper.update(stepper.measure(Batch(windows), 0), 0)
    held = stepper.persistent["p"]
    tensors = [*held.values.values(), *(m for found in held.moments.values() for m in found)]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


@torch.no_grad()
def test_evaluation_measures_what_fits_and_changes_nothing(model: Any, windows: Tensor) -> None:
    stepper = stepper_of(model, p=persistent("per_batch_per_position"), one=persistent())
    p, one = (stepper.settings.losses[name] for name in ("p", "one"))
    assert isinstance(p, ReconstructionLoss) and isinstance(one, ReconstructionLoss)
    context = stepper.context(Batch(windows), 0, purpose="eval")
    assert not p.measurable(context, "p") and not one.measurable(context, "one"), "there are none yet"
    with torch.enable_grad():
        stepper.update(stepper.measure(Batch(windows), 0), 0)
    before = copied(context)
    assert p.measurable(context, "p") and float(p.measure(context, "p").value) > 0
    assert all(torch.equal(value, before[site]) for site, value in copied(context).items())
    assert stepper.persistent["p"].count == 1
    fewer = stepper.context(Batch(windows[:3]), 0, purpose="eval")
    assert not p.measurable(fewer, "p") and one.measurable(fewer, "one")
    with pytest.raises(UsageError, match=r"do not fit a batch of positions \[3, 3\]"):
        p.measure(fewer, "p")


def test_kl_is_per_position(model: Any, windows: Tensor, context_of: Any) -> None:
    loss = loss_of()
    context = began(loss, context_of(model, windows, distance="kl"))
    assert loss.measure(context, "p").count == 12


@pytest.mark.parametrize(
    ("scope", "bound"),
    [
        ("single_source", False),
        ("broadcast_across_batch", False),
        ("repeat_across_batch", True),
        ("per_batch_per_position", True),
    ],
)
def test_sources_of_rows_forbid_folding(model: Any, scope: str, bound: bool) -> None:
    assert stepper_of(model, p=persistent(scope), plain={}).bound_to_rows is bound
    assert not stepper_of(model, plain={}).bound_to_rows


def test_a_scope_that_does_not_fit_is_told_before_training(model: Any) -> None:
    stepper = stepper_of(model, p=persistent("repeat_across_batch"))
    stepper.check_sources(torch.Size([4, 3]))
    with pytest.raises(UsageError, match="2 sources do not divide the 5 rows"):
        stepper.check_sources(torch.Size([5, 3]))
