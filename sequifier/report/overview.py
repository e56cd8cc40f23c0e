"""A search in a few numbers: states of its trials, the best, its costs, and the best on the test split."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sequifier.artifacts.sequence_losses import OF_TEST, ONE_MODEL, read_unit_sums
from sequifier.results.ranking import Configuration, measured
from sequifier.results.student import half_width
from sequifier.results.trials import Table, Trial, finite
from sequifier.search.pruning import Progress, saved_epochs


@dataclass(frozen=True)
class Budget:
    """Seconds of training by the outcome of the trials; the parts add up to `total`.

    Attributes:
        total: of all trials.
        useful: of completed trials.
        pruned: of pruned trials.
        retried: of attempts that were started again.
        wasted: of trials that ended without a result.
        open: of trials that have not ended.
        epochs_trained: epochs of trials with a result.
        epochs_planned: epochs of these trials without pruning.
        epochs_saved: epochs that pruning saved.
    """

    total: float
    useful: float
    pruned: float
    retried: float
    wasted: float
    open: float
    epochs_trained: int
    epochs_planned: int
    epochs_saved: int


@dataclass(frozen=True)
class Overview:
    """The search in a few numbers.

    Attributes:
        states: state -> trials.
        n_trials: number of trials.
        n_configurations: number of different configurations.
        n_complete: number of completed trials with a result.
        best: result of the best configuration; None without one.
        best_run: number of its trial.
        best_error: its standard error.
        best_half_width: half the width of its 95 % interval; None where it is not known.
        skill: fraction by which it is better than the best baseline.
        baseline, baseline_name: the best baseline.
        beats_baseline: whether it is significantly better than every baseline (paired); None where that is not known.
        wall_seconds: from the first line of the ledger to the last, pauses included.
        budget: where the time went.
    """

    states: dict[str, int]
    n_trials: int
    n_configurations: int
    n_complete: int
    best: float | None
    best_run: int | None
    best_error: float | None
    best_half_width: float | None
    skill: float | None
    baseline: float | None
    baseline_name: str | None
    beats_baseline: bool | None
    wall_seconds: float | None
    budget: Budget


@dataclass(frozen=True)
class OverTuning:
    """The best run on the validation split, by which it was chosen, and on the test split.

    Attributes:
        run: number of the scored run.
        validation: metric on the validation split.
        test: metric on the test split.
        gap: how much worse the test split is; negative when it is better.
        error: standard error of the gap, with the splits as independent samples; None where it is not known.
        is_over_tuned: whether the gap is above t(degrees, .975) standard errors; None where that is not known.
        is_winner: whether the scored run is still the best one.
    """

    run: int
    validation: float
    test: float
    gap: float
    error: float | None
    is_over_tuned: bool | None
    is_winner: bool


def overview(table: Table, rows: Sequence[Configuration]) -> Overview:
    """Count the trials, and find the best and the costs."""
    best = next((row for row in rows if row.rank == 1), None)
    baseline = table.best_baseline
    beats = None if best is None else best.beats_baselines
    if best is not None and best.value is not None and baseline is not None:
        beats = False if table.sign * (baseline[1] - best.value) <= 0 else beats
    return Overview(
        states=dict(Counter(trial.state for trial in table.trials)),
        n_trials=len(table.trials),
        n_configurations=len(rows),
        n_complete=len(table.complete),
        best=None if best is None else best.value,
        best_run=None if best is None else best.first.number,
        best_error=None if best is None else best.standard_error,
        best_half_width=None if best is None else half_width(best.standard_error, best.degrees),
        skill=None if best is None else best.skill,
        baseline=None if baseline is None else baseline[1],
        baseline_name=None if baseline is None else baseline[0].removeprefix("baseline: "),
        beats_baseline=beats,
        wall_seconds=_wall_seconds(table),
        budget=budget(table.trials),
    )


def budget(trials: Sequence[Trial]) -> Budget:
    """Sum the time by the outcome of the trials."""
    spent = dict.fromkeys(("useful", "pruned", "wasted", "open"), 0.0)
    for trial in trials:
        if trial.has_failed:
            kind = "wasted"
        elif trial.state == "pruned":
            kind = "pruned"
        elif trial.is_complete:
            kind = "useful"
        else:
            kind = "open"
        spent[kind] += trial.seconds or 0.0
    retried = sum(trial.retried_seconds for trial in trials)
    done = [trial for trial in trials if trial.state in ("finished", "pruned") and trial.epochs and trial.curve]
    epochs = saved_epochs(
        [Progress(place, trial.epochs or 0, trial.curve) for place, trial in enumerate(done)],
        pruned={place for place, trial in enumerate(done) if trial.state == "pruned"},
    )
    return Budget(
        total=sum(spent.values()) + retried,
        retried=retried,
        **spent,
        epochs_trained=epochs.trained,
        epochs_planned=epochs.planned,
        epochs_saved=epochs.saved,
    )


def over_tuning(table: Table, rows: Sequence[Configuration]) -> OverTuning | None:
    """Compare the best run on both splits; None when it was not scored on the test split."""
    scores = table.test.get("metrics")
    test = finite(scores.get(table.metric)) if isinstance(scores, dict) else None
    trial = next((trial for trial in measured(table.trials) if trial.number == table.test.get("run")), None)
    if test is None or trial is None or trial.value is None or not isinstance(scores, dict):
        return None
    gap = table.sign * (test - trial.value)
    error, degrees = _error_of_gap(table, trial, scores, rows)
    least = half_width(error, degrees)
    return OverTuning(
        run=trial.number,
        validation=trial.value,
        test=test,
        gap=gap,
        error=error,
        is_over_tuned=None if least is None else gap > least,
        is_winner=any(row.rank == 1 and trial.number in row.numbers for row in rows),
    )


def _error_of_gap(
    table: Table, trial: Trial, scores: Mapping[str, Any], rows: Sequence[Configuration]
) -> tuple[float | None, float | None]:
    """Standard error and degrees of freedom of test less validation: two independent samples (Welch 1947)."""
    own = {} if trial.sequence_losses is None else read_unit_sums(trial.sequence_losses).get(ONE_MODEL, {})
    tested = read_unit_sums(table.test_folder / OF_TEST).get(ONE_MODEL, {})
    found = own.get(table.metric), tested.get(table.metric)
    if found[0] is not None and found[1] is not None and found[0].standard_error and found[1].standard_error:
        parts = [(units.standard_error or 0.0, units.degrees) for units in found if units is not None]
        total = sum(error**2 for error, _ in parts)
        return total**0.5, total**2 / sum(error**4 / degrees for error, degrees in parts)
    both = finite(trial.metrics.get("standard_error")), finite(scores.get("standard_error"))
    if table.metric != "val_loss" or both[0] is None or both[1] is None:
        return None, None
    degrees = next((row.degrees for row in rows if trial.number in row.numbers), None)
    return (both[0] ** 2 + both[1] ** 2) ** 0.5, degrees


def _wall_seconds(table: Table) -> float | None:
    from datetime import datetime

    if not table.started or not table.ended:
        return None
    return (datetime.fromisoformat(table.ended) - datetime.fromisoformat(table.started)).total_seconds()
