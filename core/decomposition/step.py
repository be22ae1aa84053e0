"""One training step: target pass, importances, losses, update."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.components.component_model import ComponentModel
from core.components.masks import NoiseKey
from core.decomposition.null_rows import Batch
from core.decomposition.settings import DecompositionSettings, FaithfulnessWarmup, TrainingSettings
from core.devices import Precision, autocast
from core.errors import SpdError
from core.losses.context import Distance, LossContext
from core.losses.faithfulness import faithfulness
from core.losses.minimality import MinimalityLoss
from core.losses.persistent_sources import PersistentSources, restored_sources
from core.losses.reconstruction import persistent_losses
from core.parallel import SINGLE, Ranks


@dataclass(frozen=True)
class StepResult:
    """What one step measured, before its update; tensors, so that nothing waits for the device."""

    losses: dict[str, Tensor]
    """Every term by name, and `total`."""
    context: LossContext
    """The batch they were measured on."""


class Stepper:
    """Model, optimiser and settings of a training run, one step at a time."""

    def __init__(
        self,
        model: ComponentModel,
        settings: DecompositionSettings,
        distance: Distance,
        precision: Precision,
        device: torch.device,
        ranks: Ranks = SINGLE,
    ) -> None:
        self.model = model
        self.settings = settings
        self.distance: Distance = distance
        self.precision: Precision = precision
        self.device = device
        self.ranks = ranks
        self.optimizer = build_optimizer(model, settings.training)
        self.persistent_losses = persistent_losses(settings.losses)
        # Sources of those losses by name, from the first batch on.
        self.persistent: dict[str, PersistentSources] = {}

    def measure(self, batch: Batch, step: int) -> StepResult:
        """All losses on one batch, with gradients."""
        with autocast(self.device, self.precision):
            context = self.context(batch, step)
            self._warm_up_sources(context, step)
            measured = {
                name: loss.measure(context, name).value for name, loss in self.settings.losses.items()
            }
        total = sum(
            (loss.coeff * measured[name] for name, loss in self.settings.losses.items() if loss.coeff),
            torch.zeros((), device=self.device),
        )
        return StepResult({**measured, "total": total}, context)

    def context(self, batch: Batch, step: int, purpose: str = "train") -> LossContext:
        """What the losses of one batch share: the target's pass and the importances."""
        target = self.model.target_pass(batch.inputs)
        noise = NoiseKey(self.settings.seed, purpose, (step,), self.ranks.rank)
        jitter = NoiseKey(self.settings.seed, f"{purpose}/jitter", (step,), self.ranks.rank)
        importance = self.model.importance(target, jitter if purpose == "train" else None)
        positions = next(iter(importance.lower.values())).shape[:-1].numel()
        return LossContext(
            model=self.model,
            inputs=batch.inputs,
            target=target,
            importance=importance,
            distance=self.distance,
            progress=step / self.settings.training.steps,
            noise=noise,
            weight_delta=self.settings.components.weight_delta,
            n_positions=batch.size or positions,
            row_weights=batch.weights,
            ranks=self.ranks,
            persistent=self.persistent,
        )

    def update(self, result: StepResult, step: int) -> dict[str, Tensor]:
        """One optimiser step; returns gradient norms (before clipping) by parameter group."""
        training = self.settings.training
        rate = training.lr.at(step, training.steps)
        for group, factor in zip(
            self.optimizer.param_groups, (training.component_lr_factor, 1.0), strict=True
        ):
            group["lr"] = rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        result.losses["total"].backward()
        self.ranks.average_gradients(self.model.parameters())
        norms: dict[str, Tensor] = {}
        clips = {"components": training.clip_components, "importance": training.clip_importance}
        logged = step % self.settings.record.log_every == 0
        for group, (name, limit) in zip(self.optimizer.param_groups, clips.items(), strict=True):
            if limit is not None:
                norms[name] = torch.nn.utils.clip_grad_norm_(group["params"], limit)
            elif logged:
                grads = [p.grad for p in group["params"] if p.grad is not None]
                norms[name] = torch.nn.utils.get_total_norm(grads)
        self.optimizer.step()
        for name, (loss, _) in self.persistent_losses.items():
            if loss.coeff:  # else no gradient has reached the sources
                held = self.persistent[name]
                held.ascend_after_backward(loss.coeff, held.rate(step, training.steps))
        return norms

    @property
    def bound_to_rows(self) -> bool:
        """Whether some loss has sources for each row of a batch, which must then not be folded."""
        return any(masks.bound_to_rows for _, masks in self.persistent_losses.values())

    def check_sources(self, positions: torch.Size) -> None:
        """Refuse persistent sources that cannot serve this rank's batches, whose positions these are.

        Raises:
            UsageError: rows that the sources do not divide, or no sequence positions.
        """
        for _, masks in self.persistent_losses.values():
            masks.scope.leading(positions)

    def persistent_state(self) -> dict[str, Any]:
        """The persistent sources of all ranks by loss, for a checkpoint; every rank must ask.

        Raises:
            NonFiniteLoss: one of them is not finite.
        """
        state = {name: held.state() for name, held in self.persistent.items()}
        for name, found in state.items():
            if not all(bool(torch.isfinite(value).all()) for value in found["values"].values()):
                raise NonFiniteLoss(f"the persistent sources of {name} are not finite.", _LOWER_SOMETHING)
        return state

    def load_persistent_state(self, state: dict[str, Any]) -> None:
        """Go on with sources from a checkpoint, written by any number of ranks."""
        self.persistent.clear()
        for name, found in state.items():
            masks = self.persistent_losses[name][1]
            self.persistent[name] = restored_sources(masks, found, self.device, self.ranks)

    def _warm_up_sources(self, context: LossContext, step: int) -> None:
        for name, (loss, masks) in self.persistent_losses.items():
            if name not in self.persistent:
                self.persistent[name] = masks.begin(context, name)
            if loss.coeff:
                rate = self.persistent[name].rate(step, self.settings.training.steps)
                loss.warm_up_sources(context, name, rate)


def build_optimizer(model: ComponentModel, training: TrainingSettings) -> torch.optim.AdamW:
    """AdamW with the subcomponents and the importance networks as separate groups."""
    groups = [{"params": model.component_parameters()}, {"params": model.importance_parameters()}]
    return torch.optim.AdamW(groups, lr=training.lr.start, weight_decay=training.weight_decay, fused=True)


def warm_up_faithfulness(
    model: ComponentModel, warmup: FaithfulnessWarmup, progress: Callable[[int], None]
) -> None:
    """Fit the subcomponents to the weights, without data, before training."""
    optimizer = torch.optim.AdamW(
        model.component_parameters(), lr=warmup.lr, weight_decay=warmup.weight_decay, fused=True
    )
    for step in range(warmup.steps):
        optimizer.zero_grad(set_to_none=True)
        faithfulness(model).value.backward()
        optimizer.step()
        progress(step + 1)


def train_record(
    result: StepResult, norms: Mapping[str, Tensor], step: int, settings: DecompositionSettings
) -> dict[str, Any]:
    """One line of metrics.jsonl: losses, L0 per module, learning rate, gradient norms."""
    context = result.context
    record: dict[str, Any] = {"step": step, "kind": "train"}
    losses = context.ranks.mean(torch.stack([value.detach() for value in result.losses.values()]))
    record |= {f"loss/{name}": value for name, value in zip(result.losses, losses.tolist(), strict=True)}
    active = []
    for g in context.importance.lower.values():
        count = (g.detach() > settings.evaluation.alive_threshold).sum(-1).float()
        active.append((count if context.row_weights is None else count * context.row_weights).sum())
    l0 = context.ranks.mean(torch.stack(active)) / context.n_positions
    record |= {f"l0/{name}": value for name, value in zip(context.importance.lower, l0.tolist(), strict=True)}
    record["lr"] = settings.training.lr.at(step, settings.training.steps)
    for name, loss in settings.losses.items():
        if isinstance(loss, MinimalityLoss) and loss.p_final is not None:
            record[f"p/{name}"] = loss.exponent(context.progress)
    record |= {f"grad_norm/{name}": float(value) for name, value in norms.items()}
    return record


class NonFiniteLoss(SpdError):
    """A loss, or what is learnt from it, became NaN or infinite."""


def check_learnt(model: ComponentModel, step: int) -> None:
    """Refuse to go on with parameters that are not finite: a finite loss may have had a gradient that is not.

    Raises:
        NonFiniteLoss: naming the first such parameter.
    """
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise NonFiniteLoss(
                f"{name} is not finite after step {step - 1}, though its losses are.", _LOWER_SOMETHING
            )


_LOWER_SOMETHING = "The checkpoints before it are kept; lower training.lr.start or that term's coeff."


class FiniteGuard:
    """Finds the first step and term that is not finite, without waiting for a GPU at every step."""

    def __init__(self, every: int, ranks: Ranks = SINGLE) -> None:
        self.every = every
        self.ranks = ranks
        self.seen: list[tuple[int, list[str], Tensor]] = []

    def add(self, step: int, losses: dict[str, Tensor]) -> None:
        """Remember the losses of one step, and look at the remembered ones when it is time.

        Raises:
            NonFiniteLoss: naming the first step and the terms.
        """
        self.seen.append((step, list(losses), torch.stack([v.detach() for v in losses.values()])))
        if len(self.seen) >= self.every:
            self.check()

    def check(self) -> None:
        """Look at everything remembered."""
        seen, self.seen = self.seen, []
        if not seen:
            return
        # A sum over ranks is finite only where all of them are, so every rank comes to the same verdict.
        losses = self.ranks.sum(torch.stack([values for _, _, values in seen]))
        if bool(torch.isfinite(losses).all()):
            return
        for (step, names, _), values in zip(seen, losses, strict=True):
            bad = [name for name, value in zip(names, values.tolist(), strict=True) if value - value != 0]
            if bad:
                terms = [name for name in bad if name != "total"] or bad
                raise NonFiniteLoss(
                    f"loss {', '.join(terms)} is not finite at step {step}.", _LOWER_SOMETHING
                )
