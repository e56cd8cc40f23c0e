"""Trials -> configurations from best to worst, with their standard errors and verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import stdev

import numpy as np

from sequifier.artifacts.ledger import DONE
from sequifier.artifacts.sequence_losses import Units
from sequifier.results.certainty import certainty, standard_error
from sequifier.results.comparison import Comparison, compare, error_over_seeds
from sequifier.results.run_files import Setting
from sequifier.results.trials import Table, Trial, by, mean_of
from sequifier.results.verdict import Ranked, verdict_lines


@dataclass(frozen=True)
class Configuration:
    """All trials of one configuration.

    Attributes:
        rank: from 1; None without a result.
        trials: numbers, in order.
        first: the trial that stands for it: the first one with a result.
        parameters: in which configurations differ.
        value: the mean over trials with a result.
        standard_error: of that mean, over sampling units and seeds; None where it is not known.
        standard_error_by: as in `search.results.Row`.
        degrees: of freedom of the standard error; None where they are not known.
        skill: by which share of it the best baseline is beaten.
        n_seeds: trials with a result.
        is_indistinguishable: statistically, from the best; None for the best, and where it is not known.
        beats_baselines: each of them, paired; None where that is not known.
        n_parameters: of the model.
        seconds: mean over its trials.
    """

    rank: int | None
    trials: tuple[int, ...]
    first: Trial
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    value: float | None = None
    standard_error: float | None = None
    standard_error_by: str = ""
    degrees: float | None = None
    skill: float | None = None
    n_seeds: int = 0
    is_indistinguishable: bool | None = None
    beats_baselines: bool | None = None
    n_parameters: int | None = None
    seconds: float | None = None

    @property
    def state(self) -> str:
        """Of the trial that stands for it."""
        return self.first.state


def ranked(table: Table) -> list[Configuration]:
    """The configurations: those with a result from best to worst, then the others in order of number.

    As in results.csv: with `confirm_top`, those that were trained with more seeds than `repeats` stand first.
    """
    rows = [_configuration(trials, table) for trials in _grouped(table).values()]
    repeats = int(table.document.get("repeats") or 1)
    confirms = bool(table.document.get("confirm_top"))

    def order(row: Configuration) -> tuple[bool, float, int]:
        assert row.value is not None
        return (not (confirms and row.n_seeds > repeats), table.sign * row.value, row.trials[0])

    with_result = sorted((row for row in rows if row.value is not None), key=order)
    with_result = [replace(row, rank=rank) for rank, row in enumerate(with_result, start=1)]
    without = [row for row in rows if row.value is None]
    return [*_compared(with_result, table), *without]


def verdict(rows: Sequence[Configuration]) -> list[str]:
    """What the table says of the order of its rows, in sentences."""
    with_result = [row for row in rows if row.rank is not None]
    return verdict_lines([Ranked(row.standard_error_by, row.n_seeds, row.is_indistinguishable) for row in with_result])


def measured(trials: Sequence[Trial]) -> list[Trial]:
    """Those with a result, pruned ones among them."""
    return [trial for trial in trials if trial.state in DONE and trial.value is not None]


def _grouped(table: Table) -> dict[str, list[Trial]]:
    """Trials by configuration; the same run in two searches is one."""
    return by(table.trials, lambda trial: trial.configuration)


def _configuration(trials: Sequence[Trial], table: Table) -> Configuration:
    done = measured(trials)
    values = [trial.value for trial in done if trial.value is not None]
    first = (done or trials)[0]
    value = mean_of(values)
    error, over = None, ""
    if len(values) > 1:
        error, over = error_over_seeds(values), "seeds"
    elif table.metric in ("val_loss", "score"):
        error = first.metrics.get("standard_error")
        if error is None and first.spread is not None and (first.n_samples or 0) > 1:
            error = first.spread / float(first.n_samples or 1) ** 0.5
    baseline = table.best_baseline
    return Configuration(
        rank=None,
        trials=tuple(trial.number for trial in trials),
        first=first,
        parameters={name: first.settings[name] for name in table.parameters if name in first.settings},
        value=value,
        standard_error=error,
        standard_error_by="prompts" if table.kind == "sampler" and error is not None else over,
        skill=None if value is None or baseline is None else skill(value, baseline[1], maximize=table.maximize),
        n_seeds=len(values),
        n_parameters=first.n_parameters,
        seconds=mean_of(trial.seconds for trial in trials),
    )


def _compared(rows: list[Configuration], table: Table) -> list[Configuration]:
    """The rows with what their units (sequences, or prompts) say."""
    if table.kind == "sampler":
        scores = [np.array(row.first.by_prompt, dtype=np.float64) for row in rows]
        units = ({} if len(each) < 2 else {0: Units(each, np.ones(len(each)), "sequences")} for each in scores)
        return [_with(row, found) for row, found in zip(rows, compare(units, maximize=table.maximize), strict=True)]
    trials = _grouped(table)
    files = [
        {trial.seed or 0: trial.sequence_losses for trial in measured(trials[row.first.configuration])} for row in rows
    ]
    compared = certainty(
        files,
        table.metric,
        maximize=table.maximize,
        folder=table.folder,
        baselines=[name for name, scores in table.baselines.items() if table.metric in scores],
        tested=next((place for place, row in enumerate(rows) if table.test.get("run") in row.trials), None),
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


def skill(value: float, baseline: float, *, maximize: bool) -> float | None:
    """The share of the baseline's value by which a result is better; negative when it is worse.

    None for a baseline of 0, of which there is no share.
    """
    if baseline == 0:
        return None
    gain = value - baseline if maximize else baseline - value
    return gain / abs(baseline)


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
