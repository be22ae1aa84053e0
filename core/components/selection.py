"""Which modules of a model are decomposed."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from pydantic import Field
from torch import Tensor, nn

from core.components.importance import ImportanceSettings
from core.components.importance_layerwise import LayerwiseImportance
from core.components.importance_reverse import ReverseResidualImportance, modules_of_blocks
from core.components.subcomponents import site_kind
from core.errors import UsageError
from core.settings import Settings

IDENTITY_NAME = "pre_identity"
"""Name of an inserted identity layer, as a child of the module it stands in front of."""


class ModulePattern(Settings):
    """Which modules are decomposed, and into how many subcomponents each."""

    pattern: str = Field(min_length=1)
    """fnmatch pattern of module names, for example `layers.*.mlp_in`."""

    C: int = Field(gt=0)
    """Subcomponents of every module that matches."""


class ComponentsSettings(Settings):
    """The modules to decompose."""

    modules: tuple[ModulePattern, ...] = ()
    """Patterns of modules with their number of subcomponents; each module may match one only."""

    identities: tuple[ModulePattern, ...] = ()
    """Modules in front of which an identity layer is inserted and decomposed, as `<module>.pre_identity`."""

    weight_delta: bool = True
    """Whether stochastic and adversarial masks include the weight delta with a mask of its own."""


def match_modules(target: nn.Module, components: ComponentsSettings) -> dict[str, int]:
    """Name and number of subcomponents of every module to decompose, in the model's order.

    Raises:
        UsageError: nothing asked for, a pattern that matches nothing, or two that match one module.
    """
    names = [name for name, _ in target.named_modules() if name]
    wanted: dict[str, tuple[str, int]] = {}
    for items, suffix in ((components.identities, f".{IDENTITY_NAME}"), (components.modules, "")):
        for item in items:
            matched = [name for name in names if fnmatchcase(name, item.pattern)]
            if not matched:
                raise UsageError(
                    f"pattern {item.pattern!r} matches no module.", f"Modules: {', '.join(names)}."
                )
            for name in matched:
                site_kind(name, target.get_submodule(name))
                if suffix and isinstance(target.get_submodule(name), nn.Embedding):
                    raise UsageError(f"module {name!r} is an embedding: no identity fits in front of it.")
                if name + suffix in wanted:
                    raise UsageError(
                        f"module {name!r} matches two patterns, {wanted[name + suffix][0]!r} and "
                        f"{item.pattern!r}.",
                        "Each module may match one only.",
                    )
                wanted[name + suffix] = (item.pattern, item.C)
    if not wanted:
        raise UsageError("components.modules is empty.", "Name at least one module pattern with its C.")
    order = [found for name in names for found in (f"{name}.{IDENTITY_NAME}", name) if found in wanted]
    return {name: wanted[name][1] for name in order}


def check_readable(target: nn.Module, counts: Iterable[str], importance: ImportanceSettings) -> None:
    """Refuse an importance function that cannot read what a chosen module sees.

    Raises:
        UsageError: a network that reads its module's input vector, on an embedding, which sees token ids;
            blocks of modules that do not hold every chosen module exactly once.
    """
    if isinstance(importance, ReverseResidualImportance):
        modules_of_blocks(importance, counts)
    if not isinstance(importance, LayerwiseImportance) or importance.kind == "mlp":
        return
    modules = dict(target.named_modules())
    embeddings = [name for name in counts if isinstance(modules.get(name), nn.Embedding)]
    if embeddings:
        raise UsageError(
            f"importance.kind {importance.kind!r} reads a module's input vector, but {embeddings[0]!r} is an "
            "embedding and sees token ids.",
            "Use importance.kind mlp or a global one, or leave the embedding out.",
        )


def check_shared_weights(
    target: nn.Module, counts: Mapping[str, int], ties: Iterable[tuple[str, str]]
) -> None:
    """Refuse modules that share one weight, unless they are a tie (source, tied) with one C.

    Raises:
        UsageError: two chosen modules with one weight between them, or the two of a tie with different C.
    """
    pairs = {frozenset(tie) for tie in ties}
    for pair in pairs:
        first, second = sorted(pair)
        if first in counts and second in counts and counts[first] != counts[second]:
            raise UsageError(
                f"modules {first!r} and {second!r} share one weight, but have C = {counts[first]} and "
                f"{counts[second]}.",
                "Give both the same C.",
            )
    modules = dict(target.named_modules())
    holders: dict[int, str] = {}
    for name in counts:
        weight = getattr(modules.get(name), "weight", None)
        # Where memory begins tells views of one weight (its transpose, say) too; 0 is memory not yet there.
        if not isinstance(weight, Tensor) or not weight.data_ptr():
            continue
        other = holders.setdefault(weight.data_ptr(), name)
        if other != name and frozenset((other, name)) not in pairs:
            raise UsageError(
                f"modules {other!r} and {name!r} share one weight (tied embeddings, for example), which "
                "would be taken apart twice.",
                "Decompose one of them.",
            )
