"""Muon and its relatives: they orthogonalise the updates of the matrices in the blocks, AdamW updates everything else.

Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. The model stores the matrices of queries, keys
and values as one. They are separate matrices here: the singular values of a stack are not those of its parts.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sequifier.config.catalogue.torch_names import OptimizerEntry
from sequifier.model.attention import StackedLinear
from sequifier.training.parameter_groups import can_fuse, linear_weights, split_by_decay, trainable

BLOCK_PREFIX = "blocks."
"""Where a model has its repeated layers, whose matrices are orthogonalised."""


def build_muon(
    optimizer_class: type[Optimizer],
    entry: OptimizerEntry,
    options: Mapping[str, Any],
    model: nn.Module,
    *,
    learning_rate: float,
    decay_all: bool,
) -> Optimizer:
    """Build Muon or a relative for the matrices of the blocks, with AdamW for the rest; see `build_optimizer`.

    Args:
        optimizer_class: torch's Muon, or a class whose groups say `use_muon`.
        entry: its entry in the catalogue.
        options, model, learning_rate, decay_all: as in `build_optimizer`.
    """
    in_blocks = linear_weights(model, BLOCK_PREFIX)
    if not in_blocks:
        raise ValueError(f"no linear layer below `{BLOCK_PREFIX}` in {type(model).__name__}")
    rows = {module.weight: module.rows for module in model.modules() if isinstance(module, StackedLinear)}
    matrices, stacks, rest = [], [], []
    for parameter in trainable(model):
        if parameter not in in_blocks:
            rest.append(parameter)
        elif parameter in rows:
            matrices += _parts_of(parameter, rows[parameter])
            stacks.append(parameter)
        else:
            matrices.append(parameter)
    # Relatives of Muon have another default for this part, so its decay is always given.
    others = split_by_decay(rest, linear_weights(model), {} if decay_all else {"weight_decay": 0.0})
    optimizer: OnParts
    if optimizer_class is torch.optim.Muon:
        options = {"weight_decay": entry.options["weight_decay"].default, **options}
        optimizer = MuonWithAdamW(matrices, others, lr=learning_rate, **options)
    else:
        groups: list[dict[str, Any]] = [{"params": matrices, "lr": learning_rate, "use_muon": True}]
        groups += [group | {"use_muon": False} for group in others]
        on_parts: Any = type(optimizer_class.__name__, (OnParts, optimizer_class), {})
        optimizer = on_parts(groups, **options)
    optimizer.stacks = tuple(stacks)
    return optimizer


class OnParts(Optimizer):
    """Lets an optimizer step on the matrices of a `StackedLinear` one by one: a base of its class, before all others.

    A part shares memory with its rows of the stored weight, so a step on the part is a step on those rows. The model's
    backward pass has gradients of the stored weight alone; their rows become the gradients of the parts.

    Attributes:
        stacks: the stored weights.
    """

    stacks: tuple[nn.Parameter, ...] = ()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset all gradients, also of the stored weights."""
        super().zero_grad(set_to_none)
        for stack in self.stacks:
            if set_to_none:
                stack.grad = None
            elif stack.grad is not None:
                stack.grad.zero_()


def _parts_of(weight: nn.Parameter, rows: tuple[int, ...]) -> list[nn.Parameter]:
    """Return the matrices that are stored in `weight`, as parameters whose gradients follow its gradient."""
    parts = [nn.Parameter(part) for part in torch.split(weight.detach(), list(rows))]

    def share(stack: Tensor) -> None:
        assert stack.grad is not None
        for part, gradient in zip(parts, torch.split(stack.grad, list(rows)), strict=True):
            part.grad = gradient

    weight.register_post_accumulate_grad_hook(share)  # type: ignore[no-untyped-call]
    return parts


class MuonWithAdamW(OnParts):
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
        fused = True if can_fuse(torch.optim.AdamW, {}, parameters) else None
        adamw = torch.optim.AdamW(others, lr=lr, weight_decay=weight_decay, fused=fused)
        self._parts = (muon, adamw)
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # load_state_dict calls this with new groups and a new state
        self._share()

    def _share(self) -> None:
        muon, adamw = self._parts
        muon.param_groups, adamw.param_groups = self.param_groups[:1], self.param_groups[1:]
        muon.state = adamw.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step with both parts."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()  # type: ignore[no-untyped-call]
        return loss
