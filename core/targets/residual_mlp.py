"""Residual MLP: sparse features embedded in a wide residual stream, each to be passed through a nonlinearity.

    h_0 = W_E x,   h_l = h_{l-1} + W_out_l act(W_in_l h_{l-1}),   y = W_U h_L,   W_U = W_E^T fixed

There are more features than neurons, so the layers compute in superposition (arXiv 2506.20790, section 3.2).
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

COMPUTED_FRACTION = 0.25
"""A feature counts as computed when the network adds at least this fraction of the wanted nonlinearity.

With half as many neurons as features the best a network can do on inputs with p = 0.01 is about 0.57 on
average and 0.35 to 0.45 for the worst feature; a feature that is only passed through has 0.
"""

_ACTIVATIONS = {"relu": torch.relu, "gelu": F.gelu}


class ResidualMLPSettings(Settings):
    """The shape, data and training of a residual MLP."""

    kind: Literal["residual_mlp"] = "residual_mlp"
    """Which kind of target this is."""

    n_features: int = Field(default=100, ge=1)
    """Number of features F: width of input and output."""

    d_embed: int = Field(default=1000, ge=1)
    """Width of the residual stream."""

    n_layers: int = Field(default=1, ge=1)
    """Number of MLP layers."""

    d_mlp: int = Field(default=50, ge=1)
    """Neurons of each layer."""

    activation: Literal["relu", "gelu"] = "relu"
    """Nonlinearity of the neurons and of the labels."""

    in_bias: bool = False
    """Whether `mlp_in` has a (trained) bias."""

    out_bias: bool = False
    """Whether `mlp_out` has a (trained) bias."""

    label: Literal["act_plus_identity", "absolute"] = "act_plus_identity"
    """What is learnt: `act(c x) + x`, or `|c x|`."""

    label_coefficients: Literal["ones", "random"] = "ones"
    """The c of each feature in the label: 1, or drawn from U[1, 2)."""

    importance: float = Field(default=1.0, gt=0.0, le=1.0)
    """Ratio of the loss weight of each feature to the one before it."""

    data: SparseFeatureSettings = SparseFeatureSettings(probability=0.01)
    """The inputs; active values are in [-1, 1]."""

    training: TargetTrainingSettings = TargetTrainingSettings(
        steps=1000, batch_size=2048, lr=3e-3, schedule="cosine"
    )
    """How the target is trained."""

    max_attempts: int = Field(default=5, ge=1)
    """Targets trained, each from its own seed, before giving up on one that computes every feature."""

    weights_digest: str | None = None
    """Digest of weights that were imported, not trained; null trains them."""

    @model_validator(mode="after")
    def _data_fits(self) -> "ResidualMLPSettings":
        self.data.check_fits(self.n_features)
        return self


class ResidualMLPLayer(nn.Module):
    """One MLP: `mlp_out(act(mlp_in(h)))`, (... d_embed) to (... d_embed)."""

    def __init__(self, settings: ResidualMLPSettings) -> None:
        super().__init__()
        self.mlp_in = nn.Linear(settings.d_embed, settings.d_mlp, bias=settings.in_bias)
        self.mlp_out = nn.Linear(settings.d_mlp, settings.d_embed, bias=settings.out_bias)
        self.activation = _ACTIVATIONS[settings.activation]

    def forward(self, h: Float[Tensor, "... d_embed"]) -> Float[Tensor, "... d_embed"]:
        """What the layer adds to the residual stream."""
        return self.mlp_out(self.activation(self.mlp_in(h)))


class ResidualMLP(nn.Module):
    """Embedding, residual layers, unembedding: (... F) to (... F); `W_E` and `W_U` are fixed."""

    linear_stream = True
    """The stream is only added to and read by linear layers: a decomposition may keep it in factors."""

    def __init__(self, settings: ResidualMLPSettings) -> None:
        super().__init__()
        self.W_E = nn.Linear(settings.n_features, settings.d_embed, bias=False)
        self.layers = nn.ModuleList(ResidualMLPLayer(settings) for _ in range(settings.n_layers))
        self.W_U = nn.Linear(settings.d_embed, settings.n_features, bias=False)

    def forward(self, x: Float[Tensor, "... F"]) -> Float[Tensor, "... F"]:
        """Embed, let every layer add to the stream, read the features off."""
        h = self.W_E(x)
        for layer in self.layers:
            h = h + layer(h)
        return self.W_U(h)

    def folded_forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        """The same outputs without the residual stream; needs layers without biases.

        Everything between two nonlinearities is linear, so W_E and W_U can be multiplied into the layers'
        matrices first: `W_in_l W_E` (d_mlp F), `W_in_l W_out_k` (d_mlp d_mlp) for k < l and `W_U W_out_l`
        (F d_mlp). A batch then never has the width of the stream, 5 to 10 times less arithmetic.
        """
        embed, unembed = self.W_E.weight, self.W_U.weight
        out = x @ (unembed @ embed).T
        hidden: list[tuple[Tensor, Tensor]] = []
        for layer in self.layers:
            assert isinstance(layer, ResidualMLPLayer)
            w_in, w_out = layer.mlp_in.weight, layer.mlp_out.weight
            pre = x @ (w_in @ embed).T
            for earlier, earlier_out in hidden:
                pre = pre + earlier @ (w_in @ earlier_out).T
            acts = layer.activation(pre)
            hidden.append((acts, w_out))
            out = out + acts @ (unembed @ w_out).T
        return out


class ResidualMLPTask:
    """How a residual MLP is made, trained and judged."""

    def __init__(self, settings: ResidualMLPSettings, seed: int) -> None:
        self.settings = settings
        self.importance = feature_importance(settings.n_features, settings.importance)
        self.activation = _ACTIVATIONS[settings.activation]
        self.coefficients = torch.ones(settings.n_features)
        if settings.label_coefficients == "random":
            source = generator(seed, "label-coefficients")
            self.coefficients += torch.rand(settings.n_features, generator=source)

    def label(self, x: Float[Tensor, "... F"]) -> Float[Tensor, "... F"]:
        """What the network should answer to `x`."""
        if self.settings.label == "absolute":
            return (self.coefficients * x).abs()
        return self.activation(self.coefficients * x) + x

    def build(self, seed: int) -> ResidualMLP:
        """An untrained model; equal seeds give equal weights."""
        # Made without values: the usual initialisation draws from the global generator.
        with torch.device("meta"):
            model = ResidualMLP(self.settings)
        model.to_empty(device="cpu")
        source = generator(seed, "init")
        with torch.no_grad():
            rows = torch.randn(self.settings.n_features, self.settings.d_embed, generator=source)
            rows = rows / rows.norm(dim=1, keepdim=True)
            model.W_E.weight.copy_(rows.T)
            model.W_U.weight.copy_(rows)
            for parameter in self.parameters(model):
                if parameter.dim() == 1:
                    parameter.zero_()
                else:
                    # Kaiming: pre-activations keep the variance of the stream.
                    parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=source)
        return model

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """What is trained: the layers, not the embedding."""
        assert isinstance(model, ResidualMLP)
        return list(model.layers.parameters())

    def loss(self, model: nn.Module, x: Float[Tensor, "B F"]) -> Float[Tensor, ""]:
        """Mean over batch and features of `importance * (label - y)^2`, read off after `W_U`."""
        assert isinstance(model, ResidualMLP)
        biased = self.settings.in_bias or self.settings.out_bias
        out = model(x) if biased else model.folded_forward(x)
        if self.settings.importance == 1.0:
            return F.mse_loss(out, self.label(x))
        return (self.importance * (self.label(x) - out).square()).mean()

    def finish(self, model: nn.Module) -> None:
        """Nothing is left over: every parameter is trained itself or fixed."""

    def quality(self, model: nn.Module) -> Quality:
        """Count the features whose nonlinearity is computed, not merely passed through.

        For probes of +-`PROBE_VALUE` at feature j the even part of the output at j, `y_j(+) + y_j(-)`, is
        0 for any linear network and `label(+) + label(-)` for a perfect one. Their ratio is the computed
        fraction; it must be at least `COMPUTED_FRACTION` for every feature. `other_error_max` is the
        largest wrong answer at any other feature, as a fraction of the probe.
        """
        probes = feature_probes(self.settings.n_features)
        with torch.no_grad():
            positive, negative = model(probes), model(-probes)
        wanted = self.label(probes) + self.label(-probes)
        computed = ((positive + negative) / wanted).diagonal()
        error = torch.maximum((positive - self.label(probes)).abs(), (negative - self.label(-probes)).abs())
        others = (error - torch.diag_embed(error.diagonal())).max()
        return represented_quality(
            computed >= COMPUTED_FRACTION,
            {
                "computed_fraction_min": computed.min().item(),
                "computed_fraction_mean": computed.mean().item(),
                "other_error_max": others.item() / PROBE_VALUE,
            },
            verb="computed",
        )

    def hopeless(self, model: nn.Module) -> bool:
        """Never: a feature that is not computed early can still become so."""
        return False
