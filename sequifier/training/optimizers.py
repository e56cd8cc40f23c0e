"""Optimizers by name, on parameter groups that know what a parameter is for.

Weight decay acts on the matrices of linear layers; norms, biases and embeddings (of categories, real values and
positions) are left alone unless `decay_all`. Muon and its relatives orthogonalise the matrices inside the blocks and
leave all else to AdamW (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/). Query, key and value are
matrices of their own there, though the model stores them as one: the singular values of a stack are not those of its
parts.

Fused kernels: measured with torch 2.13 on 2 CPU threads, one step over 0.26 / 1.0 / 6.8 million parameters:
Adam 0.15 / 0.35 / 2.1 ms fused, 0.45 / 1.0 / 14.8 ms foreach, 0.55 / 1.2 / 19.6 ms one by one; AdamW, SGD and Adagrad
gain the same way.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sequifier.config.base import Named
from sequifier.config.catalogue.torch_names import OptimizerEntry, check_optimizer, optimizer_entry
from sequifier.errors import ConfigError, Problem
from sequifier.model.attention import StackedLinear
from sequifier.model.embedding import RealEmbedding

BLOCK_PREFIX = "blocks."
"""Where the repeated layers of a model live: their matrices are what Muon orthogonalises."""

DECAY_OPTIONS = ("weight_decay", "weight_decay_1d", "lambd")
"""What the libraries call a pull of parameters towards 0."""


def build_optimizer(named: Named, model: nn.Module, *, learning_rate: float, decay_all: bool) -> Optimizer:
    """The optimizer of a run, over all trainable parameters of a model.

    Args:
        named: name and options; checked here again, so that v1's names work from Python too.
        model: on its final device, before torch.compile renames anything.
        learning_rate: of every parameter. With Muon the AdamW part takes it too, because Muon's steps are scaled to
            AdamW's size (`adjust_lr_fn: match_rms_adamw` is the default here); AdaGO, AdaMuon and NorMuon have
            their own `adamw_lr` for that part. A schedule scales both.
        decay_all: weight decay acts on norms, biases and embeddings too.

    Returns:
        One optimizer with one state dict, which `torch.load(weights_only=True)` reads.

    Raises:
        RunError: the library refuses the value of an option.
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
    """`build_optimizer` for an entry that need not be in torch_names.json: what its generator tries.

    Args:
        name: the class, as its library spells it.
        entry: which library, which options with which defaults, and what has to be done for it.
        options: checked options, as a config gives them.
        model, learning_rate, decay_all: as for `build_optimizer`.
    """
    options = {
        option: tuple(value) if isinstance(value, list) else value
        for option, value in {**entry.our_defaults, **options}.items()
    }
    try:
        if entry.matrices_only:
            optimizer = _routed(name, entry, options, model, learning_rate, decay_all)
        else:
            optimizer_class: Any = _find_class(name, entry.library)  # each has its own arguments
            parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
            fused: dict[str, Any] = {"fused": True} if _can_fuse(optimizer_class, options, parameters) else {}
            undecayed = {} if decay_all else _without_decay(entry, options)
            groups = _groups(parameters, _linear_weights(model), undecayed)
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
    """Show the weights that count: schedule-free optimizers train on others than those they stand for.

    For validation and export; nothing happens with other optimizers. Afterwards the training weights are put back
    bit for bit (the library's own way back rounds), so that evaluating more often does not change the training.
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


class OfParts(Optimizer):
    """Lets an optimizer see the matrices of a `StackedLinear` one by one: mixed into its class, before it.

    A part shares memory with its rows of the stored weight, so a step on it is a step on them. The model's backward
    pass knows the stored weight alone: its gradient's rows become the parts' gradients as soon as they are summed.
    """

    wholes: tuple[nn.Parameter, ...] = ()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients, those of the stored weights included."""
        super().zero_grad(set_to_none)
        for whole in self.wholes:
            if set_to_none:
                whole.grad = None
            elif whole.grad is not None:
                whole.grad.zero_()


def _parts_of(weight: nn.Parameter, rows: tuple[int, ...]) -> list[nn.Parameter]:
    """The matrices that are stored in `weight`, as parameters whose gradients follow its own."""
    parts = [nn.Parameter(part) for part in torch.split(weight.detach(), list(rows))]

    def share(whole: Tensor) -> None:
        assert whole.grad is not None
        for part, gradient in zip(parts, torch.split(whole.grad, list(rows)), strict=True):
            part.grad = gradient

    weight.register_post_accumulate_grad_hook(share)  # type: ignore[no-untyped-call]
    return parts


class MuonWithAdamW(OfParts):
    """torch's Muon on some matrices and torch's AdamW on everything else, as one optimizer with one state.

    Args:
        matrices: 2-D parameters for Muon.
        others: parameter groups for AdamW.
        lr: learning rate of both.
        weight_decay: of both; a group of `others` may have its own.
        **muon_options: momentum, nesterov, ns_steps and so on, for Muon alone.
    """

    def __init__(
        self,
        matrices: list[nn.Parameter],
        others: list[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        **muon_options: Any,
    ) -> None:
        muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, **muon_options)
        parameters = [parameter for group in others for parameter in group["params"]]
        fused = True if _can_fuse(torch.optim.AdamW, {}, parameters) else None
        adamw = torch.optim.AdamW(others, lr=lr, weight_decay=weight_decay, fused=fused)
        self._parts = (muon, adamw)
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # load_state_dict comes here with new groups and a new state
        self._share()

    def _share(self) -> None:
        muon, adamw = self._parts
        muon.param_groups, adamw.param_groups = self.param_groups[:1], self.param_groups[1:]
        muon.state = adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both parts."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()  # type: ignore[no-untyped-call]
        return loss


def _find_class(name: str, library: str) -> type[Optimizer]:
    if library == "torch":
        return getattr(torch.optim, name)  # type: ignore[no-any-return]
    import pytorch_optimizer  # 0.6 s, so only for a name that needs it

    return getattr(pytorch_optimizer, name)  # type: ignore[no-any-return]


def _linear_weights(model: nn.Module, prefix: str = "") -> set[Tensor]:
    """The weights of linear layers below `prefix`, without embeddings and those that an embedding shares."""
    embeddings = {module.weight for module in model.modules() if isinstance(module, nn.Embedding | RealEmbedding)}
    return {
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(prefix)
    } - embeddings


def _without_decay(entry: OptimizerEntry, options: Mapping[str, Any]) -> dict[str, float]:
    """The decay options at 0 for a group that is left alone; none where nothing decays: one group is faster."""
    decays = {
        option: options.get(option, entry.options[option].default)
        for option in DECAY_OPTIONS
        if option in entry.options
    }
    return {option: 0.0 for option, value in decays.items() if value}


def _groups(
    parameters: list[nn.Parameter], decayed: set[Tensor], undecayed_options: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Parameter groups in the model's order: the decayed ones, then the others with their decay options at 0."""
    if not undecayed_options:
        return [{"params": parameters}]
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in parameters if parameter in decayed]},
        {"params": [parameter for parameter in parameters if parameter not in decayed], **undecayed_options},
    ]
    return [group for group in groups if group["params"]]


def _routed(
    name: str,
    entry: OptimizerEntry,
    options: Mapping[str, Any],
    model: nn.Module,
    learning_rate: float,
    decay_all: bool,
) -> Optimizer:
    """Muon or a relative on the matrices of the blocks, AdamW on the rest."""
    in_blocks = _linear_weights(model, BLOCK_PREFIX)
    if not in_blocks:
        raise ValueError(f"no linear layer below `{BLOCK_PREFIX}` in {type(model).__name__}")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rows = {module.weight: module.rows for module in model.modules() if isinstance(module, StackedLinear)}
    wholes = tuple(parameter for parameter in trained if parameter in in_blocks and parameter in rows)
    matrices = [
        part
        for parameter in trained
        if parameter in in_blocks
        for part in (_parts_of(parameter, rows[parameter]) if parameter in rows else [parameter])
    ]
    rest = [parameter for parameter in trained if parameter not in in_blocks]
    # Relatives of Muon have a decay of their own for this part, so it is always said.
    others = _groups(rest, _linear_weights(model), {} if decay_all else {"weight_decay": 0.0})
    if entry.library == "torch":
        weight_decay = options.get("weight_decay", entry.options["weight_decay"].default)
        muon_options = {option: value for option, value in options.items() if option != "weight_decay"}
        muon = MuonWithAdamW(matrices, others, lr=learning_rate, weight_decay=weight_decay, **muon_options)
        muon.wholes = wholes
        return muon
    groups: list[dict[str, Any]] = [{"params": matrices, "lr": learning_rate, "use_muon": True}]
    groups += [group | {"use_muon": False} for group in others]
    optimizer_class: Any = type(name, (OfParts, _find_class(name, entry.library)), {})
    optimizer: OfParts = optimizer_class(groups, **options)
    optimizer.wholes = wholes
    return optimizer


def _can_fuse(optimizer_class: type[Optimizer], options: Mapping[str, Any], parameters: list[nn.Parameter]) -> bool:
    on_cuda = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
    device_types = {"cuda", "cpu"} if optimizer_class in on_cuda else set()
    if optimizer_class is torch.optim.Adagrad:
        device_types = {"cpu"}
    chosen = {"fused", "foreach"} & options.keys()  # the user's own choice stands
    return not chosen and all(
        parameter.dtype == torch.float32 and parameter.device.type in device_types for parameter in parameters
    )


def _keep_padding_zero(optimizer: Optimizer, model: nn.Module) -> None:
    """Set the padding rows of embeddings back to 0 after each step, for optimizers whose steps move them."""
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]

    def zero(*_: Any) -> None:
        with torch.no_grad():
            for embedding in embeddings:
                if embedding.padding_idx is not None:
                    embedding.weight[embedding.padding_idx].zero_()

    optimizer.register_step_post_hook(zero)
