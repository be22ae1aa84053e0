"""Which layer a module belongs to, read off its name."""

from collections.abc import Iterable


def layer_of(module: str) -> str:
    """The part of a name up to its first number: `h.0` of `h.0.attn.q_proj`; a name without one is whole."""
    parts = module.split(".")
    numbered = next((i for i, part in enumerate(parts) if part.isdigit()), len(parts) - 1)
    return ".".join(parts[: numbered + 1])


def kind_of(module: str) -> str:
    """What is left of a name without its layer: `attn.q_proj` of `h.0.attn.q_proj`; else the name."""
    return module.removeprefix(layer_of(module)).removeprefix(".") or module


def by_layer(modules: Iterable[str]) -> dict[str, list[str]]:
    """The modules of each layer, in the order in which layers and modules first appear."""
    layers: dict[str, list[str]] = {}
    for module in modules:
        layers.setdefault(layer_of(module), []).append(module)
    return layers
