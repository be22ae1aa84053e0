"""A frozen target model with subcomponents beside the weights of chosen modules.

The target is never changed: while a `ComponentModel` is attached, the `forward` of each decomposed module
asks it what to do, and with no pass under way runs as before. `detach` gives the model back untouched.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from core.components.factored import Activation, Factored, dense
from core.components.importance import ImportanceSettings, build_importance_function
from core.components.importance_function import ModuleWidths
from core.components.importance_layerwise import LayerwiseFunction
from core.components.masks import Mask, NoiseKey
from core.components.passes import Importance, MaskedPass, Recording, TargetPass
from core.components.selection import (
    IDENTITY_NAME,
    ComponentsSettings,
    check_readable,
    check_shared_weights,
    match_modules,
)
from core.components.sigmoids import squash
from core.components.site_forward import linear_forward, masked_forward
from core.components.subcomponents import (
    IdentityLayer,
    Site,
    Subcomponents,
    TiedSubcomponents,
    site_kind,
    site_widths,
)
from core.errors import UsageError
from core.randomness import generator
from core.shapes import ComponentActs

JITTER_SCALE = 0.05


class ComponentModel(nn.Module):
    """Subcomponents and the importance function for the modules of one target model."""

    def __init__(
        self,
        target: nn.Module,
        components: ComponentsSettings,
        importance: ImportanceSettings,
        ties: tuple[tuple[str, str], ...] = (),
        output: Callable[[Any], Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        """Attach to `target`, which is frozen and put in eval mode.

        `ties` are pairs (source, tied) of modules whose weights are transposes of each other; the tied one
        shares the source's parameters. `output` picks the output tensor from what the model returns.

        Raises:
            UsageError: a pattern that matches nothing, two that match one module, an unsupported module, an
                importance function that does not fit, modules that share a weight and are no tie.
        """
        super().__init__()
        # Held in a tuple: the target's parameters are not this module's parameters.
        self._target = (target.eval().requires_grad_(False),)
        self._output = output or _only_tensor
        self.importance_settings = importance
        self._pass: Recording | MaskedPass | None = None
        self._copies = False
        self._factors = bool(getattr(target, "linear_stream", False))
        self._hooks: list[Any] = []
        counts = match_modules(target, components)
        check_readable(target, counts, importance)
        check_shared_weights(target, counts, ties)
        self._insert_identities(components)
        self.sites = self._build_sites(counts, dict((tied, source) for source, tied in ties), seed)
        self.subcomponents = nn.ModuleDict({_key(n): site.subcomponents for n, site in self.sites.items()})
        widths = {
            name: ModuleWidths(site.d_in, site.C, site.kind == "embedding")
            for name, site in self.sites.items()
        }
        self.importance_function = build_importance_function(importance, widths, seed)
        # Module, and the forward of its own that it had (None: that of its class).
        self._wrapped: dict[nn.Module, Any] = {}
        for site in self.sites.values():
            self._wrap(site.module, self._site_forward(site))
        for name, module in target.named_modules():
            if module not in self._wrapped and not any(module.children()):
                self._wrap(module, self._prefix_forward(name, self._original(module)))

    @property
    def target(self) -> nn.Module:
        """The model being explained."""
        return self._target[0]

    def detach(self) -> None:
        """Give the target back as it was."""
        for module, own_forward in self._wrapped.items():
            module.__dict__.pop("forward", None)
            if own_forward is not None:
                module.forward = own_forward
        for site in self.sites.values():
            if site.kind == "identity":
                parent = self.target.get_submodule(site.name.removesuffix(f".{IDENTITY_NAME}"))
                delattr(parent, IDENTITY_NAME)
        for hook in self._hooks:
            hook.remove()

    def component_parameters(self) -> list[nn.Parameter]:
        """All V and U."""
        return list(self.subcomponents.parameters())

    def importance_parameters(self) -> list[nn.Parameter]:
        """All weights of the importance function."""
        return list(self.importance_function.parameters())

    def network(self, name: str) -> nn.Module:
        """The importance network of one module, of a function that has one for each."""
        assert isinstance(self.importance_function, LayerwiseFunction), "this function spans all modules"
        return self.importance_function.network(name)

    def weight_deltas(self) -> dict[str, Tensor]:
        """What the subcomponents of each module leave over."""
        return {name: site.weight_delta() for name, site in self.sites.items()}

    @torch.no_grad()
    def target_pass(self, inputs: Any) -> TargetPass:
        """Run the unchanged target and keep what each decomposed module saw and gave."""
        known = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
        recording = Recording(known, self._copies)
        with self._under(recording):
            output = self._run(inputs)
        if recording.spoilt():
            # Found out once: a model that changes activations in place does so in every pass.
            self._copies = True
            return self.target_pass(inputs)
        missing = [name for name in self.sites if name not in recording.inputs]
        if missing:
            raise UsageError(
                f"modules {missing} did not run in the target's forward pass, so they cannot be decomposed.",
                "Leave them out, or check that the model calls them (and not only their weights).",
            )
        return TargetPass(output, recording.inputs, recording.outputs, recording.prefix)

    def importance(self, target: TargetPass, jitter: NoiseKey | None = None) -> Importance:
        """Causal importances on the inputs of a target pass.

        `jitter` names the noise of binomial sampling; without it (evaluation) nothing is jittered.
        """
        settings = self.importance_settings
        acts = {name: site.activations(target.inputs[name]) for name, site in self.sites.items()}
        # Importances are float32 whatever the products ran in: their powers are summed over the batch.
        pre = self.importance_function(target.inputs, acts)
        lower: dict[str, Tensor] = {}
        upper: dict[str, Tensor] = {}
        for i, name in enumerate(self.sites):
            jittered = None
            if jitter is not None and settings.sampling == "binomial":
                key = replace(jitter, indices=(*jitter.indices, i))
                noise = key.uniform(pre[name].shape, pre[name].device)
                jittered = (1 + JITTER_SCALE) * pre[name] - JITTER_SCALE * noise
            lower[name], upper[name] = squash(pre[name], settings.sigmoid, jittered)
        return Importance(acts, pre, lower, upper)

    def masked_pass(
        self,
        inputs: Any,
        masks: Mapping[str, Mask],
        target: TargetPass | None = None,
        acts: Mapping[str, ComponentActs] | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Run the target with the modules in `masks` replaced by their masked subcomponents.

        With `target` and `acts` of the same inputs, modules that see what they saw there are not computed
        again. Returns the output and what each replaced module gave.
        """
        masked = MaskedPass(masks, target if acts else None, acts or {})
        with self._under(masked):
            return self._run(inputs), masked.outputs

    def _run(self, inputs: Any) -> Tensor:
        if isinstance(inputs, Mapping):
            return self._output(self.target(**inputs))
        return self._output(self.target(inputs))

    @contextmanager
    def _under(self, passing: "Recording | MaskedPass") -> Iterator[None]:
        assert self._pass is None, "passes do not nest"
        self._pass = passing
        try:
            yield
        finally:
            self._pass = None

    def _original(self, module: nn.Module) -> Callable[..., Any]:
        """What a module does by itself, on activations in factors too if the model keeps them so."""
        own = module.forward
        if not self._factors or isinstance(module, IdentityLayer):
            return own
        if isinstance(module, nn.Linear):
            return lambda x: own(x) if self._pass is None else linear_forward(module, x)
        return lambda *args, **kwargs: own(*map(dense, args), **kwargs)

    def _site_forward(self, site: Site) -> Callable[[Activation], Activation]:
        original = self._original(site.module)

        def forward(x: Activation) -> Activation:
            passing = self._pass
            if passing is None:
                return original(x)
            if isinstance(passing, Recording):
                if site.name in passing.inputs:
                    raise UsageError(
                        f"module {site.name!r} runs more than once in a forward pass, so it cannot be "
                        "decomposed.",
                        "Leave it out.",
                    )
                passing.inputs[site.name] = passing.keep(x)
                out = original(x)
                passing.outputs[site.name] = passing.keep(out)
                return out
            mask = passing.masks.get(site.name)
            if mask is None:
                return original(x)
            out = passing.outputs[site.name] = masked_forward(site, original, x, mask, passing, self._factors)
            return out.clone() if self._copies and isinstance(out, Tensor) else out

        return forward

    def _prefix_forward(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        # A module that reads nothing but the model's inputs gives the same in every pass of a step.
        def forward(*args: Any, **kwargs: Any) -> Any:
            passing = self._pass
            if passing is None or len(args) != 1 or kwargs:
                return original(*args, **kwargs)
            if isinstance(passing, Recording):
                out = original(args[0])
                reusable = isinstance(out, Tensor | Factored) and not passing.copies
                if reusable and any(args[0] is known for known in passing.known):
                    passing.known.append(out)
                    passing.prefix[name] = (args[0], passing.keep(out))
                return out
            if passing.target is not None:
                seen, out = passing.target.prefix.get(name, (None, None))
                if seen is args[0]:
                    return out
            return original(args[0])

        return forward

    def _wrap(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        self._wrapped[module] = module.__dict__.get("forward")
        module.forward = forward  # type: ignore[method-assign]

    def _insert_identities(self, components: ComponentsSettings) -> None:
        for name, module in list(self.target.named_modules()):
            if any(fnmatchcase(name, item.pattern) for item in components.identities):
                width = site_widths(site_kind(name, module), module)[0]
                parameter = next(module.parameters())
                setattr(module, IDENTITY_NAME, IdentityLayer(width).to(parameter.device))
                self._hooks.append(module.register_forward_pre_hook(_through_identity))

    def _build_sites(self, counts: dict[str, int], ties: dict[str, str], seed: int) -> dict[str, Site]:
        modules = dict(self.target.named_modules())
        sites: dict[str, Site] = {}
        for name in sorted(counts, key=lambda name: name in ties):  # tied modules after their sources
            module = modules[name]
            kind = site_kind(name, module)
            source = sites.get(ties.get(name, ""))
            if source is not None and isinstance(source.subcomponents, Subcomponents):
                assert torch.equal(source.target_weight(), _weight(kind, module).T), f"{name} is not tied"
                factors: Subcomponents | TiedSubcomponents = TiedSubcomponents(source.subcomponents)
            else:
                d_in, d_out = site_widths(kind, module)
                draw = generator(seed, f"init/subcomponents/{name}")
                factors = Subcomponents(d_in, counts[name], d_out, draw)
            sites[name] = Site(name, kind, module, factors)
        return {name: sites[name] for name in counts}


def _weight(kind: str, module: nn.Module) -> Tensor:
    weight: Any = module.weight
    return weight.T if kind == "conv1d" else weight


def _through_identity(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    identity: Any = getattr(module, IDENTITY_NAME)
    return (identity(args[0]), *args[1:])


def _key(name: str) -> str:
    # nn.ModuleDict refuses dots in names.
    return name.replace(".", "/")


def _only_tensor(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    for name in ("logits", "last_hidden_state"):
        found = getattr(output, name, None)
        if isinstance(found, Tensor):
            return found
    if isinstance(output, tuple) and isinstance(output[0], Tensor):
        return output[0]
    raise UsageError(
        f"the model returned a {type(output).__name__}, not a tensor.",
        "Pass `output=` a function that picks the output tensor.",
    )
