"""A search as one table of trials, whichever kind it is: what collectors fill and every analysis reads.

A trial is one training run, or one sampler with its settings. A configuration is all trials that differ by their
training seed alone; ranks, ranges and comparisons are over configurations, importance and costs over trials.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeGuard, TypeVar

from sequifier.artifacts.ledger import FAILED
from sequifier.config.search_sections import LINKED
from sequifier.results.run_files import Setting, varied_names

Key = TypeVar("Key", bound=Hashable)
Kind = Literal["training", "sampler"]
Direction = Literal["minimize", "maximize"]
Curve = tuple[float | None, ...]
"""Values after each epoch, from epoch 1; None where there is no finite one."""

SCALAR_LEVELS = 8
"""A number with more different values than this is treated as continuous."""


@dataclass(frozen=True)
class Trial:
    """One run of a search.

    Attributes:
        search: name of the search it belongs to.
        number: of the run there, from 0.
        name: of the run.
        state: as in the ledger: planned, running, finished, pruned, failed, diverged, oom, interrupted.
        settings: everything that was set, by field name; absent where it does not apply.
        configuration: equal in trials that differ by their seed alone.
        value: the metric that ranks, at the best epoch; None without one.
        group: the feature set, or the sampler.
        group_size: columns of a feature set, for telling the smallest; None where it is not known.
        seed: that it trains with.
        seconds: what it took, all its parts together; None while it is unknown.
        retried_seconds: of attempts that were begun again (out of memory, a crash).
        curve: what ranks a run while it trains, after each epoch.
        train_curve: the training loss, the same.
        epochs: asked for.
        best_epoch: from 1.
        n_parameters: trainable numbers of the model.
        metrics: all of them, at the best epoch.
        spread: standard deviation over the samples of one configuration (sampler searches).
        n_samples: how many those are.
        by_prompt: the mean of each prompt, of sampler searches; empty where one is missing.
        error: why there is no result.
        command: makes the same again, as typed into a shell.
        config_path: of its run file, as the ledger names it; "" without one.
        model_path: of the best model, as the ledger names it; "" without one.
        sequence_losses: file of the loss of each validation sequence.
        record: folder of its record; None where it has none.
        identity: of the planned run and its data.
        attempts: how often it was started.
        started: ISO time of its first record, "" without one.
        ended: of its last.
    """

    search: str
    number: int
    name: str
    state: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    configuration: str = ""
    value: float | None = None
    group: str = ""
    group_size: int | None = None
    seed: int | None = None
    seconds: float | None = None
    retried_seconds: float = 0.0
    curve: Curve = ()
    train_curve: Curve = ()
    epochs: int | None = None
    best_epoch: int | None = None
    n_parameters: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    spread: float | None = None
    n_samples: int | None = None
    by_prompt: tuple[float, ...] = ()
    error: str = ""
    command: str = ""
    config_path: str = ""
    model_path: str = ""
    sequence_losses: Path | None = None
    record: Path | None = None
    identity: str = ""
    attempts: int = 1
    started: str = ""
    ended: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether it says what its settings are worth: it was trained to its end and has a value."""
        return self.state in ("finished", "diverged") and self.value is not None

    @property
    def has_failed(self) -> bool:
        """Whether it ended without a result."""
        return self.state in FAILED or (self.state in ("finished", "diverged") and self.value is None)


@dataclass(frozen=True)
class Table:
    """A search, or several in one.

    Attributes:
        name: of the search.
        kind: training or sampler.
        metric: what ranks.
        direction: which way it is better.
        trials: in order of number.
        parameters: names of the settings in which trials differ, those that always change together once.
        linked: parameter -> settings that always change together with it.
        group_name: what `Trial.group` is: "feature set" or "sampler".
        model: that samplers draw from; "" where it is not known.
        baselines: name -> metrics.
        test: {"run": number, "metrics": {...}} of the winner on the test split; empty without one.
        document: what the search was asked for (its search.yaml), as plain values; empty when it is gone.
        folder: of the ledger.
        source: the file that was read.
        data: fingerprint of the data.
        targets: how many of each target column the results are means over; empty where it is not known.
        is_running: a process works on it now.
        started: ISO time of the first record, "" without one.
        ended: of the last.
        curve_metric: what `Trial.curve` is.
        difference: in what ranked runs differ besides their settings, in words; None: in nothing.
    """

    name: str
    kind: Kind
    metric: str
    direction: Direction
    trials: tuple[Trial, ...]
    parameters: tuple[str, ...] = ()
    linked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    group_name: str = "feature set"
    model: str = ""
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    test: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()
    source: Path = Path()
    data: str = ""
    targets: Mapping[str, int] = field(default_factory=dict)
    is_running: bool = False
    started: str = ""
    ended: str = ""
    curve_metric: str = "val_loss"
    difference: str | None = None

    @property
    def maximize(self) -> bool:
        """Whether more is better."""
        return self.direction == "maximize"

    @property
    def sign(self) -> int:
        """Brings a value to a scale on which less is better."""
        return -1 if self.maximize else 1

    @cached_property
    def has_several_searches(self) -> bool:
        """Whether the trials are of more than one search: numbers alone do not name them then."""
        return len({trial.search for trial in self.trials}) > 1

    @property
    def complete(self) -> list[Trial]:
        """The trials that say what their settings are worth."""
        return [trial for trial in self.trials if trial.is_complete]

    @property
    def best_baseline(self) -> tuple[str, float] | None:
        """The name and value of what is to be beaten."""
        known = {name: scores[self.metric] for name, scores in self.baselines.items() if self.metric in scores}
        if not known:
            return None
        return min(known.items(), key=lambda item: self.sign * item[1])


def with_parameters(table: Table, *, leave_out: Iterable[str] = ()) -> Table:
    """The table with the parameters in which its trials differ.

    Args:
        table: its trials have their settings.
        leave_out: settings that are no parameters (paths, what is logged).
    """
    without = frozenset(leave_out)
    settings = [{key: value for key, value in trial.settings.items() if key not in without} for trial in table.trials]
    varied = varied_names([values for values in settings if values])
    linked = _linked(varied, [values for values in settings if values])
    others = {name for names in linked.values() for name in names}
    return replace(table, parameters=tuple(name for name in varied if name not in others), linked=linked)


def run_label(table: Table, trial: Trial) -> str:
    """What a trial is called in a sentence: `run 4`, and by its name where several searches are in one table."""
    return trial.name if table.has_several_searches else f"run {trial.number}"


def own_number(trial: Trial) -> str:
    """Its number in its own search, also in a table of several, which numbers anew."""
    number = trial.name.rpartition("-run-")[2]
    return number if number.isdecimal() else str(trial.number)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a setting is a number; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_continuous(values: Iterable[Setting]) -> bool:
    """Whether these are numbers drawn from a range: more different ones than anybody lists, or hardly one twice."""
    every = list(values)
    different = set(every)
    is_drawn = len(different) > SCALAR_LEVELS or (
        len(different) > SCALAR_LEVELS / 2 and 2 * len(different) > len(every)
    )
    return is_drawn and all(is_number(value) for value in different)


def finite(value: Any) -> float | None:
    """A number, or None for what is none: NaN and infinity are no results."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def by(items: Iterable[Trial], key: Callable[[Trial], Key]) -> dict[Key, list[Trial]]:
    """Trials grouped, in order of the first of each group."""
    found: dict[Key, list[Trial]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def _linked(names: Sequence[str], settings: Sequence[Mapping[str, Setting]]) -> dict[str, tuple[str, ...]]:
    """Settings that cannot be told apart here, because they always change together: first one -> the others.

    Two numbers drawn from ranges differ in every run and are no pair, unless the search links them or they are equal.
    """
    values = {name: [repr(each.get(name, "-")) for each in settings] for name in names}
    group_of = {field: group[0] for group in LINKED.values() for field in group}
    found: dict[str, list[str]] = {}
    first: dict[tuple[int, ...], list[str]] = {}
    for name in sorted(names, key=lambda name: group_of.get(name.partition(".")[0]) != name):  # anchors come first
        numbers: dict[str, int] = {}
        pattern = tuple(numbers.setdefault(value, len(numbers)) for value in values[name])
        repeats = len(numbers) <= len(settings) / 2
        partner = next(
            (
                other
                for other in first.get(pattern, [])
                if repeats
                or values[other] == values[name]
                or group_of.get(other, other) == group_of.get(name.partition(".")[0], name)
            ),
            None,
        )
        if partner is None:
            first.setdefault(pattern, []).append(name)
        else:
            found.setdefault(partner, []).append(name)
    return {name: tuple(others) for name, others in found.items()}
