"""What a search has come to: how many trials in which state, what it cost, and whether the winner holds on new data."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sequifier.report.ranking import Configuration, measured
from sequifier.report.table import Table, Trial, finite
from sequifier.search.pruning import Progress, saved_epochs


@dataclass(frozen=True)
class Budget:
    """Seconds of training by what came of them. They add up to `total`.

    Attributes:
        total: of all trials.
        useful: of trials trained to their end.
        pruned: of trials that were cut: spent, so that others could be spared.
        retried: of attempts that were begun again.
        wasted: of trials that ended without a result.
        open: of trials that are not over.
        epochs_trained: of trials with a result.
        epochs_planned: theirs, had none been cut.
        epochs_saved: by pruning.
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
        n_trials: of all.
        n_configurations: different ones.
        n_complete: trials trained to their end, with a result.
        best: the value of the winner; None without one.
        best_run: its number.
        skill: by which share the best baseline is beaten.
        beats_baseline: by two standard errors; None where that is not known.
        wall_seconds: from the first line of the ledger to the last, pauses included.
    """

    states: dict[str, int]
    n_trials: int
    n_configurations: int
    n_complete: int
    best: float | None
    best_run: int | None
    best_error: float | None
    skill: float | None
    baseline: float | None
    baseline_name: str | None
    beats_baseline: bool | None
    wall_seconds: float | None
    budget: Budget


@dataclass(frozen=True)
class OverTuning:
    """The winner on the validation split, which chose it, and on the test split, which did not.

    Attributes:
        run: that was scored.
        validation: its metric there.
        test: the same on the test split.
        gap: by how much the test is worse; negative when it is better.
        error: standard error of the gap, both splits taken as independent samples; None where it is not known.
        is_over_tuned: worse by more than two standard errors; None where that is not known.
        is_winner: the run that was scored is the best one now.
    """

    run: int
    validation: float
    test: float
    gap: float
    error: float | None
    is_over_tuned: bool | None
    is_winner: bool


def overview(table: Table, rows: Sequence[Configuration]) -> Overview:
    """Counts, the best and the costs."""
    best = next((row for row in rows if row.rank == 1), None)
    baseline = table.best_baseline
    beats = None
    if best is not None and best.value is not None and baseline is not None and best.standard_error is not None:
        beats = table.sign * (baseline[1] - best.value) >= 2 * best.standard_error
    return Overview(
        states=dict(Counter(trial.state for trial in table.trials)),
        n_trials=len(table.trials),
        n_configurations=len(rows),
        n_complete=len(table.complete),
        best=None if best is None else best.value,
        best_run=None if best is None else best.first.number,
        best_error=None if best is None else best.standard_error,
        skill=None if best is None else best.skill,
        baseline=None if baseline is None else baseline[1],
        baseline_name=None if baseline is None else baseline[0].removeprefix("baseline: "),
        beats_baseline=beats,
        wall_seconds=_wall_seconds(table),
        budget=budget(table.trials),
    )


def budget(trials: Sequence[Trial]) -> Budget:
    """What the time went into."""
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
    """Whether the winner is as good on events that did not choose it; None when it was not scored there."""
    scores = table.test.get("metrics")
    test = finite(scores.get(table.metric)) if isinstance(scores, dict) else None
    trial = next((trial for trial in measured(table.trials) if trial.number == table.test.get("run")), None)
    if test is None or trial is None or trial.value is None or not isinstance(scores, dict):
        return None
    gap = table.sign * (test - trial.value)
    error = None
    both = finite(trial.metrics.get("standard_error")), finite(scores.get("standard_error"))
    if table.metric == "val_loss" and both[0] is not None and both[1] is not None:
        error = (both[0] ** 2 + both[1] ** 2) ** 0.5
    return OverTuning(
        run=trial.number,
        validation=trial.value,
        test=test,
        gap=gap,
        error=error,
        is_over_tuned=None if error is None else gap > 2 * error,
        is_winner=any(row.rank == 1 and trial.number in row.trials for row in rows),
    )


def _wall_seconds(table: Table) -> float | None:
    from datetime import datetime

    if not table.started or not table.ended:
        return None
    return (datetime.fromisoformat(table.ended) - datetime.fromisoformat(table.started)).total_seconds()
