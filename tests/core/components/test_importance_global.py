"""Importance functions over all modules: what they read, what they refuse, and that they learn."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.testing import assert_close

from core.components.component_model import ComponentModel
from core.components.importance import ImportanceSettings, build_importance_function
from core.components.importance_attention import rotated
from core.components.importance_function import ModuleWidths
from core.components.importance_layerwise import LayerwiseImportance
from core.components.selection import ComponentsSettings, ModulePattern
from core.errors import UsageError

Make = Callable[[], nn.Module]
WIDTHS = {"out": ModuleWidths(5, 4), "in": ModuleWidths(6, 3), "emb": ModuleWidths(11, 2, discrete=True)}
BLOCKS = [{"name": "late", "patterns": ["out"]}, {"name": "early.on", "patterns": ["i*", "e*"]}]
ATTENTION = {"n_heads": 2}
KINDS: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "global_shared_mlp", "hidden": [7]},
    "linear": {"kind": "global_shared_mlp", "hidden": []},
    "transformer": {
        "kind": "global_shared_transformer",
        "d_model": 8,
        "hidden": [9],
        "attention": ATTENTION,
    },
    "reverse": {
        "kind": "global_reverse_residual",
        "blocks": BLOCKS,
        "d_residual": 8,
        "reader_hidden": [5],
        "transition_hidden": 6,
    },
}
KINDS["reverse with attention"] = KINDS["reverse"] | {"transition_attention": ATTENTION}
LOOKS_AROUND = ("transformer", "reverse with attention")


def settings_of(**values: Any) -> Any:
    return TypeAdapter(ImportanceSettings).validate_python(values)


def function_of(kind: str, widths: dict[str, ModuleWidths] = WIDTHS, seed: int = 0) -> Any:
    return build_importance_function(settings_of(**KINDS[kind]), widths, seed)


def reads(places: tuple[int, ...], seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    inputs = {
        name: torch.randint(m.d_in, places, generator=draw)
        if m.discrete
        else torch.randn(*places, m.d_in, generator=draw)
        for name, m in WIDTHS.items()
    }
    acts = {name: torch.randn(*places, m.C, generator=draw) for name, m in WIDTHS.items()}
    return inputs, acts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("places", [(4,), (2, 5), (2, 3, 5)])
def test_every_module_gets_a_value_for_each_subcomponent(kind: str, places: tuple[int, ...]) -> None:
    found = function_of(kind)(*reads(places))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        name: (*places, m.C) for name, m in WIDTHS.items()
    }
    # What the squashing kernels take without a copy.
    assert all(value.is_contiguous() for value in found.values())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter_and_embeddings(kind: str) -> None:
    function = function_of(kind)
    inputs, acts = reads((3, 5))
    acts = {name: value.requires_grad_(True) for name, value in acts.items()}
    torch.stack([value.square().sum() for value in function(inputs, acts).values()]).sum().backward()
    still = [name for name, p in function.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert not still
    assert acts["emb"].grad is not None and acts["in"].grad is None, "only embeddings are read by activations"


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_modules_decides_nothing(kind: str) -> None:
    given = reads((3, 5))
    wanted = function_of(kind)(*given)
    found = function_of(kind, dict(reversed(WIDTHS.items())))(*given)
    for name in WIDTHS:
        assert torch.equal(found[name], wanted[name])


@pytest.mark.parametrize("kind", KINDS)
def test_only_attention_looks_at_other_positions_and_at_later_ones_too(kind: str) -> None:
    function = function_of(kind)
    inputs, acts = reads((3, 5))
    before = function(inputs, acts)["in"]
    changed = {name: value.clone() for name, value in inputs.items()}
    changed["out"][:, -1] += 1.0
    differs = (function(changed, acts)["in"] != before).any(-1).any(0)
    assert differs.tolist() == ([True] * 5 if kind in LOOKS_AROUND else [False] * 4 + [True])


@pytest.mark.parametrize("kind", LOOKS_AROUND)
def test_inputs_of_a_batch_do_not_see_each_other(kind: str) -> None:
    function = function_of(kind)
    inputs, acts = reads((3, 5))
    whole = function(inputs, acts)["in"]
    alone = function({n: v[1:2] for n, v in inputs.items()}, {n: v[1:2] for n, v in acts.items()})["in"]
    assert_close(alone, whole[1:2])
    single = function({n: v[:, 2] for n, v in inputs.items()}, {n: v[:, 2] for n, v in acts.items()})["in"]
    assert single.shape == (3, 3) and not torch.allclose(single, whole[:, 2])


def test_rotated_products_depend_on_the_distance_alone() -> None:
    vectors = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    turned = rotated(vectors.expand(6, 2, 8).view(1, 6, 2, 1, 8), 100.0)
    products = torch.einsum("sd,td->st", turned[0, :, 0, 0], turned[0, :, 1, 0])
    for distance in range(-5, 6):
        along = products.diagonal(distance)
        assert_close(along, along[:1].expand_as(along), rtol=1e-4, atol=1e-5)
    assert products[0].std() > 0.1
    assert_close(turned.norm(dim=-1), vectors.norm(dim=-1).expand(6, 2).view(1, 6, 2, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_values_start_about_as_large_as_one(kind: str) -> None:
    widths = {f"m{i}": ModuleWidths(32, 64) for i in range(6)}
    blocks = [{"name": str(i), "patterns": [f"m{i}"]} for i in range(6)]
    values = KINDS[kind] | {"blocks": blocks} if "blocks" in KINDS[kind] else KINDS[kind]
    wide = {"d_model", "d_residual"} & values.keys()
    function = build_importance_function(settings_of(**(values | dict.fromkeys(wide, 64))), widths, 0)
    x = {
        name: torch.randn(8, 16, 32, generator=torch.Generator().manual_seed(i))
        for i, name in enumerate(widths)
    }
    for name, value in function(x, {}).items():
        assert 0.25 < value.std() < 3.0, name


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_decide_the_start(kind: str) -> None:
    def first(seed: int) -> Tensor:
        return function_of(kind, seed=seed)(*reads((2, 3)))["in"]

    assert torch.equal(first(0), first(0)) and not torch.equal(first(0), first(1))


@pytest.mark.parametrize("kind", KINDS)
def test_products_in_bf16_give_float32_near_the_exact_values(kind: str) -> None:
    function, given = function_of(kind), reads((2, 5))
    exact = function(*given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = function(*given)
    for name, value in found.items():
        assert value.dtype is torch.float32
        assert_close(value, exact[name], rtol=0.05, atol=0.1)
        assert not torch.equal(value, exact[name]), "nothing ran in bf16"


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_learnt_can_be_copied(kind: str) -> None:
    given = reads((2, 3))
    one, other = function_of(kind, seed=1), function_of(kind, seed=2)
    other.load_tensors(one.tensors())
    for name, value in one(*given).items():
        assert torch.equal(other(*given)[name], value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_steps_of_training_bring_the_loss_down(branching: Make, tokens: Tensor, kind: str) -> None:
    blocks = [{"name": "all", "patterns": ["[dh]*"]}, {"name": "in", "patterns": ["emb", "up*"]}]
    settings = settings_of(**(KINDS[kind] | ({"blocks": blocks} if "blocks" in KINDS[kind] else {})))
    components = ComponentsSettings(
        modules=(ModulePattern(pattern="[eudh]*", C=5),), identities=(ModulePattern(pattern="up", C=4),)
    )
    model = ComponentModel(branching(), components, settings)
    assert model.importance_parameters() == list(model.importance_function.parameters())
    wanted = {
        name: (tokens.unsqueeze(-1) % (2 + torch.arange(site.C))).float() / 5
        for name, site in model.sites.items()
    }
    target = model.target_pass(tokens)
    optimiser = torch.optim.AdamW(model.importance_parameters(), lr=1e-2)
    losses: list[float] = []
    for _ in range(40):
        pre = model.importance(target).pre
        loss = torch.stack([(pre[name] - value).square().mean() for name, value in wanted.items()]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_other_modules_change_nothing_where_each_has_its_own_network() -> None:
    settings = LayerwiseImportance(hidden=(3,))
    few = build_importance_function(settings, {"in": WIDTHS["in"]}, 0)
    many = build_importance_function(settings, WIDTHS, 0)
    for name, value in few.tensors().items():
        assert torch.equal(many.tensors()[name], value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (KINDS["transformer"] | {"d_model": 9}, "d_model = 9 is not a multiple of n_heads = 2"),
        (KINDS["transformer"] | {"d_model": 6}, "heads of width 3, but rotary positions need an even one"),
        (KINDS["transformer"] | {"hidden": []}, "at least 1 item"),
        (KINDS["transformer"] | {"hidden": [0]}, "widths must be positive"),
        (KINDS["transformer"] | {"reader_hidden": [3]}, "Extra inputs"),
        (KINDS["mlp"] | {"hidden": [4, -1]}, "widths must be positive"),
        (KINDS["reverse with attention"] | {"d_residual": 10}, "heads of width 5"),
        (KINDS["reverse"] | {"reader_hidden": [0]}, "widths must be positive"),
        (KINDS["reverse"] | {"blocks": []}, "at least 1 item"),
        (KINDS["reverse"] | {"blocks": [BLOCKS[0], BLOCKS[0]]}, "the name 'late' is given twice"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings_of(**values)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([["head"], ["up", "emb"]], r"'down' is in no block\. Every decomposed module must match"),
        ([["head"]], "'down' is in no block; 'emb' is in no block; 'up' is in no block"),
        ([["*"], ["up"]], "'up' is in the blocks 0, 1"),
        ([["*"], ["norm"]], "block '1' matches none of the decomposed modules.*down, emb, head, up"),
    ],
)
def test_every_module_is_in_exactly_one_block(
    branching: Make, patterns: list[list[str]], message: str
) -> None:
    blocks = [{"name": str(i), "patterns": group} for i, group in enumerate(patterns)]
    components = ComponentsSettings(modules=(ModulePattern(pattern="[eudh]*", C=5),))
    target = branching()
    with pytest.raises(UsageError, match=message):
        ComponentModel(target, components, settings_of(kind="global_reverse_residual", blocks=blocks))
    assert not any("forward" in module.__dict__ for module in target.modules())


def test_a_module_that_two_patterns_of_one_block_match_is_there_once() -> None:
    blocks = [{"name": "all", "patterns": ["*", "in"]}]
    function: Any = build_importance_function(
        settings_of(kind="global_reverse_residual", blocks=blocks), WIDTHS, 0
    )
    assert list(function.blocks[0].counts) == ["emb", "in", "out"]
