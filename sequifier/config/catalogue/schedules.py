"""Lengths of learning-rate schedulers: resolve the word `auto`, and check lengths against the run.

No torch here: a search resolves and checks every scheduler before anything trains.
"""

from typing import Any, Literal

from sequifier.config.base import Named
from sequifier.config.catalogue.torch_names import AUTO, AUTO_OPTIONS, NESTING, optimizer_entry, scheduler_parts

StepOn = Literal["epoch", "batch"]

UNIT = {"epoch": "epochs", "batch": "optimizer steps"}


def resolve_auto(named: Named, epochs: int, steps: int, step_on: StepOn) -> Named:
    """The scheduler with each `auto` replaced by a number.

    `T_max`, `T_0`, `total_steps` and `total_iters` become the length of the run in what `step_on` counts;
    OneCycleLR's `epochs` and `steps_per_epoch` become two numbers whose product is at least that length. Inside a
    SequentialLR `auto` is the length of the scheduler's own part, from one milestone to the next.

    Args:
        named: as `check_scheduler` returns it.
        epochs: epochs of the run.
        steps: optimizer steps of the run, `max_steps` considered.
        step_on: what advances the scheduler.

    Raises:
        ValueError: a milestone leaves no length for a part with `auto`.
    """
    length = _length(epochs, steps, step_on)
    if named.name in NESTING:
        options = named.options
        parts = scheduler_parts(named)
        lengths = [length] * len(parts)
        if named.name == "SequentialLR":
            ends = [*options["milestones"], length]
            lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        resolved = [_with_length(part, part_length, epochs=1) for part, part_length in zip(parts, lengths, strict=True)]
        options["schedulers"] = [{"name": part.name, **part.options} for part in resolved]
        return Named(name=named.name, **options)
    return _with_length(named, length, epochs=epochs if step_on == "batch" else length)


def length_warning(named: Named, epochs: int, steps: int, step_on: StepOn) -> str | None:
    """A warning when the length of a resolved scheduler does not match the run; else None."""
    length, unit = _length(epochs, steps, step_on), UNIT[step_on]
    options = named.options
    if named.name == "CosineAnnealingLR" and options["T_max"] != length:
        after = "rises again after that" if options["T_max"] < length else "does not reach its end"
        return f"T_max is {options['T_max']}, the run has {length} {unit}: the learning rate {after}"
    if named.name == "PolynomialLR" and (total := options.get("total_iters", 5)) != length:
        after = "is 0 after that" if total < length else "does not reach its end"
        return f"total_iters is {total}, the run has {length} {unit}: the learning rate {after}"
    if named.name == "OneCycleLR" and (total := one_cycle_steps(named) or 0) > length:
        return f"OneCycleLR has {total} steps, the run {length} {unit}: the learning rate does not reach its end"
    if named.name == "StepLR" and options["step_size"] > length:
        return f"step_size is {options['step_size']}, the run has {length} {unit}: the learning rate never changes"
    late = [milestone for milestone in options.get("milestones", []) if milestone >= length]
    if late:
        return f"milestone {late[0]} is never reached: the run has {length} {unit}"
    return None


def length_error(named: Named, epochs: int, steps: int, step_on: StepOn) -> str | None:
    """Why a resolved scheduler cannot be used for this run: OneCycleLR has fewer steps than the run."""
    length, unit = _length(epochs, steps, step_on), UNIT[step_on]
    if named.name != "OneCycleLR":
        return None
    total = one_cycle_steps(named)
    if total is None:
        return "OneCycleLR needs `total_steps` (a number, or auto), or `epochs` and `steps_per_epoch`"
    if total < length:
        return f"OneCycleLR has {total} steps, the run has {length} {unit}; write `total_steps: auto`"
    return None


def momentum_error(optimizer: Named, scheduler: Named) -> str | None:
    """Why this scheduler cannot cycle this optimizer's momentum; None if it can, or does not. Both are checked."""
    cycling = [part.name for part in _flat(scheduler) if part.options.get("cycle_momentum", part.name in CYCLING)]
    if not cycling:
        return None
    entry = optimizer_entry(optimizer.name)
    if not entry.matrices_only and {"momentum", "betas"} & entry.options.keys():
        return None
    why = "uses AdamW's betas beside its own momentum" if entry.matrices_only else "has neither momentum nor betas"
    return f"{cycling[0]} cycles the momentum, but {optimizer.name} {why}; give {cycling[0]} `cycle_momentum: false`"


def plateau_warning(scheduler: Named) -> str | None:
    """Why this scheduler lowers the learning rate while the model improves; None if it does not.

    It is no error: runs, ledgers and checkpoints of an earlier release may have such a scheduler.
    """
    if scheduler.name != "ReduceLROnPlateau" or scheduler.options.get("mode") != "max":
        return None
    return (
        "ReduceLROnPlateau with mode: max lowers the learning rate whenever the validation loss does not rise; it "
        "watches that loss, whatever the metric is: write mode: min"
    )


CYCLING = ("OneCycleLR", "CyclicLR")
"""Schedulers that cycle the momentum by default."""


def one_cycle_steps(named: Named) -> int | None:
    """The number of steps of a resolved OneCycleLR, or None when it is not given."""
    options = named.options
    if options.get("total_steps") is not None:
        return int(options["total_steps"])
    if options.get("epochs") is None or options.get("steps_per_epoch") is None:
        return None
    return int(options["epochs"]) * int(options["steps_per_epoch"])


def _length(epochs: int, steps: int, step_on: StepOn) -> int:
    return epochs if step_on == "epoch" else steps


def _flat(named: Named) -> list[Named]:
    if named.name not in NESTING:
        return [named]
    return [flat for part in scheduler_parts(named) for flat in _flat(part)]


def _with_length(named: Named, length: int, *, epochs: int) -> Named:
    options: dict[str, Any] = named.options
    automatic = [option for option in AUTO_OPTIONS if options.get(option) == AUTO]
    if not automatic:
        return named
    if length < 1:
        raise ValueError(f"{named.name}: no length is left for `{automatic[0]}: auto` after the milestones")
    if "steps_per_epoch" in automatic:
        if options.get("epochs") == AUTO:
            options["epochs"] = epochs
        options["steps_per_epoch"] = -(-length // (options.get("epochs") or epochs))
    elif "epochs" in automatic:
        options["epochs"] = -(-length // options["steps_per_epoch"]) if options.get("steps_per_epoch") else epochs
    for option in automatic:
        if option not in ("epochs", "steps_per_epoch"):
            options[option] = length
    return Named(name=named.name, **options)
