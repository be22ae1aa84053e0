"""What is refused before a run has a folder: models and evaluation settings that do not fit each other."""

import torch
from torch import nn

from core.components.component_model import ComponentModel
from core.components.factored import dense
from core.components.passes import TargetPass
from core.components.selection import match_modules
from core.decomposition.metrics.importance_tally import in_group
from core.decomposition.metrics.wrapping_error import WrappingError, logit_error
from core.decomposition.settings import DecompositionSettings
from core.errors import UsageError, nearest_names
from core.shapes import TokenIds

LARGEST_WRAPPING_ERROR = 1e-3
"""Far above the rounding of float32 through many layers (1e-6 to 1e-5), far below any real difference."""


def check_evaluation(model: nn.Module, settings: DecompositionSettings) -> None:
    """Refuse evaluation settings that name modules which are not decomposed.

    Raises:
        UsageError: an answer, feature weight, group or metric that fits no module, or a group that is no
            pattern.
    """
    names = list(match_modules(model, settings.components))
    settings.evaluation.solution.check(names)
    for name in settings.evaluation.feature_weights:
        if name not in names:
            raise UsageError(
                f"evaluation.feature_weights: {name!r} is not decomposed.", nearest_names(name, names)
            )
    for group, patterns in settings.evaluation.groups.items():
        for pattern in patterns:
            if not any([in_group(name, (pattern,)) for name in names]):
                raise UsageError(
                    f"evaluation.groups.{group}: {pattern!r} matches no decomposed module.",
                    f"Modules: {', '.join(names)}.",
                )
    for name, metric in settings.evaluation.metrics.items():
        metric.check(name, model, names)


def check_float32(model: ComponentModel) -> None:
    """Refuse target weights of another type than the subcomponents have.

    Raises:
        UsageError: a decomposed weight is not float32.
    """
    for name, site in model.sites.items():
        if site.target_weight().dtype != torch.float32:
            raise UsageError(
                f"the weight of {name!r} is {site.target_weight().dtype}; subcomponents are torch.float32.",
                "Call model.float() first; --precision bf16 speeds the steps up.",
            )


def check_wrapping(model: ComponentModel, ids: TokenIds) -> WrappingError:
    """How far the wrapped model is from the target when nothing is masked.

    Raises:
        UsageError: further than rounding explains, so a module is called otherwise than `spd` takes it to be.
    """
    error = logit_error(model, ids)
    if not error.relative < LARGEST_WRAPPING_ERROR:
        raise UsageError(
            f"with nothing masked, the wrapped model's logits are not the target's, only {error}.",
            "A module's output must be its weight times its input, plus its bias; decompose others.",
        )
    return error


def check_positions(target: TargetPass) -> torch.Size:
    """The leading dimensions of all modules' activations, which share masks by position.

    Raises:
        UsageError: two of them differ.
    """
    shapes = {name: tuple(dense(out).shape[:-1]) for name, out in target.outputs.items()}
    first, positions = next(iter(shapes.items()))
    for name, shape in shapes.items():
        if shape != positions:
            raise UsageError(
                f"modules {first!r} and {name!r} see different positions, {positions} and {shape}.",
                "Decompose modules with the same leading dimensions only.",
            )
    return torch.Size(positions)
