"""Optimizers by name, over all parameters of a model.

Weight decay acts on the matrices of linear layers; norms, biases and embeddings (of categories, real values and
positions) are left alone unless `decay_all`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sequifier.config.base import Named
from sequifier.config.catalogue.torch_names import OptimizerEntry, check_optimizer, optimizer_entry
from sequifier.errors import ConfigError, Problem
from sequifier.training.muon import build_muon
from sequifier.training.parameter_groups import can_fuse, linear_weights, split_by_decay, trainable

DECAY_OPTIONS = ("weight_decay", "weight_decay_1d", "lambd")
"""The names that the libraries have for a pull of parameters towards 0."""


def build_optimizer(named: Named, model: nn.Module, *, learning_rate: float, decay_all: bool) -> Optimizer:
    """Build the optimizer of a run, over all trainable parameters of a model.

    Args:
        named: name and options; checked here again, so that v1's names work from Python too.
        model: on its final device, before torch.compile renames anything.
        learning_rate: of every parameter. With Muon the AdamW part has it too, because Muon's steps are scaled to
            AdamW's size (`adjust_lr_fn: match_rms_adamw` is the default here); AdaGO, AdaMuon and NorMuon have
            their own `adamw_lr` for that part. A schedule scales both.
        decay_all: weight decay acts on norms, biases and embeddings too.

    Returns:
        One optimizer with one state dict, which `torch.load(weights_only=True)` reads.

    Raises:
        ConfigError: the library refuses the value of an option.
    """
    named = check_optimizer(named)
    entry = optimizer_entry(named.name)
    return construct(named.name, entry, named.options, model, learning_rate=learning_rate, decay_all=decay_all)


def construct(
    name: str,
    entry: OptimizerEntry,
    options: Mapping[str, Any],
    model: nn.Module,
    *,
    learning_rate: float,
    decay_all: bool,
) -> Optimizer:
    """Build an optimizer from an entry, which need not be in the catalogue yet: tools/torch_names.py tries new ones.

    Args:
        name: the class, as its library spells it.
        entry: its library, its options with their defaults, and what must be done for it.
        options: checked options, as a config has them.
        model, learning_rate, decay_all: as in `build_optimizer`.
    """
    options = {
        option: tuple(value) if isinstance(value, list) else value
        for option, value in {**entry.our_defaults, **options}.items()
    }
    optimizer_class: Any = _find_class(name, entry.library)  # each has its own arguments
    try:
        if entry.matrices_only:
            optimizer = build_muon(
                optimizer_class, entry, options, model, learning_rate=learning_rate, decay_all=decay_all
            )
        else:
            parameters = trainable(model)
            fused: dict[str, Any] = {"fused": True} if can_fuse(optimizer_class, options, parameters) else {}
            undecayed = {} if decay_all else _without_decay(entry, options)
            groups = split_by_decay(parameters, linear_weights(model), undecayed)
            optimizer = optimizer_class(groups, lr=learning_rate, **options, **fused)
    except (ValueError, TypeError) as error:
        raise ConfigError([Problem("training_spec.optimizer", f"{name} refuses its options: {error}")]) from error
    for group in optimizer.param_groups:
        group.setdefault("lr", learning_rate)  # A2Grad has none, but a schedule sets one
    if entry.moves_padding:
        _keep_padding_zero(optimizer, model)
    return optimizer


@contextmanager
def evaluation_mode(optimizer: Optimizer) -> Iterator[None]:
    """Put the weights that are evaluated and exported into the model: schedule-free optimizers train on other weights.

    Nothing happens with other optimizers. Afterwards the training weights are restored bit for bit (the library's own
    way back rounds), so that evaluating more often does not change the training.
    """
    if not (hasattr(optimizer, "eval") and hasattr(optimizer, "train")):
        yield
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    saved = [parameter.detach().clone() for parameter in parameters]
    optimizer.eval()
    try:
        yield
    finally:
        optimizer.train()
        with torch.no_grad():
            for parameter, value in zip(parameters, saved, strict=True):
                parameter.copy_(value)


def _find_class(name: str, library: str) -> type[Optimizer]:
    if library == "torch":
        return getattr(torch.optim, name)  # type: ignore[no-any-return]
    import pytorch_optimizer  # 0.6 s, so only for a name that needs it

    return getattr(pytorch_optimizer, name)  # type: ignore[no-any-return]


def _without_decay(entry: OptimizerEntry, options: Mapping[str, Any]) -> dict[str, float]:
    """Return the decay options at 0, for parameters that do not decay; none where nothing decays at all."""
    decays = {
        option: options.get(option, entry.options[option].default)
        for option in DECAY_OPTIONS
        if option in entry.options
    }
    return {option: 0.0 for option, value in decays.items() if value}


def _keep_padding_zero(optimizer: Optimizer, model: nn.Module) -> None:
    """Reset the padding rows of embeddings to 0 after each step, for optimizers whose steps change them."""
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]

    def zero(*_: Any) -> None:
        with torch.no_grad():
            for embedding in embeddings:
                if embedding.padding_idx is not None:
                    embedding.weight[embedding.padding_idx].zero_()

    optimizer.register_step_post_hook(zero)
