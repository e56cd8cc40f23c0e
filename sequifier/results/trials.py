"""A search of either kind as a table of trials, which ranking, report and analysis read.

A trial is one training run, or one sampler with its settings. A configuration is all trials that differ only in their
training seed; ranks, ranges and comparisons are over configurations, importance and costs over trials.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeGuard, TypeVar

from sequifier.artifacts.ledger import FAILED
from sequifier.config.catalogue.metric_names import ORDERING_METRICS
from sequifier.config.identity import default_values
from sequifier.config.search_sections import LINKED
from sequifier.percent import loss_text
from sequifier.results.settings import DERIVED, Setting, varied_names

Key = TypeVar("Key", bound=Hashable)
Kind = Literal["training", "sampler"]
Direction = Literal["minimize", "maximize"]
Batch = Literal["planned", "changed", "in pieces"]
Curve = tuple[float | None, ...]
"""Values after each epoch, from epoch 1; None where the value is not finite."""

TEST = ""
"""Key of the test split in `Table.sums`."""

SCALAR_LEVELS = 8
"""A numeric setting with more distinct values than this is treated as continuous."""


@dataclass(frozen=True)
class Trial:
    """One run of a search.

    Attributes:
        search: name of its search.
        number: number of the run in that search, from 0.
        name: name of the run.
        state: as in the ledger: planned, running, finished, pruned, failed, diverged, oom, interrupted.
        settings: its settings by field name, each a single value; a setting that does not apply is absent.
        values: its settings that are searched or not the default, by dotted key; an optimizer with its options.
        configuration: the same in trials that differ only in their seed.
        value: the metric that ranks, at the best epoch; None without a result.
        group: the feature set, or the sampler.
        group_size: number of columns of the feature set; None where it is unknown.
        seed: training seed.
        seconds: duration of all its parts together; None where it is unknown.
        retried_seconds: duration of attempts that were started again (out of memory, a crash).
        curve: the metric that training compares, after each epoch.
        train_curve: the training loss after each epoch.
        curves: each metric after each epoch, as far as the record was read.
        epochs: planned number of epochs.
        best_epoch: the best epoch, from 1.
        best_val_loss: validation loss at the best epoch.
        n_parameters: number of weights.
        metrics: all metrics at the best epoch.
        spread: standard deviation over the samples of one configuration (sampler searches).
        n_samples: number of these samples.
        by_prompt: mean score of each prompt (sampler searches); empty where one is missing.
        error: why there is no result.
        command: shell command that trains it again.
        config_path: path of its run file, as in the ledger; "" without one.
        model_path: path of the best model, as in the ledger; "" without one.
        has_model: the best model is on disk.
        batch: `changed`: the optimizer used a smaller batch than planned, for lack of memory; `in pieces`: it used the
            planned batch, split into pieces for which dropout drew other masks.
        sequence_losses: file with the loss of each validation sequence.
        record: folder of its record; None without one.
        identity: identity of the planned run and its data.
        attempts: number of attempts.
        started: ISO time of its first ledger record, "" without one.
        ended: ISO time of its last ledger record.
        environment: what its result depends on besides data and settings; empty without a result.
        order_of: number of the run that it repeats on histories in random order (order_check); None for other runs.
    """

    search: str
    number: int
    name: str
    state: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    configuration: str = ""
    value: float | None = None
    group: str = ""
    group_size: int | None = None
    seed: int | None = None
    seconds: float | None = None
    retried_seconds: float = 0.0
    curve: Curve = ()
    train_curve: Curve = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    epochs: int | None = None
    best_epoch: int | None = None
    best_val_loss: float | None = None
    n_parameters: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    spread: float | None = None
    n_samples: int | None = None
    by_prompt: tuple[float, ...] = ()
    error: str = ""
    command: str = ""
    config_path: str = ""
    model_path: str = ""
    has_model: bool = False
    batch: Batch = "planned"
    sequence_losses: Path | None = None
    record: Path | None = None
    identity: str = ""
    attempts: int = 1
    started: str = ""
    ended: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    order_of: int | None = None

    def setting(self, key: str) -> Any:
        """The value of a setting by dotted key; one that is not in `values` has its default, None where it has none."""
        return self.values.get(key, default_values().get(key))

    @property
    def is_complete(self) -> bool:
        """Whether it was trained to its end and has a value, so that it tells how good its settings are."""
        return self.state in ("finished", "diverged") and self.value is not None

    @property
    def has_failed(self) -> bool:
        """Whether it ended without a result."""
        return self.state in FAILED or (self.state in ("finished", "diverged") and self.value is None)


@dataclass(frozen=True)
class Table:
    """A search, or several in one.

    Attributes:
        name: name of the search.
        kind: training or sampler.
        metric: metric that ranks.
        direction: direction of the metric.
        trials: the trials in order of number.
        varied: keys of `Trial.values` in which trials differ.
        settings: names of the settings in which trials differ; of those that always change together, one.
        linked: name in `settings` -> other settings that always change together with it.
        group_name: what `Trial.group` is: "feature set" or "sampler".
        model: model that the samplers draw from; "" where it is unknown.
        baselines: name -> metrics.
        test: {"run": number, "metrics": {...}} of the winner on the test split; empty without one.
        document: the search's config (search.yaml) as plain values; empty where the file is gone.
        folder: the ledger's folder.
        sums: the folders with the sums by sampling unit, where they are not `folder`: of each baseline by its name, and
            of `test` by the name "".
        source: the file that was read.
        data: fingerprint of the data.
        targets: number of evaluated targets by target column; empty where it is unknown.
        is_running: a process works on the search now.
        started: ISO time of the first record, "" without one.
        ended: ISO time of the last record.
        curve_metric: the metric of `Trial.curve`.
        difference: a sentence about what ranked runs differ in besides their settings; None where they do not.
        order_checks: the runs of order_check, which have no rank.
    """

    name: str
    kind: Kind
    metric: str
    direction: Direction
    trials: tuple[Trial, ...]
    settings: tuple[str, ...] = ()
    linked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    group_name: str = "feature set"
    model: str = ""
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    test: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()
    sums: Mapping[str, Path] = field(default_factory=dict)
    source: Path = Path()
    data: str = ""
    targets: Mapping[str, int] = field(default_factory=dict)
    is_running: bool = False
    started: str = ""
    ended: str = ""
    curve_metric: str = "val_loss"
    difference: str | None = None
    varied: tuple[str, ...] = ()
    order_checks: tuple[Trial, ...] = ()

    @property
    def maximize(self) -> bool:
        """Whether higher is better."""
        return self.direction == "maximize"

    @property
    def sign(self) -> int:
        """Factor that brings a value to a scale on which lower is better."""
        return -1 if self.maximize else 1

    @cached_property
    def has_several_searches(self) -> bool:
        """Whether the trials are of more than one search, so that a number alone does not identify one."""
        return len({trial.search for trial in self.trials}) > 1

    @property
    def all_settings(self) -> list[str]:
        """The settings in which trials differ, including all that always change together."""
        return [name for first in self.settings for name in (first, *self.linked.get(first, ()))]

    @property
    def complete(self) -> list[Trial]:
        """The trials that were trained to their end and have a value."""
        return [trial for trial in self.trials if trial.is_complete]

    @property
    def test_folder(self) -> Path:
        """The folder with the sums of `test` by sampling unit."""
        return self.sums.get(TEST, self.folder)

    @property
    def baseline_folders(self) -> dict[str, Path]:
        """The folder with the sums of each baseline that has the metric."""
        return {
            name: self.sums.get(name, self.folder) for name, scores in self.baselines.items() if self.metric in scores
        }

    @property
    def test_without_value(self) -> str:
        """A sentence where the best run was scored on a test split that has no value of the metric; else empty."""
        scores = self.test.get("metrics")
        if not isinstance(scores, dict) or finite(scores.get(self.metric)) is not None:
            return ""
        loss = finite(scores.get("val_loss"))
        of_classes = self.metric.endswith(tuple(f"_{name}" for name in ORDERING_METRICS))
        return (
            f"The test split has no value of {self.metric}"
            + (", which compares sequences of different classes" if of_classes else "")
            + (f"; the loss of run {self.test.get('run')} there is {loss_text(loss)}." if loss is not None else ".")
        )

    @property
    def best_baseline(self) -> tuple[str, float] | None:
        """Name and value of the best baseline; None without one."""
        known = {name: scores[self.metric] for name, scores in self.baselines.items() if self.metric in scores}
        if not known:
            return None
        return min(known.items(), key=lambda item: self.sign * item[1])


def with_varied_settings(table: Table, *, keep_equal: Sequence[str] = ()) -> Table:
    """The table with the settings in which its trials differ.

    Args:
        table: a table whose trials have their settings; keys in its `varied` come first.
        keep_equal: keys that `varied` includes although no two trials differ in them.
    """
    known = [trial for trial in table.trials if trial.values]
    keys = dict.fromkeys([*table.varied, *(key for trial in known for key in trial.values if key not in DERIVED)])
    differing = [key for key in keys if key in keep_equal or len({repr(trial.setting(key)) for trial in known}) > 1]
    settings = [trial.settings for trial in table.trials if trial.settings]
    varied = varied_names(settings)
    linked = _linked(varied, settings)
    others = {name for names in linked.values() for name in names}
    names = tuple(name for name in varied if name not in others)
    return replace(table, varied=tuple(differing), settings=names, linked=linked)


def run_label(table: Table, trial: Trial) -> str:
    """A trial in a sentence: `run 4`, or the run's name where the table has several searches."""
    return trial.name if table.has_several_searches else f"run {trial.number}"


def own_number(trial: Trial) -> str:
    """The number of a trial in its own search; a table of several searches numbers its trials anew."""
    number = trial.name.rpartition("-run-")[2]
    return number if number.isdecimal() else str(trial.number)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a setting is a number; a boolean is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_continuous(values: Iterable[Setting]) -> bool:
    """Whether these are numbers sampled from a range: more distinct values than a list has, or few repeated ones."""
    every = list(values)
    different = set(every)
    is_drawn = len(different) > SCALAR_LEVELS or (
        len(different) > SCALAR_LEVELS / 2 and 2 * len(different) > len(every)
    )
    return is_drawn and all(is_number(value) for value in different)


def finite(value: Any) -> float | None:
    """The number as a float; None for NaN, infinity, and what is not a number."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def by(items: Iterable[Trial], key: Callable[[Trial], Key]) -> dict[Key, list[Trial]]:
    """Group trials by a key, in order of the first trial of each group."""
    found: dict[Key, list[Trial]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def _linked(names: Sequence[str], settings: Sequence[Mapping[str, Setting]]) -> dict[str, tuple[str, ...]]:
    """Settings that always change together, so that their effects cannot be separated: first one -> the others.

    Two numbers sampled from ranges differ in every run; they count as a pair only where the search links them or where
    they are equal.
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
