"""How good the reconstruction is when only some modules are replaced, and which subset is the worst."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import isnan
from typing import Literal

from pydantic import Field, model_validator
from torch import nn

from core.decomposition.metrics.cross_entropy import unrecovered
from core.decomposition.metrics.layers import by_layer
from core.decomposition.metrics.mask_modes import mode_masks, stochastic_masks
from core.decomposition.metrics.metric import Metric, Result, no_match
from core.decomposition.metrics.next_token import TargetLogits
from core.errors import UsageError
from core.losses.context import LossContext, Measurement


class ModuleSubsetsMetric(Metric):
    """Cross-entropy and KL with stochastic masks on a named subset of modules, the others left as they are.

    Reported as `ce/<subset>`, `kl/<subset>`, `ce_unrecovered/<subset>` (against zero masks on every module)
    and the worst of each: `worst_kl` with its subset's name `worst_kl_subset`, and so on. With neither
    `include` nor `exclude` there is one subset for each layer.
    """

    kind: Literal["module_subsets"] = "module_subsets"

    include: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Subsets by name: fnmatch patterns of the modules in them."""

    exclude: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Subsets by name: fnmatch patterns of the modules that are not in them."""

    samples: int = Field(default=1, gt=0)
    """Independent draws of the masks for each batch."""

    @model_validator(mode="after")
    def _check_names(self) -> "ModuleSubsetsMetric":
        if both := self.include.keys() & self.exclude.keys():
            raise ValueError(
                f"subset {min(both)!r} is under include and under exclude; give each its own name"
            )
        return self

    def check(self, name: str, model: nn.Module, sites: list[str]) -> None:
        """Refuse patterns that match nothing and subsets without a module."""
        for field, subsets in (("include", self.include), ("exclude", self.exclude)):
            for subset, patterns in subsets.items():
                for pattern in patterns:
                    if not any(fnmatchcase(site, pattern) for site in sites):
                        raise no_match(name, f"{field}.{subset}", pattern, sites)
        for subset, members in self.members(sites).items():
            if not members:
                raise UsageError(
                    f"evaluation.metrics.{name}: subset {subset!r} has no module.",
                    f"Modules: {', '.join(sites)}.",
                )

    def members(self, sites: list[str]) -> dict[str, list[str]]:
        """The modules of every subset."""
        if not self.include and not self.exclude:
            return by_layer(sites)
        found = {subset: [s for s in sites if _fits(s, ps)] for subset, ps in self.include.items()}
        return found | {subset: [s for s in sites if not _fits(s, ps)] for subset, ps in self.exclude.items()}

    def measure(self, context: LossContext, name: str) -> dict[str, Measurement]:
        """One masked pass for each subset and sample, and one with everything off."""
        target = TargetLogits.of(context)
        nothing = context.run(mode_masks(context, "zero", name))[0]
        found = {"ce_target": target.cross_entropy(), "ce_zero": target.compare(nothing)["ce"]}
        for subset, members in self.members(context.sites).items():
            parts: list[dict[str, Measurement]] = []
            for sample in range(self.samples):
                masks = stochastic_masks(context, f"{name}/{sample}", members)
                parts.append(target.compare(context.run(masks)[0]))
            for key in ("ce", "kl"):
                found[f"{key}/{subset}"] = Measurement.merged([part[key] for part in parts])
        return found

    def finish(self, means: Mapping[str, float]) -> Result:
        """Adds what is unrecovered, and the worst subsets."""
        target, zero = means["ce_target"], means["ce_zero"]
        found: Result = {key: value for key, value in means.items() if "/" in key}
        by_kind: dict[str, dict[str, float]] = {"kl": {}, "ce": {}, "ce_unrecovered": {}}
        for key, value in means.items():
            kind, _, subset = key.partition("/")
            if subset:
                by_kind[kind][subset] = value
                if kind == "ce":
                    by_kind["ce_unrecovered"][subset] = unrecovered(value, target, zero)
        found |= {f"ce_unrecovered/{subset}": value for subset, value in by_kind["ce_unrecovered"].items()}
        for kind, values in by_kind.items():
            worst = max(values, key=lambda subset, values=values: _rank(values[subset]))
            found |= {f"worst_{kind}": values[worst], f"worst_{kind}_subset": worst}
        return found


def _fits(site: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(site, pattern) for pattern in patterns)


def _rank(value: float) -> float:
    return float("-inf") if isnan(value) else value
