"""Toy model of superposition: F sparse features squeezed through a narrow hidden layer and read back.

    y = relu(W^T I ... I W x + b)        W: (H F), b: (F), H < F

(Elhage et al. 2022, arXiv 2209.10652; used as a decomposition target in arXiv 2506.20790, section 3.1.)
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from core.randomness import generator
from core.settings import Settings
from core.targets.quality import Quality, represented_quality
from core.targets.sparse_features import SparseFeatureSettings, feature_importance, feature_probes
from core.targets.target import PROBE_VALUE
from core.targets.training import TargetTrainingSettings

REPRESENTED_FRACTION = 0.5
"""A feature counts as represented when a probe of it comes back with at least this fraction of its value."""


class ToySuperpositionSettings(Settings):
    """The shape, data and training of a toy model of superposition."""

    kind: Literal["toy_superposition"] = "toy_superposition"
    """Which kind of target this is."""

    n_features: int = Field(default=5, ge=1)
    """Number of features F: width of input and output."""

    n_hidden: int = Field(default=2, ge=1)
    """Width H of the hidden layer."""

    n_hidden_layers: int = Field(default=0, ge=0)
    """Fixed square layers between the two trained ones."""

    hidden_layer_init: Literal["identity", "random"] = "identity"
    """What the fixed hidden layers are: the identity or a random orthogonal matrix."""

    tied_weights: bool = True
    """Whether `linear2` is the transpose of `linear1` (one trained matrix)."""

    init_bias_to_zero: bool = False
    """Start the output bias at 0 in place of uniform in +-1/sqrt(n_hidden)."""

    importance: float = Field(default=1.0, gt=0.0, le=1.0)
    """Ratio of the loss weight of each feature to the one before it."""

    data: SparseFeatureSettings = SparseFeatureSettings(probability=0.05)
    """The inputs; active values are in [0, 1]."""

    training: TargetTrainingSettings = TargetTrainingSettings(
        steps=10_000, batch_size=1024, lr=5e-3, schedule="constant"
    )
    """How the target is trained."""

    max_attempts: int = Field(default=20, ge=1)
    """Targets trained, each from its own seed, before giving up on one that represents every feature."""

    weights_digest: str | None = None
    """Digest of weights that were imported, not trained; null trains them."""

    @model_validator(mode="after")
    def _data_fits(self) -> "ToySuperpositionSettings":
        self.data.check_fits(self.n_features)
        return self


class ToySuperposition(nn.Module):
    """`relu(linear2(hidden_layers(linear1(x))))`, (... F) to (... F); only `linear2` has a bias."""

    def __init__(self, settings: ToySuperpositionSettings) -> None:
        super().__init__()
        n_features, n_hidden = settings.n_features, settings.n_hidden
        self.linear1 = nn.Linear(n_features, n_hidden, bias=False)
        self.hidden_layers = nn.ModuleList(
            nn.Linear(n_hidden, n_hidden, bias=False) for _ in range(settings.n_hidden_layers)
        )
        self.linear2 = nn.Linear(n_hidden, n_features)

    def forward(self, x: Float[Tensor, "... F"]) -> Float[Tensor, "... F"]:
        """Compress the features and read them back."""
        hidden = self.linear1(x)
        for layer in self.hidden_layers:
            hidden = layer(hidden)
        return torch.relu(self.linear2(hidden))


class ToySuperpositionTask:
    """How a toy model of superposition is made, trained and judged."""

    def __init__(self, settings: ToySuperpositionSettings) -> None:
        self.settings = settings
        self.importance = feature_importance(settings.n_features, settings.importance)

    def build(self, seed: int) -> ToySuperposition:
        """An untrained model; equal seeds give equal weights."""
        settings = self.settings
        # Made without values: the usual initialisation draws from the global generator.
        with torch.device("meta"):
            model = ToySuperposition(settings)
        model.to_empty(device="cpu")
        source = generator(seed, "init")
        with torch.no_grad():
            _uniform_init(model.linear1.weight, settings.n_features, source)
            _uniform_init(model.linear2.weight, settings.n_hidden, source)
            _uniform_init(model.linear2.bias, settings.n_hidden, source)
            if settings.init_bias_to_zero:
                model.linear2.bias.zero_()
            for weight in model.hidden_layers.parameters():
                nn.init.eye_(weight)
                if settings.hidden_layer_init == "random":
                    nn.init.orthogonal_(weight, generator=source)
        self.finish(model)
        return model

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """What is trained; a tied pair is one parameter, the weight of `linear1`."""
        assert isinstance(model, ToySuperposition)
        follows = "weight" if self.settings.tied_weights else None
        second = [value for name, value in model.linear2.named_parameters() if name != follows]
        return [*model.linear1.parameters(), *second]

    def loss(self, model: nn.Module, x: Float[Tensor, "B F"]) -> Float[Tensor, ""]:
        """Mean over batch and features of `importance * (x - y)^2`."""
        assert isinstance(model, ToySuperposition)
        if self.settings.tied_weights:
            hidden = F.linear(x, model.linear1.weight)
            for layer in model.hidden_layers:
                hidden = layer(hidden)
            out = torch.relu(F.linear(hidden, model.linear1.weight.T, model.linear2.bias))
        else:
            out = model(x)
        if self.settings.importance == 1.0:
            return F.mse_loss(out, x)
        return (self.importance * (x - out).square()).mean()

    def finish(self, model: nn.Module) -> None:
        """Write the tied weight into both modules, exactly."""
        assert isinstance(model, ToySuperposition)
        if self.settings.tied_weights:
            with torch.no_grad():
                model.linear2.weight.copy_(model.linear1.weight.T)

    def quality(self, model: nn.Module) -> Quality:
        """Count the features that come back from a probe: large enough, and the largest output.

        A feature j is represented when the output for `PROBE_VALUE` at j alone is largest at j and there
        at least `REPRESENTED_FRACTION * PROBE_VALUE`. All must be.
        """
        probes = feature_probes(self.settings.n_features)
        with torch.no_grad():
            out = model(probes) / PROBE_VALUE
        own = out.diagonal()
        others = (out - torch.diag_embed(own)).amax(dim=1)
        represented = (own >= REPRESENTED_FRACTION) & (own > others)
        return represented_quality(
            represented, {"own_output_min": own.min().item(), "other_output_max": others.max().item()}
        )

    def hopeless(self, model: nn.Module) -> bool:
        """Whether some feature is dead: its output is exactly 0 even when it alone is fully on.

        The ReLU then passes no gradient back to it, so more training does not bring it back.
        """
        with torch.no_grad():
            own = model(torch.eye(self.settings.n_features)).diagonal()
        return bool((own == 0).any())


def _uniform_init(parameter: Tensor, fan_in: int, source: torch.Generator) -> None:
    bound = fan_in**-0.5
    parameter.uniform_(-bound, bound, generator=source)
