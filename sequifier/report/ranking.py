"""Trials -> configurations from best to worst, and which of them cannot be told from the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import stdev

from sequifier.artifacts.ledger import DONE
from sequifier.report.table import Table, Trial, by, mean_of
from sequifier.search.comparison import SequenceLosses, compare, error_over_seeds
from sequifier.search.results import COMPARED, skill
from sequifier.search.run_files import Setting


@dataclass(frozen=True)
class Configuration:
    """All trials of one configuration.

    Attributes:
        rank: from 1; None without a result.
        trials: numbers, in order.
        first: the trial that stands for it: the first one with a result.
        parameters: in which configurations differ.
        value: the mean over trials with a result.
        standard_error: of that mean over seeds or samples; with one, of val_loss over sequences. None: unknown.
        skill: by which share of it the best baseline is beaten.
        n_seeds: trials with a result.
        is_indistinguishable: cannot be told from the best; None for the best, and where it is not known.
        n_parameters: of the model.
        seconds: mean over its trials.
    """

    rank: int | None
    trials: tuple[int, ...]
    first: Trial
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    value: float | None = None
    standard_error: float | None = None
    skill: float | None = None
    n_seeds: int = 0
    is_indistinguishable: bool | None = None
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
    error: float | None = None
    if len(values) > 1:
        error = error_over_seeds(values)
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
        skill=None if value is None or baseline is None else skill(value, baseline[1], maximize=table.maximize),
        n_seeds=len(values),
        n_parameters=first.n_parameters,
        seconds=mean_of(trial.seconds for trial in trials),
    )


def _compared(rows: list[Configuration], table: Table) -> list[Configuration]:
    """The rows with what their sequence losses, or the scores of their prompts, tell."""
    if table.kind == "training" and table.metric != "val_loss":
        return rows
    trials = by(table.trials, lambda trial: trial.configuration)
    losses: list[dict[int, SequenceLosses]] = []
    for row in rows[:COMPARED]:
        found = {}
        for trial in measured(trials[row.first.configuration]):
            arrays = _losses(trial, table)
            if arrays is not None:
                found[trial.seed or 0] = arrays
        losses.append(found)
    result = []
    for row, told in zip(rows[:COMPARED], compare(losses), strict=True):
        if row.n_seeds == 1 and told.standard_error is not None and table.kind == "training":
            row = replace(row, standard_error=told.standard_error)
        result.append(replace(row, is_indistinguishable=told.is_indistinguishable))
    return [*result, *rows[COMPARED:]]


def _losses(trial: Trial, table: Table) -> SequenceLosses | None:
    """What is drawn from with replacement: the loss of each sequence, or the score of each prompt."""
    if table.kind == "sampler":
        import numpy as np

        scores = table.sign * np.array(trial.by_prompt)
        return (scores, np.ones(len(scores), dtype=np.int64)) if len(scores) > 1 else None
    from sequifier.artifacts.sequence_losses import ONE_MODEL, read_unit_sums

    if trial.sequence_losses is None:
        return None
    units = read_unit_sums(trial.sequence_losses).get(ONE_MODEL, {}).get("val_loss")
    return None if units is None else (units.total, units.count)


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
