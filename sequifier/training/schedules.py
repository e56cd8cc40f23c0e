"""Learning-rate schedules by name, with a linear warm-up on top of any of them.

Torch's schedulers compute the next rate from the last one, so a factor written into the optimizer would compound.
Here a scheduler changes a stand-in optimizer that holds rates and momenta alone; the real optimizer gets the stand-in's
rate times the warm-up factor. The stand-in's `step` does nothing: torch checks that it is called before a scheduler's.
"""

import copy
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch.optim import Optimizer, lr_scheduler

from sequifier.config.base import Named
from sequifier.config.catalogue.schedules import StepOn, resolve_auto
from sequifier.config.catalogue.torch_names import NESTING, check_scheduler, scheduler_parts
from sequifier.errors import ConfigError, Problem

PER_GROUP_RATES = ("max_lr", "base_lr")
"""Options that are learning rates: a group with half the learning rate gets half of these too."""


class Schedule:
    """Sets the learning rate (and a cycled momentum) of an optimizer, step by step.

    The rate of optimizer step n (from 0) is the scheduler's rate times min(1, (n + 1) / warmup_steps).

    Args:
        scheduler: builds torch's scheduler on the stand-in optimizer.
        optimizer: the real one, as built; its rates for the first step are set at once.
        step_on: whether the scheduler advances after each optimizer step or each epoch.
        warmup_steps: length of the warm-up in optimizer steps; 0 for none.
    """

    def __init__(
        self,
        scheduler: "Callable[[_StandIn], lr_scheduler.LRScheduler]",
        optimizer: Optimizer,
        *,
        step_on: StepOn,
        warmup_steps: int,
    ) -> None:
        self.optimizer = optimizer
        self.step_on = step_on
        self.warmup_steps = warmup_steps
        self.optimizer_steps = 0
        self._stand_in = _StandIn(optimizer)
        self._scheduler = scheduler(self._stand_in)
        # A scheduler that cycles the momentum, and no other, writes its bounds into the groups.
        self._cycled = [name for name in self._stand_in.momenta if "max_momentum" in self._stand_in.param_groups[0]]
        self._stand_in.step()
        self._apply()

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next optimizer step, in the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, kind: Literal["epoch", "batch"], metric: float | None = None) -> None:
        """Set the rates after an optimizer step ("batch") or an epoch. Call it after both, whatever `step_on` is.

        Args:
            kind: what has ended.
            metric: at the end of an epoch, the value that ReduceLROnPlateau watches; other schedulers ignore it.
        """
        if kind == "batch":
            self.optimizer_steps += 1
        if isinstance(self._scheduler, lr_scheduler.ReduceLROnPlateau):
            if kind == "epoch":
                if metric is None:
                    raise ValueError("ReduceLROnPlateau needs the epoch's metric")
                self._scheduler.step(metric)
        elif kind == self.step_on and not self._is_complete():
            self._scheduler.step()
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run restores, in plain values that load with weights_only."""
        return {
            "optimizer_steps": self.optimizer_steps,
            "scheduler": copy.deepcopy(self._scheduler.state_dict()),
            "groups": self._stand_in.values(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state_dict`, with its lengths and factors of the scheduler."""
        self.optimizer_steps = state["optimizer_steps"]
        self._scheduler.load_state_dict(copy.deepcopy(state["scheduler"]))
        for group, values in zip(self._stand_in.param_groups, state["groups"], strict=True):
            group.update(values)
        self._apply()

    def _is_complete(self) -> bool:
        # OneCycleLR ends with its last step; one more would raise the rate again, or fail.
        scheduler = self._scheduler
        return isinstance(scheduler, lr_scheduler.OneCycleLR) and scheduler.last_epoch >= scheduler.total_steps - 1

    def _apply(self) -> None:
        factor = min(1.0, (self.optimizer_steps + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        for group, planned in zip(self.optimizer.param_groups, self._stand_in.param_groups, strict=True):
            group["lr"] = planned["lr"] * factor
            for momentum in self._cycled:
                group[momentum] = planned[momentum]


def build_schedule(
    named: Named, optimizer: Optimizer, *, epochs: int, steps: int, step_on: StepOn, warmup_steps: int
) -> Schedule:
    """Build the schedule of a run.

    Args:
        named: name and options; `auto` is resolved here where it is left.
        optimizer: with the run's learning rate in each group.
        epochs: epochs of the run.
        steps: optimizer steps of the run.
        step_on: when the scheduler advances; ReduceLROnPlateau always does after an epoch.
        warmup_steps: optimizer steps of linear warm-up.

    Raises:
        ConfigError: torch refuses the options, or the optimizer has no momentum to cycle.
    """
    try:
        named = resolve_auto(check_scheduler(named), epochs, steps, step_on)
        return Schedule(
            lambda stand_in: _scheduler(named, stand_in), optimizer, step_on=step_on, warmup_steps=warmup_steps
        )
    except (ValueError, TypeError, ZeroDivisionError) as error:
        what = f"{named.name} refuses its options: {error}"
        raise ConfigError([Problem("training_spec.scheduler", what)]) from error


def _scheduler(named: Named, stand_in: "_StandIn") -> lr_scheduler.LRScheduler:
    if named.name in NESTING:
        parts = [_scheduler(part, stand_in) for part in scheduler_parts(named)]
        if named.name == "ChainedScheduler":
            return lr_scheduler.ChainedScheduler(parts, optimizer=stand_in)
        return lr_scheduler.SequentialLR(stand_in, parts, milestones=named.options["milestones"])
    options = named.options
    for option in PER_GROUP_RATES:
        if option in options:
            options[option] = [options[option] * share for share in stand_in.shares]
    return getattr(lr_scheduler, named.name)(stand_in, **options)  # type: ignore[no-any-return]


class _StandIn(Optimizer):
    """What a scheduler reads and writes in each group of the real optimizer: rate, and momentum or betas."""

    def __init__(self, optimizer: Optimizer) -> None:
        groups = optimizer.param_groups
        self.momenta = [name for name in ("betas", "momentum") if all(group.get(name) is not None for group in groups)][
            :1
        ]
        kept = ["lr", *self.momenta]
        held = [{"params": [torch.zeros(0)]} | {name: group[name] for name in kept} for group in groups]
        self.shares = [group["lr"] / groups[0]["lr"] for group in groups]
        super().__init__(held, {name: groups[0][name] for name in kept})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Do nothing: the real optimizer changes the parameters."""
        return None

    def values(self) -> list[dict[str, Any]]:
        """Return the groups without their parameters."""
        return [{key: value for key, value in group.items() if key != "params"} for group in self.param_groups]
