"""Measuring a decomposition: losses on held-out data, importances, and distance from a known answer."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from core.components.component_model import ComponentModel, Importance
from core.decomposition.metrics.column_match import ColumnMatch, match_columns
from core.decomposition.metrics.importance_tally import ImportanceTally
from core.decomposition.metrics.neuron_contributions import NeuronContributions, neuron_contributions
from core.decomposition.metrics.target_solution import SolutionErrors, measure_solution
from core.decomposition.metrics.verdict import ModuleEvidence, Verdict, verdict
from core.decomposition.null_rows import Batch
from core.decomposition.settings import DecompositionSettings
from core.decomposition.step import Stepper
from core.losses.context import LossContext, Measurement
from core.losses.hidden import HiddenActivationsLoss
from core.stats.spectrum import SpectrumCut
from core.targets.target import Target


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found; `scalars` is what metrics.jsonl gets."""

    tally: ImportanceTally
    """Counts of importances on held-out data."""
    live: dict[str, SpectrumCut]
    """Live subcomponents of each module, from the spectrum of mean importances."""
    losses: dict[str, float]
    """Loss terms on held-out data, and hidden-activation error per module."""
    probes: Importance | None
    """Importances on the probe inputs, one feature each."""
    errors: SolutionErrors
    """Distance from the known answer; empty where none is known."""
    columns: dict[str, ColumnMatch]
    """Match of weight vectors, for modules that have one per feature."""
    neurons: dict[str, NeuronContributions] = field(default_factory=dict)
    """Neuron contributions per layer of a residual MLP."""
    groups: dict[str, float] = field(default_factory=dict)
    """L0 of the named groups of modules."""

    @property
    def scalars(self) -> dict[str, float]:
        """Every number, by the name it has in metrics.jsonl."""
        found = {f"eval/loss/{name}": value for name, value in self.losses.items()}
        found |= {f"eval/l0/{name}": value for name, value in (self.tally.l0() | self.groups).items()}
        found |= {f"eval/live/{name}": float(cut.count) for name, cut in self.live.items()}
        if self.errors.modules:
            found |= {
                f"eval/{s.kind}_ci_error/{name}": float(s.error) for name, s in self.errors.modules.items()
            }
            found["eval/target_solution_error/total"] = float(self.errors.total)
            found["eval/target_solution_error/total_0p2"] = float(self.errors.loose_total)
        for name, match in self.columns.items():
            found |= {f"eval/mmcs/{name}": match.mmcs, f"eval/ml2r/{name}": match.ml2r}
        for name, layer in self.neurons.items():
            found[f"eval/neuron_contributions/pearson/{name}"] = layer.agreement.pearson
            found[f"eval/neuron_contributions/slope/{name}"] = layer.agreement.slope
        return found

    def verdict(self) -> Verdict:
        """Whether the known answer was recovered, in words."""
        evidence: dict[str, ModuleEvidence] = {}
        judged = {name: s for name, s in self.errors.modules.items()}
        joined = {module for s in judged.values() if len(s.modules) > 1 for module in s.modules}
        for name in dict.fromkeys((*judged, *(m for m in self.live if m not in joined))):
            solution = judged.get(name)
            modules = solution.modules if solution else (name,)
            match = self.columns.get(name)
            evidence[name] = ModuleEvidence(
                kind=solution.kind if solution else None,
                expected=solution.expected if solution else None,
                found=solution.found if solution else None,
                error=solution.error if solution else None,
                loose_error=solution.loose_error if solution else None,
                live=sum(self.live[module].count for module in modules),
                mmcs=match.mmcs if match else None,
                ml2r=match.ml2r if match else None,
            )
        return verdict(evidence)

    def headline(self) -> str:
        """One line: live subcomponents, and the error where an answer is known."""
        live = ", ".join(f"{name} {cut.count}" for name, cut in self.live.items())
        error = f"; wrong entries against the known answer {self.errors.total}" if self.errors.modules else ""
        return f"live subcomponents: {live}{error}"


@torch.no_grad()
def evaluate(stepper: Stepper, target: Target, step: int) -> Evaluation:
    """Measure the model on held-out batches, the same ones every time, and on the target's probes."""
    settings = stepper.settings
    tally = ImportanceTally(settings.evaluation.alive_threshold)
    measured: dict[str, list[Measurement]] = {}
    size = settings.training.batch_size
    for index in range(settings.evaluation.batches):
        batch = Batch(target.batch("eval", index, size)).to(stepper.device)
        context = stepper.context(batch, index, purpose="eval")
        tally.add(context.importance.lower, context.importance.pre)
        for name, part in _losses(settings, context, step).items():
            measured.setdefault(name, []).append(part)
    losses = {name: float(Measurement.merged(parts).value) for name, parts in measured.items()}
    probes = (
        None if target.probes is None else probe_importance(stepper.model, target.probes.to(stepper.device))
    )
    live = tally.live_by_spectrum()
    solution = settings.evaluation.solution
    return Evaluation(
        tally=tally,
        live=live,
        losses=losses,
        probes=probes,
        errors=measure_solution(probes.lower if probes else {}, solution),
        columns=_columns(stepper.model, settings, live),
        neurons=_neurons(stepper.model, target, live),
        groups=tally.group_l0(settings.evaluation.groups),
    )


def probe_importance(model: ComponentModel, probes: Tensor) -> Importance:
    """Importances on inputs with one feature each, (F C) per module."""
    with torch.no_grad():
        return model.importance(model.target_pass(probes))


def _losses(settings: DecompositionSettings, context: LossContext, step: int) -> dict[str, Measurement]:
    at_this_step = replace(context, progress=step / settings.training.steps)
    found = {name: loss.measure(at_this_step, name) for name, loss in settings.losses.items()}
    hidden = HiddenActivationsLoss(coeff=0).per_module(context, "hidden")
    return found | {f"hidden_activations/{name}": part for name, part in hidden.items()}


def _columns(
    model: ComponentModel, settings: DecompositionSettings, live: dict[str, SpectrumCut]
) -> dict[str, ColumnMatch]:
    return {
        name: match_columns(
            model.sites[name].target_weight(),
            model.sites[name].V,
            model.sites[name].U,
            features=side,
            live=live[name].live,
        )
        for name, side in settings.evaluation.feature_weights.items()
    }


def _neurons(
    model: ComponentModel, target: Target, live: dict[str, SpectrumCut]
) -> dict[str, NeuronContributions]:
    if target.name != "residual_mlp":
        return {}
    layers = [name.removesuffix(".mlp_in") for name in model.sites if name.endswith(".mlp_in")]
    weight = dict(model.target.named_parameters())
    return {
        layer: neuron_contributions(
            weight["W_E.weight"].T,
            weight[f"{layer}.mlp_in.weight"],
            weight[f"{layer}.mlp_out.weight"],
            weight["W_U.weight"].T,
            model.sites[f"{layer}.mlp_in"].V,
            model.sites[f"{layer}.mlp_in"].U,
            live=live[f"{layer}.mlp_in"].live,
        )
        for layer in layers
    }
