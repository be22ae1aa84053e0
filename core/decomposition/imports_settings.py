"""Settings of published decompositions, translated into ours.

The published file has had several versions; the names of all of them are understood where they say
something that decides what the run computes. Fields that only concern logging or logistics are dropped.
"""

from collections.abc import Mapping
from typing import Any

from core.decomposition.imports_fields import Plain, mapping, mappings, need, whole
from core.decomposition.imports_importance import imported_importance
from core.decomposition.settings import DecompositionSettings, settings_from
from core.errors import UsageError

_TASKS = {"tms": "tms", "resid_mlp": "resid_mlp", "residual_mlp": "resid_mlp"}

_RECONSTRUCTIONS: dict[str, tuple[str, str, str]] = {
    # published name: (our name for the term, mask source, routing)
    "UnmaskedReconLoss": ("unmasked", "unmasked", "all"),
    "CIMaskedReconLoss": ("importance_masked", "importance", "all"),
    "CIMaskedReconSubsetLoss": ("importance_masked_subset", "importance", "subset"),
    "CIMaskedReconLayerwiseLoss": ("importance_masked_layerwise", "importance", "layerwise"),
    "StochasticReconLoss": ("stochastic", "stochastic", "all"),
    "StochasticReconSubsetLoss": ("stochastic_subset", "stochastic", "subset"),
    "StochasticReconLayerwiseLoss": ("stochastic_layerwise", "stochastic", "layerwise"),
    "PGDReconLoss": ("adversarial", "adversarial", "all"),
    "PGDReconSubsetLoss": ("adversarial_subset", "adversarial", "subset"),
    "PGDReconLayerwiseLoss": ("adversarial_layerwise", "adversarial", "layerwise"),
}
_OTHER_LOSSES = ("FaithfulnessLoss", "ImportanceMinimalityLoss", "StochasticHiddenActsReconLoss")

_FIRST_VERSION_COEFFICIENTS = {
    "faithfulness_coeff": "FaithfulnessLoss",
    "importance_minimality_coeff": "ImportanceMinimalityLoss",
    "recon_coeff": "CIMaskedReconLoss",
    "ci_recon_coeff": "CIMaskedReconLoss",
    "recon_layerwise_coeff": "CIMaskedReconLayerwiseLoss",
    "ci_recon_layerwise_coeff": "CIMaskedReconLayerwiseLoss",
    "stochastic_recon_coeff": "StochasticReconLoss",
    "stochastic_recon_layerwise_coeff": "StochasticReconLayerwiseLoss",
}


def target_config_name(config: Mapping[str, Any], source: str) -> str:
    """The file with the target's training settings that belongs to a run of this task.

    Raises:
        UsageError: a task that cannot be imported.
    """
    return f"{_task(config, source)}_train_config.yaml"


def imported_settings(
    config: Plain, target_config: Plain, digest: str | None, source: str
) -> DecompositionSettings:
    """Our settings for a published run; `digest` names the target's imported weights.

    Raises:
        UsageError: a task, loss or importance function that is not supported, a missing or wrong value.
    """
    modules = _modules(config, source)
    data: Plain = {
        "recipe": "imported",
        "seed": config.get("seed", 0),
        "target": _target(config, target_config, digest, source),
        "components": {
            "modules": modules["modules"],
            "identities": modules["identities"],
            "weight_delta": config.get("use_delta_component", True),
        },
        "importance": imported_importance(config, source),
        "losses": _losses(config, source),
        "training": _training(config, source),
        "evaluation": _evaluation(config, source),
        "record": {
            "log_every": config.get("train_log_freq", 100),
            "checkpoint_every": config.get("save_freq") or need(config, "steps", source),
        },
    }
    return settings_from(data, source)


def _task(config: Mapping[str, Any], source: str) -> str:
    name = str(mapping(config.get("task_config"), "task_config", source).get("task_name"))
    if name in _TASKS:
        return _TASKS[name]
    if name == "lm":
        model = config.get("pretrained_model_class") or "a language model"
        raise UsageError(
            f"{source} decomposes a language model ({model}); language-model targets cannot be imported yet.",
            "Supported tasks: tms, resid_mlp.",
        )
    raise UsageError(
        f"{source} has the task {name!r}, which cannot be imported.", "Supported: tms, resid_mlp."
    )


def _modules(config: Plain, source: str) -> Plain:
    if "module_info" in config:
        chosen = {"modules": config["module_info"], "identities": config.get("identity_module_info")}
        return {key: _patterns(value or [], key, source) for key, value in chosen.items()}
    # Earlier files have one C for everything.
    count = need(config, "C", source)
    chosen = {
        "modules": need(config, "target_module_patterns", source),
        "identities": config.get("identity_module_patterns"),
    }
    return {key: [{"pattern": p, "C": count} for p in value or []] for key, value in chosen.items()}


def _patterns(items: Any, name: str, source: str) -> list[Plain]:
    return [
        {"pattern": need(item, "module_pattern", source), "C": need(item, "C", source)}
        for item in mappings(items, name, source)
    ]


def _losses(config: Plain, source: str) -> Plain:
    items = config.get("loss_metric_configs")
    if items is None:
        items = [
            {**config, "classname": classname, "coeff": config[key]}
            for key, classname in _FIRST_VERSION_COEFFICIENTS.items()
            if config.get(key)
        ]
    losses: Plain = {}
    for item in mappings(items, "loss_metric_configs", source):
        name, loss = _loss(item, config, source)
        number = 2
        while (unique := name if name not in losses else f"{name}_{number}") in losses:
            number += 1
        losses[unique] = loss
    return losses


def _loss(item: Plain, config: Plain, source: str) -> tuple[str, Plain]:
    classname = str(item.get("classname"))
    coeff = item.get("coeff") or 0
    stochastic = {"kind": "stochastic", "samples": config.get("n_mask_samples", 1)}
    if classname == "FaithfulnessLoss":
        return "faithfulness", {"kind": "faithfulness", "coeff": coeff}
    if classname == "ImportanceMinimalityLoss":
        return "minimality", {
            "kind": "minimality",
            "coeff": coeff,
            "p": need(item, "pnorm", source),
            "p_final": item.get("p_anneal_final_p"),
            "anneal_start": item.get("p_anneal_start_frac", 1.0),
            "anneal_end": item.get("p_anneal_end_frac", 1.0),
            "beta": item.get("beta", 0.0),
            "eps": item.get("eps", 1e-12),
        }
    if classname == "StochasticHiddenActsReconLoss":
        return "hidden_activations", {"kind": "hidden_activations", "coeff": coeff, "masks": stochastic}
    if classname not in _RECONSTRUCTIONS:
        known = sorted((*_RECONSTRUCTIONS, *_OTHER_LOSSES))
        raise UsageError(
            f"{source} has the loss {classname!r}, which is not supported.", f"Supported: {', '.join(known)}."
        )
    name, masks, routing = _RECONSTRUCTIONS[classname]
    chosen: Plain = {"kind": masks}
    if masks == "stochastic":
        chosen = stochastic
    elif masks == "adversarial":
        chosen |= {
            "init": "zeros" if item.get("init") == "zeroes" else item.get("init", "random"),
            "step_size": need(item, "step_size", source),
            "n_steps": need(item, "n_steps", source),
            "scope": need(item, "mask_scope", source),
        }
    return name, {
        "kind": "reconstruction",
        "coeff": coeff,
        "masks": chosen,
        "routing": _routing(routing, item, source),
    }


def _routing(kind: str, item: Plain, source: str) -> Plain:
    if kind != "subset" or item.get("routing") is None:
        return {"kind": kind}
    routing = mapping(item["routing"], "routing", source)
    if routing.get("type") == "static_probability":
        return {"kind": "probability", "probability": need(routing, "p", source)}
    if routing.get("type", "uniform_k_subset") != "uniform_k_subset":
        raise UsageError(
            f"{source} has the routing {routing['type']!r}, which is not supported.",
            "Supported: uniform_k_subset, static_probability.",
        )
    return {"kind": "subset"}


def _training(config: Plain, source: str) -> Plain:
    return {
        "steps": need(config, "steps", source),
        "batch_size": need(config, "batch_size", source),
        "lr": _schedule(config, source),
        "weight_decay": 0.0,
        "clip_components": config.get("grad_clip_norm_components"),
        "clip_importance": config.get("grad_clip_norm_ci_fns"),
        "warmup": {
            "steps": config.get("faithfulness_warmup_steps", 0),
            "lr": config.get("faithfulness_warmup_lr", 1e-3),
            "weight_decay": config.get("faithfulness_warmup_weight_decay", 0.0),
        },
        "distance": config.get("output_loss_type"),
    }


def _schedule(config: Plain, source: str) -> Plain:
    schedule = (
        need(config, "lr_schedule", source) if "lr" not in config else config.get("lr_schedule", "constant")
    )
    if isinstance(schedule, str):
        # Earlier files name a shape beside the rate; it always ended at zero.
        return {
            "start": need(config, "lr", source),
            "kind": schedule,
            "warmup": config.get("lr_warmup_pct", 0.0),
            "final": 1.0 if schedule == "constant" else 0.0,
        }
    schedule = mapping(schedule, "lr_schedule", source)
    return {
        "start": need(schedule, "start_val", source),
        "kind": schedule.get("fn_type", "constant"),
        "warmup": schedule.get("warmup_pct", 0.0),
        "final": schedule.get("final_val_frac", 1.0),
    }


def _evaluation(config: Plain, source: str) -> Plain:
    every = whole(config, "eval_freq", 1000, source)
    slow = whole(config, "slow_eval_freq", every, source)
    data: Plain = {
        "every": every,
        "figures_every": every * max(1, slow // every),
        "batches": config.get("n_eval_steps", 10),
        "alive_threshold": config.get("ci_alive_threshold", 0.0),
    }
    for item in mappings(config.get("eval_metric_configs") or [], "eval_metric_configs", source):
        if item.get("classname") == "CI_L0" and item.get("groups"):
            data["groups"] = item["groups"]
        if item.get("classname") == "IdentityCIError":
            data["solution"] = {
                "identity": [
                    {
                        "pattern": need(rule, "layer_pattern", source),
                        "n_features": need(rule, "n_features", source),
                    }
                    for rule in mappings(item.get("identity_ci") or [], "identity_ci", source)
                ],
                "dense": [
                    {"pattern": need(rule, "layer_pattern", source), "k": need(rule, "k", source)}
                    for rule in mappings(item.get("dense_ci") or [], "dense_ci", source)
                ],
            }
    if _task(config, source) == "tms":
        data["feature_weights"] = {"linear1": "inputs", "linear2": "outputs"}
    return data


def _target(config: Plain, target_config: Plain, digest: str | None, source: str) -> Plain:
    task = mapping(config.get("task_config"), "task_config", source)
    kind = _task(config, source)
    nested = target_config.get(f"{kind}_model_config") or target_config.get(f"{kind}_config")
    model = mapping(nested or target_config, f"{kind}_model_config", source)
    data: Plain = {
        "data": {
            "probability": need(task, "feature_probability", source),
            "generation": task.get("data_generation_type", "at_least_zero_active"),
            "synced_inputs": target_config.get("synced_inputs") or [],
        },
        "weights_digest": digest,
    }
    if "lr" in target_config:
        # For the record only: imported weights are not trained, so a shape we lack may be simplified.
        shape = target_config.get("lr_schedule")
        data["training"] = {
            "steps": need(target_config, "steps", source),
            "batch_size": need(target_config, "batch_size", source),
            "lr": target_config["lr"],
            "schedule": "cosine" if shape == "cosine" else "constant",
        }
    if kind == "tms":
        random = target_config.get("fixed_random_hidden_layers", False)
        return data | {
            "kind": "toy_superposition",
            "n_features": need(model, "n_features", source),
            "n_hidden": need(model, "n_hidden", source),
            "n_hidden_layers": model.get("n_hidden_layers", 0),
            "hidden_layer_init": "random" if random else "identity",
            "tied_weights": model.get("tied_weights", False),
            "init_bias_to_zero": model.get("init_bias_to_zero", False),
        }
    return data | {
        "kind": "residual_mlp",
        "n_features": need(model, "n_features", source),
        "d_embed": need(model, "d_embed", source),
        "n_layers": need(model, "n_layers", source),
        "d_mlp": need(model, "d_mlp", source),
        "activation": model.get("act_fn_name", "relu"),
        "in_bias": model.get("in_bias", False),
        "out_bias": model.get("out_bias", False),
        "label": "absolute" if target_config.get("label_type") == "abs" else "act_plus_identity",
        "label_coefficients": "ones" if target_config.get("use_trivial_label_coeffs") else "random",
        "importance": target_config.get("importance_val") or 1.0,
    }
