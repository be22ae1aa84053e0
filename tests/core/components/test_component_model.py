"""The component model: passes, sharing, ties, and giving the target back."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from core.components.component_model import ComponentModel
from core.components.importance_layerwise import LayerwiseImportance
from core.components.masks import ExplicitMask, Mask, NoiseKey, SourceMask, StochasticMask
from core.components.passes import TargetPass
from core.components.selection import ComponentsSettings, ModulePattern
from core.components.subcomponents import TiedSubcomponents
from core.errors import UsageError

Make = Callable[[], nn.Module]
EVERYTHING = ComponentsSettings(
    modules=(ModulePattern(pattern="[eudh]*", C=5),), identities=(ModulePattern(pattern="up", C=4),)
)


def attached(
    target: nn.Module, components: ComponentsSettings = EVERYTHING, **options: Any
) -> ComponentModel:
    return ComponentModel(target, components, LayerwiseImportance(hidden=(3,)), **options)


def positions(inputs: Tensor) -> torch.Size:
    return inputs.shape if not inputs.is_floating_point() else inputs.shape[:-1]


def test_the_target_runs_as_before_while_attached(branching: Make, tokens: Tensor) -> None:
    wanted = branching()(tokens)
    target = branching()
    model = attached(target)
    assert torch.equal(target(tokens), wanted)
    assert torch.equal(model.target_pass(tokens).output, wanted)
    assert torch.equal(model.masked_pass(tokens, {})[0], wanted)


def test_detach_gives_the_target_back(branching: Make, tokens: Tensor) -> None:
    target = branching()
    before, names = target(tokens), [name for name, _ in target.named_modules()]
    attached(target).detach()
    assert torch.equal(target(tokens), before)
    assert [name for name, _ in target.named_modules()] == names
    assert not any("forward" in module.__dict__ for module in target.modules())
    assert not any(module._forward_pre_hooks for module in target.modules())
    again = attached(target)
    assert torch.equal(again.target_pass(tokens).output, before)


def test_a_forward_that_someone_else_put_on_a_module_survives(branching: Make, tokens: Tensor) -> None:
    target = branching()
    head = target.get_submodule("head")
    own = head.forward
    head.forward = lambda x: own(x) + 1  # type: ignore[method-assign]
    wanted = target(tokens)
    only = ComponentsSettings(modules=EVERYTHING.modules)
    first, second = attached(target, only), attached(target, only)
    assert torch.equal(second.target_pass(tokens).output, wanted)
    second.detach()
    assert torch.equal(first.target_pass(tokens).output, wanted)
    assert list(first.target_pass(tokens).inputs) == ["emb", "up", "down", "head"]
    first.detach()
    assert torch.equal(target(tokens), wanted)


@pytest.mark.parametrize("kind", ["vector_mlp", "shared_mlp"])
def test_embeddings_have_no_input_vector_to_read(branching: Make, kind: Any) -> None:
    target = branching()
    with pytest.raises(UsageError, match="'emb' is an embedding"):
        ComponentModel(target, EVERYTHING, LayerwiseImportance(kind=kind))
    assert not hasattr(target.get_submodule("up"), "pre_identity")


def test_the_target_is_not_a_part_of_the_model(branching: Make) -> None:
    target = branching()
    model = attached(target)
    own = {id(parameter) for parameter in model.parameters()}
    assert not own & {id(parameter) for parameter in target.parameters()}
    grouped = [*model.component_parameters(), *model.importance_parameters()]
    assert own == {id(parameter) for parameter in grouped} and len(own) == len(grouped)
    assert not any(parameter.requires_grad for parameter in target.parameters())


def test_everything_on_with_the_weight_delta_is_the_target(branching: Make, tokens: Tensor) -> None:
    model = attached(branching())
    masks = {
        name: ExplicitMask(torch.ones(*tokens.shape, site.C), torch.ones(tokens.shape))
        for name, site in model.sites.items()
    }
    target = model.target_pass(tokens)
    assert_close(model.masked_pass(tokens, masks)[0], target.output, rtol=1e-5, atol=1e-5)
    for name, site in model.sites.items():
        total = site.component_weight() + site.weight_delta()
        assert_close(total, site.target_weight(), msg=lambda m, name=name: f"{name}: {m}")


def test_nothing_on_leaves_the_bias(branching: Make, tokens: Tensor) -> None:
    target = branching()
    model = attached(target, ComponentsSettings(modules=(ModulePattern(pattern="head", C=5),)))
    masks = {"head": ExplicitMask(torch.zeros(*tokens.shape, 5))}
    out, _ = model.masked_pass(tokens, masks)
    assert torch.equal(out, target.get_parameter("head.bias").expand(3, 5, 4))


def test_a_position_that_is_not_routed_keeps_the_modules_own_output(branching: Make, tokens: Tensor) -> None:
    model = attached(branching(), ComponentsSettings(modules=(ModulePattern(pattern="head", C=5),)))
    route = torch.arange(15).view(3, 5) % 2 == 0
    target = model.target_pass(tokens)
    out, _ = model.masked_pass(tokens, {"head": ExplicitMask(route=route)})
    replaced, _ = model.masked_pass(tokens, {"head": ExplicitMask()})
    assert torch.equal(out[~route], target.output[~route])
    assert_close(out[route], replaced[route])
    assert not torch.allclose(out[route], target.output[route])


def stochastic(
    model: ComponentModel, g: dict[str, Tensor], names: list[str], delta: bool, route: bool
) -> Any:
    masks: dict[str, Mask] = {}
    for i, name in enumerate(names):
        shape = g[name].shape[:-1]
        draw = torch.Generator().manual_seed(i)
        masks[name] = StochasticMask(
            g[name],
            NoiseKey(0, "m", (i,)),
            torch.rand(shape, generator=draw) if delta else None,
            torch.rand(shape, generator=draw) < 0.5 if route else None,
        )
    return masks


@pytest.mark.parametrize("names", [["emb"], ["up"], ["head", "down"], ["up.pre_identity"], None])
@pytest.mark.parametrize("delta", [False, True], ids=["no delta", "delta"])
@pytest.mark.parametrize("route", [False, True], ids=["everywhere", "routed"])
def test_what_a_masked_pass_takes_from_the_target_pass_changes_nothing(
    branching: Make, tokens: Tensor, names: list[str] | None, delta: bool, route: bool
) -> None:
    model = attached(branching())
    target = model.target_pass(tokens)

    def measured(*shared: Any) -> list[Tensor]:
        importance = model.importance(target)
        known: tuple[Any, ...] = (target, importance.acts) if shared else ()
        masks = stochastic(model, importance.lower, names or list(model.sites), delta, route)
        out, outputs = model.masked_pass(tokens, masks, *known)
        loss = out.square().sum() + sum(o.sum() for o in outputs.values())
        grads = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
        return [out.detach(), *(o.detach() for o in outputs.values()), *grads]

    for found, wanted in zip(measured("shared"), measured(), strict=True):
        assert_close(found, wanted, rtol=1e-5, atol=1e-5)


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear1 = nn.Linear(6, 3, bias=False)
        self.linear2 = nn.Linear(3, 6)
        with torch.no_grad():
            self.linear2.weight.copy_(self.linear1.weight.T)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear2(self.linear1(x)))


TIED = ComponentsSettings(modules=(ModulePattern(pattern="linear*", C=4),))


def test_tied_modules_share_one_parameter() -> None:
    model = attached(Autoencoder(), TIED, ties=(("linear1", "linear2"),))
    first, second = model.sites["linear1"], model.sites["linear2"]
    assert isinstance(second.subcomponents, TiedSubcomponents)
    assert len(model.component_parameters()) == 2
    assert torch.equal(first.V, second.U.T) and torch.equal(first.U, second.V.T)
    with torch.no_grad():
        first.V.add_(1)
        first.U.mul_(2)
    assert torch.equal(first.V, second.U.T) and torch.equal(first.U, second.V.T)
    assert_close(second.component_weight(), first.component_weight().T)


def test_gradients_of_tied_modules_add_up() -> None:
    tied = attached(Autoencoder(), TIED, ties=(("linear1", "linear2"),))
    free = attached(tied.target, TIED)
    with torch.no_grad():
        for name in ("linear1", "linear2"):
            free.sites[name].V.copy_(tied.sites[name].V)
            free.sites[name].U.copy_(tied.sites[name].U)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    masks = {name: ExplicitMask() for name in ("linear1", "linear2")}
    free.masked_pass(x, masks)[0].square().sum().backward()
    free.detach()
    again = attached(tied.target, TIED, ties=(("linear1", "linear2"),))
    with torch.no_grad():
        for own, given in zip(again.component_parameters(), tied.component_parameters(), strict=True):
            own.copy_(given)
    again.masked_pass(x, masks)[0].square().sum().backward()
    found = again.sites["linear1"].V.grad
    one, two = free.sites["linear1"].V.grad, free.sites["linear2"].U.grad
    assert found is not None and one is not None and two is not None
    assert_close(found, one + two.T, rtol=1e-5, atol=1e-5)


class TiedEmbeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(11, 6)
        self.mid = nn.Linear(6, 6)
        self.lm_head = nn.Linear(6, 11, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lm_head(self.mid(self.wte(tokens)))


def test_tied_embeddings_are_not_taken_apart_twice(tokens: Tensor) -> None:
    target = TiedEmbeddings()
    both = ComponentsSettings(modules=(ModulePattern(pattern="[wl]*", C=3),))
    with pytest.raises(UsageError, match=r"'wte' and 'lm_head' share one weight.*Decompose one of them"):
        attached(target, both)
    assert not any("forward" in module.__dict__ for module in target.modules())
    for name in ("wte", "lm_head"):
        model = attached(target, ComponentsSettings(modules=(ModulePattern(pattern=name, C=3),)))
        assert model.target_pass(tokens).output.shape == (3, 5, 11)
        model.detach()


def test_views_of_one_weight_are_not_taken_apart_twice() -> None:
    target = Autoencoder()
    target.linear2.weight = nn.Parameter(target.linear1.weight.detach().T)
    with pytest.raises(UsageError, match="'linear1' and 'linear2' share one weight"):
        attached(target, TIED)
    assert len(attached(target, TIED, ties=(("linear1", "linear2"),)).component_parameters()) == 2


def test_tied_modules_need_one_c() -> None:
    target = Autoencoder()
    uneven = ComponentsSettings(
        modules=(ModulePattern(pattern="linear1", C=4), ModulePattern(pattern="linear2", C=5))
    )
    with pytest.raises(UsageError, match=r"share one weight, but have C = 4 and 5.*Give both the same C"):
        attached(target, uneven, ties=(("linear1", "linear2"),))
    assert not any("forward" in module.__dict__ for module in target.modules())


def test_only_the_source_of_a_tie_may_be_decomposed() -> None:
    only = ComponentsSettings(modules=(ModulePattern(pattern="linear2", C=4),))
    model = attached(Autoencoder(), only, ties=(("linear1", "linear2"),))
    assert len(model.component_parameters()) == 2


def test_seeds_decide_the_start(branching: Make) -> None:
    def first(seed: int) -> Tensor:
        return attached(branching(), seed=seed).sites["up"].V

    assert torch.equal(first(0), first(0)) and not torch.equal(first(0), first(1))
    model = attached(branching())
    assert not torch.equal(model.sites["up"].V[:, 0], model.sites["up.pre_identity"].V[:, 0])


class WithActivation(nn.Module):
    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.emb = nn.Embedding(11, 6)
        self.one = nn.Linear(6, 8)
        self.act = nn.ReLU(inplace)
        self.two = nn.Linear(8, 4)
        self.inplace = inplace

    def forward(self, tokens: Tensor) -> Tensor:
        stream = self.emb(tokens)
        if self.inplace:
            stream += 1
        else:
            stream = stream + 1
        return self.two(self.act(self.one(stream)))


def test_models_that_change_their_activations_in_place(tokens: Tensor) -> None:
    components = ComponentsSettings(modules=(ModulePattern(pattern="[eot]*", C=5),))

    def measured(inplace: bool) -> tuple[ComponentModel, TargetPass, list[Tensor]]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = attached(WithActivation(inplace), components)
        target = model.target_pass(tokens)
        importance = model.importance(target)
        outs: list[Tensor] = []
        for names in (["one"], ["two"], ["emb", "one", "two"]):
            masks = stochastic(model, importance.lower, names, True, True)
            out, outputs = model.masked_pass(tokens, masks, target, importance.acts)
            outs += [out, *outputs.values()]
        return model, target, outs

    (_, plain, wanted), (_, changed, found) = measured(False), measured(True)
    for name in plain.outputs:
        assert torch.equal(changed.outputs[name], plain.outputs[name]), f"output of {name}"
    for name in plain.inputs:
        assert torch.equal(changed.inputs[name], plain.inputs[name]), f"input of {name}"
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other)


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def test_a_module_that_never_runs_is_named() -> None:
    model = attached(Unused(), ComponentsSettings(modules=(ModulePattern(pattern="*used", C=2),)))
    with pytest.raises(UsageError, match=r"\['unused'\] did not run"):
        model.target_pass(torch.zeros(2, 3))


class Wrapped(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.lin = nn.Linear(3, 3)
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.lin(x))


@pytest.mark.parametrize("wrap", [lambda y: y, lambda y: (y, 1), lambda y: type("Out", (), {"logits": y})()])
def test_the_output_tensor_is_found(wrap: Callable[[Tensor], Any]) -> None:
    model = attached(Wrapped(wrap), ComponentsSettings(modules=(ModulePattern(pattern="lin", C=2),)))
    assert model.target_pass(torch.zeros(2, 3)).output.shape == (2, 3)


def test_an_unknown_output_is_refused_unless_picked() -> None:
    components = ComponentsSettings(modules=(ModulePattern(pattern="lin", C=2),))
    model = attached(Wrapped(lambda y: {"y": y}), components)
    with pytest.raises(UsageError, match=r"returned a dict, not a tensor.*Pass `output=`"):
        model.target_pass(torch.zeros(2, 3))
    picked = attached(Wrapped(lambda y: {"y": y}), components, output=lambda out: out["y"])
    assert picked.target_pass(torch.zeros(2, 3)).output.shape == (2, 3)


def test_sources_that_need_gradients_get_them_through_the_model(branching: Make, tokens: Tensor) -> None:
    model = attached(branching())
    target = model.target_pass(tokens)
    importance = model.importance(target)
    g = {name: value.detach() for name, value in importance.lower.items()}
    sources = {name: torch.rand_like(value).requires_grad_(True) for name, value in g.items()}
    masks = {name: SourceMask(g[name], sources[name]) for name in g}
    out, _ = model.masked_pass(tokens, masks, target, importance.acts)
    grads = torch.autograd.grad((out - target.output).square().sum(), list(sources.values()))
    assert all(bool(grad.any()) for grad in grads)


@pytest.mark.parametrize("kind", ["mlp", "vector_mlp", "shared_mlp"])
def test_importances_are_float32_in_bf16(kind: Any) -> None:
    target = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5))
    components = ComponentsSettings(modules=(ModulePattern(pattern="[02]", C=7),))
    model = ComponentModel(target, components, LayerwiseImportance(kind=kind, hidden=(4,)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        importance = model.importance(model.target_pass(torch.randn(9, 6)))
    for values in (importance.pre, importance.lower, importance.upper):
        assert {value.dtype for value in values.values()} == {torch.float32}
