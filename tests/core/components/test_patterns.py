"""Which modules a pattern picks, and what is said when it picks wrongly."""

import pytest
from torch import nn

from core.components.component_model import ComponentModel
from core.components.importance_layerwise import LayerwiseImportance
from core.components.selection import ComponentsSettings, ModulePattern, match_modules
from core.errors import UsageError


def patterns(*items: tuple[str, int]) -> tuple[ModulePattern, ...]:
    return tuple(ModulePattern(pattern=pattern, C=C) for pattern, C in items)


@pytest.fixture
def target() -> nn.Module:
    block = {"up": nn.Linear(3, 4), "act": nn.ReLU(), "down": nn.Linear(4, 3)}
    return nn.ModuleDict(
        {"emb": nn.Embedding(5, 3), "a": nn.ModuleDict(block), "b": nn.ModuleDict({"up": nn.Linear(3, 4)})}
    )


def test_modules_come_in_the_models_order_with_their_c(target: nn.Module) -> None:
    settings = ComponentsSettings(modules=patterns(("*.up", 7), ("emb", 2)))
    assert list(match_modules(target, settings).items()) == [("emb", 2), ("a.up", 7), ("b.up", 7)]


def test_identities_come_before_the_module_they_precede(target: nn.Module) -> None:
    settings = ComponentsSettings(
        modules=patterns(("a.*n", 7)), identities=patterns(("*.up", 3), ("a.down", 2))
    )
    assert list(match_modules(target, settings).items()) == [
        ("a.up.pre_identity", 3),
        ("a.down.pre_identity", 2),
        ("a.down", 7),
        ("b.up.pre_identity", 3),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ComponentsSettings(modules=patterns(("c.up", 1))),
            r"'c\.up' matches no module.*Modules: emb, a, a\.up",
        ),
        (
            ComponentsSettings(modules=patterns(("a.up", 1), ("*.up", 2))),
            r"'a\.up' matches two patterns, 'a\.up' and '\*\.up'",
        ),
        (ComponentsSettings(modules=patterns(("a.act", 1))), r"'a\.act' is a ReLU.*Allowed: nn\.Linear"),
        (ComponentsSettings(modules=patterns(("a*", 1))), "'a' is a ModuleDict"),
        (ComponentsSettings(identities=patterns(("emb", 1))), "'emb' is an embedding"),
        (ComponentsSettings(identities=patterns(("a.up", 1), ("a.up", 1))), "matches two patterns"),
        (ComponentsSettings(), r"components\.modules is empty"),
    ],
)
def test_a_pattern_that_does_not_fit_is_named(
    target: nn.Module, settings: ComponentsSettings, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        match_modules(target, settings)


@pytest.mark.parametrize("C", [0, -1])
def test_c_must_be_positive(C: int) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        ModulePattern(pattern="*", C=C)


def test_a_refused_target_is_left_as_it_was(target: nn.Module) -> None:
    settings = ComponentsSettings(modules=patterns(("a.up", 1), ("nothing", 1)))
    with pytest.raises(UsageError):
        ComponentModel(target, settings, LayerwiseImportance())
    assert not any("forward" in module.__dict__ for module in target.modules())
