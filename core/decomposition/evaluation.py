"""Measuring a decomposition: losses on held-out data, importances, and distance from a known answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from core.components.component_model import ComponentModel, Importance
from core.decomposition.metrics.adversarial_budget import Adversary
from core.decomposition.metrics.column_match import ColumnMatch, match_columns
from core.decomposition.metrics.cross_entropy import CrossEntropyMetric
from core.decomposition.metrics.importance_tally import ImportanceTally
from core.decomposition.metrics.metric import EvaluationBatches, Metric, Result
from core.decomposition.metrics.neuron_contributions import NeuronContributions, neuron_contributions
from core.decomposition.metrics.target_solution import SolutionErrors, measure_solution
from core.decomposition.metrics.verdict import LanguageEvidence, ModuleEvidence, Verdict, verdict
from core.decomposition.null_rows import Batch
from core.decomposition.settings import DecompositionSettings, EvaluationSettings
from core.decomposition.step import Stepper
from core.losses.context import LossContext, Measurement
from core.losses.hidden import HiddenActivationsLoss
from core.losses.reconstruction import ReconstructionLoss
from core.parallel import Ranks
from core.stats.spectrum import SpectrumCut
from core.targets.target import Target


@dataclass(frozen=True)
class Measured:
    """What one of `evaluation.metrics` found."""

    metric: Metric
    """Its settings."""
    values: Result
    """What it reports."""
    batches: int
    """Batches of the evaluation."""


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
    metrics: dict[str, Measured] = field(default_factory=dict)
    """The metrics of the settings by their names there; slow ones only with figures."""

    @property
    def l0(self) -> float:
        """Mean number of active subcomponents per position, all modules together."""
        return sum(self.tally.l0().values())

    @property
    def live_count(self) -> int:
        """Live subcomponents of all modules."""
        return sum(cut.count for cut in self.live.values())

    @property
    def components(self) -> dict[str, int]:
        """Subcomponents of each module, C."""
        return {name: len(part.firings) for name, part in self.tally.modules.items()}

    @property
    def cross_entropy(self) -> dict[str, float]:
        """What the first metric of that kind found; empty where none was asked for."""
        for found in self.metrics.values():
            if isinstance(found.metric, CrossEntropyMetric):
                return {key: value for key, value in found.values.items() if not isinstance(value, str)}
        return {}

    @property
    def adversaries(self) -> list[dict[str, float | str]]:
        """The loss each adversary reached, with its budget: steps, their size, start and data."""
        rows: list[dict[str, float | str]] = []
        for name, found in self.metrics.items():
            metric = found.metric
            if isinstance(metric, Adversary):
                for steps, key in metric.budget_names(found.batches).items():
                    budget = {"steps": steps, "step_size": metric.step_size, "init": metric.init}
                    on = metric.data(found.batches)
                    rows.append({"metric": name, "loss": found.values[key], **budget, "on": on})
        return rows

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
        for name, measured in self.metrics.items():
            numbers = {key: value for key, value in measured.values.items() if not isinstance(value, str)}
            found |= {f"eval/{name}/{key}": value for key, value in numbers.items()}
        if self.metrics:
            found["eval/l0_total"] = self.l0
        return found

    def verdict(self) -> Verdict:
        """Whether the known answer was recovered, in words; of a language model, how much of it was."""
        language = self._language()
        counts, l0 = self.components, self.tally.l0()
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
                count=sum(counts[module] for module in modules) if language else None,
                l0=sum(l0[module] for module in modules) if language else None,
            )
        return verdict(evidence, language)

    def _language(self) -> LanguageEvidence | None:
        found = self.cross_entropy
        if not found:
            return None
        recovered = {mode: found[f"ce_recovered/{mode}"] for mode in ("ci", "stochastic")}
        return LanguageEvidence(
            recovered["ci"], recovered["stochastic"], self.l0, self.live_count, sum(self.components.values())
        )

    def headline(self) -> str:
        """One line: live subcomponents, and the error where an answer is known; of a language model L0,
        cross-entropies and divergences.
        """
        if found := self.cross_entropy:
            ce = ", ".join(f"{mode} {found[f'ce/{mode}']:.3f}" for mode in ("target", "ci", "stochastic"))
            kl = ", ".join(f"{mode} {found[f'kl/{mode}']:.3f}" for mode in ("ci", "stochastic"))
            total = sum(self.components.values())
            return f"L0 {self.l0:.1f}, {self.live_count} of {total} live; CE {ce}; KL {kl}"
        live = ", ".join(f"{name} {cut.count}" for name, cut in self.live.items())
        error = f"; wrong entries against the known answer {self.errors.total}" if self.errors.modules else ""
        return f"live subcomponents: {live}{error}"


@torch.no_grad()
def evaluate(stepper: Stepper, target: Target, step: int) -> Evaluation:
    """Measure the model on held-out batches, the same ones every time, and on the target's probes.

    Of a data-parallel run every rank measures its rows, and all of them get the whole result.
    """
    settings, ranks = stepper.settings, stepper.ranks
    tally = ImportanceTally(settings.evaluation.alive_threshold)
    losses: dict[str, list[Measurement]] = {}
    batches = evaluation_batches(stepper, target)
    metrics = _metrics_at(settings, step)
    measured: dict[str, dict[str, list[Measurement]]] = {name: {} for name in metrics}
    for context in batches:
        tally.add(context.importance.lower, context.importance.pre)
        _collect(losses, _losses(settings, context, step))
        for name, metric in metrics.items():
            _collect(measured[name], metric.measure(context, f"metrics/{name}"))
    for name, metric in metrics.items():
        _collect(measured[name], metric.measure_all(batches, f"metrics/{name}"))
    tally = tally.over_ranks(ranks)
    probes = (
        None if target.probes is None else probe_importance(stepper.model, target.probes.to(stepper.device))
    )
    live = tally.live_by_spectrum(settings.evaluation.live_mean)
    return Evaluation(
        tally=tally,
        live=live,
        losses=_means(losses, ranks),
        probes=probes,
        errors=measure_solution(probes.lower if probes else {}, settings.evaluation.solution),
        columns=_columns(stepper.model, settings, live),
        neurons=_neurons(stepper.model, target, live),
        groups=tally.group_l0(settings.evaluation.groups),
        metrics={
            name: Measured(metric, metric.finish(_means(measured[name], ranks)), batches.count)
            for name, metric in metrics.items()
        },
    )


def evaluation_batches(stepper: Stepper, target: Target) -> EvaluationBatches:
    """The held-out batches of a run's evaluations, of which this rank takes its rows."""
    settings = stepper.settings.evaluation
    size = settings.batch_size or stepper.settings.training.batch_size

    def context(index: int) -> LossContext:
        batch = Batch(target.batch("eval", index, size)).share(stepper.ranks).to(stepper.device)
        with torch.no_grad():
            return stepper.context(batch, index, purpose="eval")

    return EvaluationBatches(settings.batches, context)


def _metrics_at(settings: DecompositionSettings, step: int) -> dict[str, Metric]:
    evaluation: EvaluationSettings = settings.evaluation
    with_figures = step > 0 and step % evaluation.figures_every == 0
    slow = with_figures or step == settings.training.steps
    return {name: metric for name, metric in evaluation.metrics.items() if slow or not metric.slow}


def _collect(parts: dict[str, list[Measurement]], found: Mapping[str, Measurement]) -> None:
    for name, part in found.items():
        parts.setdefault(name, []).append(part)


def _means(parts: Mapping[str, list[Measurement]], ranks: Ranks) -> dict[str, float]:
    """Sum of sums over sum of counts, of all batches and ranks."""
    if not parts:
        return {}
    merged = [Measurement.merged(found) for found in parts.values()]
    totals = torch.stack([part.total.detach().double() for part in merged])
    counts = totals.new_tensor([part.count for part in merged])
    totals, counts = ranks.sum(torch.stack([totals, counts]))
    return dict(zip(parts, (totals / counts).tolist(), strict=True))


def probe_importance(model: ComponentModel, probes: Tensor) -> Importance:
    """Importances on inputs with one feature each, (F C) per module."""
    with torch.no_grad():
        return model.importance(model.target_pass(probes))


def _losses(settings: DecompositionSettings, context: LossContext, step: int) -> dict[str, Measurement]:
    at_this_step = replace(context, progress=step / settings.training.steps)
    found = {
        name: loss.measure(at_this_step, name)
        for name, loss in settings.losses.items()
        if not isinstance(loss, ReconstructionLoss) or loss.measurable(context, name)
    }
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
