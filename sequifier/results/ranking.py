"""Trials -> configurations from best to worst, with their standard errors and verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np

from sequifier.artifacts.ledger import DONE, FAILED
from sequifier.artifacts.sequence_losses import Units
from sequifier.config.identity import default_values
from sequifier.metrics.skill import skill
from sequifier.results.certainty import certainty, standard_error, units_of_baselines, why_no_error
from sequifier.results.comparison import Comparison, compare, error_over_seeds
from sequifier.results.settings import Setting, field_of
from sequifier.results.trials import Batch, Table, Trial, by, mean_of
from sequifier.results.verdict import Ranked, unknown_lines, verdict_lines


@dataclass(frozen=True)
class Configuration:
    """All trials of one configuration: they differ by their training seed alone.

    Attributes:
        rank: from 1; None without a result.
        trials: all of them, in order of number.
        first: the trial that stands for it: the first one with a result.
        settings: the settings in which configurations differ.
        varied: the values of `Table.varied`, by field name.
        value: the metric that ranks, the mean over trials with a result.
        standard_error: of that mean, over sampling units and seeds; None where it is not known.
        standard_error_by: what the units are: sequences, blocks, groups (of the jackknife), prompts; `seeds` where only
            the seeds are known; "" where nothing is.
        degrees: of freedom of the standard error; None where they are not known.
        skill: the fraction of the best baseline's value by which it is better; None without a result or a baseline.
        is_indistinguishable: statistically, from the best; None for the best, and where it is not known.
        beats_baselines: each of them, paired; None where that is not known.
        test_value: the metric on the test split; the winner alone has one.
    """

    rank: int | None
    trials: tuple[Trial, ...]
    first: Trial
    settings: Mapping[str, Setting] = field(default_factory=dict)
    varied: Mapping[str, Any] = field(default_factory=dict)
    value: float | None = None
    standard_error: float | None = None
    standard_error_by: str = ""
    degrees: float | None = None
    skill: float | None = None
    is_indistinguishable: bool | None = None
    beats_baselines: bool | None = None
    test_value: float | None = None

    @property
    def run(self) -> int:
        """The number of the trial that stands for it."""
        return self.first.number

    @property
    def name(self) -> str:
        """The name of the trial that stands for it."""
        return self.first.name

    @property
    def state(self) -> str:
        """The state of the trial that stands for it."""
        return self.first.state

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of all trials."""
        return tuple(trial.number for trial in self.trials)

    @property
    def measured(self) -> list[Trial]:
        """The trials with a result."""
        return measured(self.trials)

    @property
    def n_seeds(self) -> int:
        """Number of trials with a result."""
        return len(self.measured)

    @property
    def n_failed(self) -> int:
        """Number of trials that failed or did not fit in memory."""
        return sum(trial.state in FAILED for trial in self.trials)

    @property
    def n_parameters(self) -> int | None:
        """Number of weights of the model."""
        return self.first.n_parameters

    @property
    def seconds(self) -> float | None:
        """Seconds of a trial, all its parts together; the mean over trials."""
        return mean_of(trial.seconds for trial in self.trials)

    @property
    def best_val_loss(self) -> float | None:
        """The validation loss at the best epoch, the mean over trials with a result."""
        return mean_of(trial.best_val_loss for trial in self.measured or [self.first])

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics at the best epoch that all trials with a result have, the mean over them."""
        several = [trial.metrics for trial in self.measured]
        names = [name for name in (several[0] if several else ()) if all(name in other for other in several)]
        return {name: fmean(metrics[name] for metrics in several) for name in names}

    @property
    def epochs(self) -> int | None:
        """Epochs trained, in all trials together; None where nothing was trained."""
        trained = sum(len(trial.curve) for trial in self.trials)
        return trained if trained or (self.first.epochs is not None and self.state != "planned") else None

    @property
    def planned_epochs(self) -> int | None:
        """Epochs planned, in all trials together; None where it is not known."""
        epochs = [trial.epochs for trial in self.trials if trial.epochs is not None]
        return sum(epochs) if len(epochs) == len(self.trials) else None

    @property
    def model_path(self) -> str:
        """The best model, below project_root; "" where it is not on disk."""
        return self.first.model_path if self.first.has_model else ""

    @property
    def model_again(self) -> str:
        """The command that makes the model again, where it was not kept."""
        return self.first.command if self.first.model_path and not self.first.has_model else ""

    @property
    def batches(self) -> set[Batch]:
        """How the batches of its trials differ from the planned ones."""
        return {trial.batch for trial in self.trials}

    @property
    def error(self) -> str:
        """Why there is no result, or which of several trials has none."""
        others = [
            f"run {trial.number} {trial.state}: {trial.error}"
            for trial in self.trials
            if trial is not self.first and trial.state in FAILED
        ]
        return "; ".join(filter(None, [self.first.error, *others]))


@dataclass(frozen=True)
class Baseline:
    """A baseline as a row of the ranked table."""

    name: str
    value: float
    standard_error: float | None
    standard_error_by: str
    metrics: Mapping[str, float]
    state: str = "baseline"
    rank: None = None
    run: None = None


def ranked(table: Table) -> list[Configuration]:
    """The configurations: those with a result from best to worst, then the others in order of number.

    With `confirm_top`, those that were trained with more seeds than `repeats` come first: one seed that was lucky is no
    better than the mean of several.
    """
    rows = in_order(table)
    with_result = [row for row in rows if row.rank is not None]
    return [*_compared(with_result, table), *rows[len(with_result) :]]


def in_order(table: Table) -> list[Configuration]:
    """The configurations as `ranked`, without a comparison: no file is read."""
    rows = [configuration_of(trials, table) for trials in _grouped(table).values()]
    with_result = sorted((row for row in rows if row.value is not None), key=lambda row: order(row, table))
    return [
        *(replace(row, rank=rank) for rank, row in enumerate(with_result, start=1)),
        *(row for row in rows if row.value is None),
    ]


def order(row: Configuration, table: Table) -> tuple[bool, float, int]:
    """The sort key of a configuration with a result; no two are equal."""
    assert row.value is not None
    repeats, confirms = int(table.document.get("repeats") or 1), bool(table.document.get("confirm_top"))
    return (not (confirms and row.n_seeds > repeats), table.sign * row.value, row.run)


def configuration_of(trials: Sequence[Trial], table: Table) -> Configuration:
    """The trials of one configuration, in order of number, as a row without a rank."""
    done = measured(trials)
    values = [trial.value for trial in done if trial.value is not None]
    first = next(iter(done or [trial for trial in trials if trial.state != "planned"] or trials))
    value = mean_of(values)
    error, over = None, ""
    if len(values) > 1:
        error, over = error_over_seeds(values), "seeds"
    elif table.metric in ("val_loss", "score"):
        error = first.metrics.get("standard_error")
        if error is None and first.spread is not None and (first.n_samples or 0) > 1:
            error = first.spread / float(first.n_samples or 1) ** 0.5
    baseline = table.best_baseline
    tested = table.test.get("run") in [trial.number for trial in trials]
    return Configuration(
        rank=None,
        trials=tuple(trials),
        first=first,
        settings={name: first.settings[name] for name in table.settings if name in first.settings},
        varied=_varied(first, table),
        value=value,
        standard_error=error,
        standard_error_by="prompts" if table.kind == "sampler" and error is not None else over,
        skill=skill(value, [] if baseline is None else [baseline[1]], maximize=table.maximize),
        test_value=table.test["metrics"].get(table.metric) if tested else None,
    )


def with_baselines(rows: Sequence[Configuration], table: Table) -> list[Configuration | Baseline]:
    """The rows with each baseline before the first one that is not better: a run that is as good has not beaten it."""
    waiting = sorted(_baselines(table), key=lambda baseline: table.sign * baseline.value)
    found: list[Configuration | Baseline] = []
    for row in rows:
        while waiting and (row.value is None or waiting[0].value * table.sign <= row.value * table.sign):
            found.append(waiting.pop(0))
        found.append(row)
    return [*found, *waiting]


def verdict(table: Table, rows: Sequence[Configuration]) -> list[str]:
    """What the table says of the order of its rows, in sentences."""
    found = [row for row in rows if row.rank is not None]
    ranked = [Ranked(row.standard_error_by, row.n_seeds, row.is_indistinguishable) for row in found]
    path = found[0].first.sequence_losses if found and not found[0].standard_error_by else None
    lines = verdict_lines(ranked, why_no_error(path, table.metric))
    return [*lines, *unknown_lines({} if not found else found[0].metrics)]


def measured(trials: Sequence[Trial]) -> list[Trial]:
    """Those with a result, pruned ones among them."""
    return [trial for trial in trials if trial.state in DONE and trial.value is not None]


def _grouped(table: Table) -> dict[str, list[Trial]]:
    """Trials by configuration; the same run in two searches is one."""
    return by(table.trials, lambda trial: trial.configuration)


def _varied(trial: Trial, table: Table) -> dict[str, Any]:
    """The values of a trial that the table shows; a setting of training that is not in them has its default."""
    if not trial.values:
        return {}
    keys = [key for key in table.varied if key in trial.values or key in default_values()]
    return {field_of(key): trial.setting(key) for key in keys}


def _baselines(table: Table) -> list[Baseline]:
    """The baselines that have the metric, with the standard errors of their sums, or those recorded with val_loss."""
    known = units_of_baselines(table.baseline_folders, table.metric)
    found = []
    for name, metrics in table.baselines.items():
        if table.metric in metrics:
            units = known.get(name)
            recorded = metrics.get("standard_error") if table.metric == "val_loss" else None
            error = recorded if units is None else units.standard_error
            by = "" if units is None or error is None else str(units.by)
            found.append(Baseline(name, metrics[table.metric], error, by, metrics))
    return found


def _compared(rows: list[Configuration], table: Table) -> list[Configuration]:
    """The rows with what their units (sequences, or prompts) say."""
    if table.kind == "sampler":
        scores = [np.array(row.first.by_prompt, dtype=np.float64) for row in rows]
        units = ({} if len(each) < 2 else {0: Units(each, np.ones(len(each)), "sequences")} for each in scores)
        return [_with(row, found) for row, found in zip(rows, compare(units, maximize=table.maximize), strict=True)]
    files = [{trial.seed or 0: trial.sequence_losses for trial in row.measured} for row in rows]
    compared = certainty(
        files,
        table.metric,
        maximize=table.maximize,
        baselines=table.baseline_folders,
        tested=next((place for place, row in enumerate(rows) if row.test_value is not None), None),
        test_folder=table.test_folder,
    )
    result = []
    for row, paths, found in zip(rows, files, compared, strict=True):
        error, by = standard_error(found, paths, row.standard_error, row.standard_error_by)
        result.append(_with(replace(row, standard_error=error, standard_error_by=by), found))
    return result


def _with(row: Configuration, found: Comparison) -> Configuration:
    return replace(
        row,
        degrees=found.degrees,
        is_indistinguishable=found.is_indistinguishable,
        beats_baselines=found.beats_baselines,
    )


@dataclass(frozen=True)
class SeedNoise:
    """How far a result moves when nothing but the training seed changes.

    Attributes:
        deviation: standard deviation over seeds, pooled over the configurations with two or more; None without one.
        n_configurations: those.
        n_trials: theirs.
        between: standard deviation of the means of all configurations.
        gap: by which the best is ahead of the second.
    """

    deviation: float | None
    n_configurations: int
    n_trials: int
    between: float | None
    gap: float | None


def seed_noise(table: Table, rows: Sequence[Configuration]) -> SeedNoise:
    """What repeats tell of the noise."""
    groups = [[trial.value for trial in measured(trials)] for trials in _grouped(table).values()]
    several = [[value for value in values if value is not None] for values in groups if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    squares = sum(stdev(values) ** 2 * (len(values) - 1) for values in several)
    means = [row.value for row in rows if row.value is not None and row.state != "pruned"]
    leading = [row.value for row in rows if row.value is not None][:2]
    return SeedNoise(
        deviation=(squares / freedom) ** 0.5 if freedom else None,
        n_configurations=len(several),
        n_trials=sum(map(len, several)),
        between=stdev(means) if len(means) > 1 else None,
        gap=table.sign * (leading[1] - leading[0]) if len(leading) == 2 else None,
    )
