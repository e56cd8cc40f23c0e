"""Plan and ledger -> the rows of the ranked table, baselines among them. The command line draws them.

A row is a configuration: its runs differ by their training seed alone. What a row says of several runs is their mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sequifier.artifacts.ledger import DONE, FAILED, Record, latest_by_run
from sequifier.results.settings import shown
from sequifier.search.configurations import configurations
from sequifier.search.plan import Plan, run_folder
from sequifier.search.pruning import Progress, Savings, saved_epochs

BASELINE = "baseline"
"""The state of a baseline's row."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        rank: from 1, among configurations with a result; None for others and for baselines.
        run: number of the first run with a result, which also gives name, state, best_epoch and model_path; None for
            a baseline.
        name: of the run or baseline.
        state: of the run, or "baseline".
        changed: what tells this configuration from the others, by field name, as text.
        metric: the value that ranks, the mean over seeds; None without a result.
        standard_error: of that mean, over sampling units and seeds; None when it is not known.
        standard_error_by: what the units are: sequences, blocks, groups (of the jackknife), prompts; `seeds` where only
            the seeds are known; "" where nothing is.
        skill: by which share of it the best baseline is beaten; None without a result or a baseline.
        best_val_loss: at the best epoch, the mean over seeds.
        best_epoch: from 1.
        parameters: trainable numbers of the model.
        seconds: spent on a run from its start to its end, all its parts together; the mean over seeds.
        run_file: of `run`; "" for a baseline.
        model_path: of the best model; "" where it is not on disk.
        model_again: the command that makes this model again, where there was one that was not kept.
        batch_changed: the optimizer saw a smaller batch than planned, for lack of memory.
        masks_changed: it saw the planned batch in smaller pieces, for which dropout drew other masks.
        error: why there is no result, or which of several runs has none.
        runs: numbers of all runs of the configuration.
        n_seeds: runs with a result.
        n_failed: runs that failed or did not fit in memory.
        indistinguishable: whether it is statistically indistinguishable from the best, see comparison.py; None for the
            best itself, and where that is not known.
        beats_baselines: whether it beats each of them, paired; None where that is not known.
        epochs: trained, in all runs together.
        planned_epochs: asked for, in all runs together; None for runs that the config does not ask for any more.
        test_metric: the metric on the test split; only the winner has one.
        metrics: all metrics at the best epoch, the mean over seeds.
    """

    rank: int | None
    run: int | None
    name: str
    state: str
    changed: Mapping[str, str] = field(default_factory=dict)
    metric: float | None = None
    standard_error: float | None = None
    standard_error_by: str = ""
    skill: float | None = None
    best_val_loss: float | None = None
    best_epoch: int | None = None
    parameters: int | None = None
    seconds: float | None = None
    run_file: str = ""
    model_path: str = ""
    model_again: str = ""
    batch_changed: bool = False
    masks_changed: bool = False
    error: str = ""
    runs: tuple[int, ...] = ()
    n_seeds: int = 0
    n_failed: int = 0
    indistinguishable: bool | None = None
    beats_baselines: bool | None = None
    epochs: int | None = None
    planned_epochs: int | None = None
    test_metric: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def results(
    plan: Plan,
    records: Sequence[Record],
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    *,
    test: Mapping[str, Any] | None = None,
) -> list[Row]:
    """The table: results from the best to the worst with the baselines among them, then what has no result.

    With `confirm_top`, confirmed configurations stand before the others: one seed that was lucky is no better than
    the mean of several.

    Args:
        plan: of the search.
        records: its ledger.
        baselines: name -> its metrics on the same targets.
        test: what logs/[name]/test.json says: {"run": number, "metrics": {name: value}}.
    """
    metric, maximize = plan.config.metric, plan.config.direction == "maximize"
    scores = {name: values[metric] for name, values in (baselines or {}).items() if metric in values}
    best_baseline = (max if maximize else min)(scores.values(), default=None)
    against_itself = [
        Row(
            rank=None,
            run=None,
            name=name,
            state=BASELINE,
            metric=value,
            best_val_loss=(baselines or {})[name].get("val_loss"),
            metrics=(baselines or {})[name],
        )
        for name, value in scores.items()
    ]
    rows = _Rows(plan, records, best_baseline, test).all()
    against_itself = _with_errors(against_itself, plan)
    ranked = _ranked([row for row in rows if row.metric is not None], plan)
    ranked = _compared(ranked, plan, latest_by_run(records), list(scores))
    without = [row for row in rows if row.metric is None]
    return [*_with_baselines(ranked, against_itself, maximize=maximize), *without]


def ranking(plan: Plan, records: Sequence[Record]) -> list[Row]:
    """One row of each configuration: those with a result from best to worst, then the others. No baselines."""
    rows = _Rows(plan, records, None, None).all()
    return [
        *_ranked([row for row in rows if row.metric is not None], plan),
        *(row for row in rows if row.metric is None),
    ]


def model_files(record: Record) -> dict[str, str]:
    """The exported models of a run, as its record names them: what -> path below project_root."""
    return {what: path for what, path in record.files.items() if path.startswith("models/")}


def savings(plan: Plan, records: Sequence[Record]) -> Savings:
    """The epochs that pruning spared, among runs that have a result."""
    epochs = {run.number: run.config.training_spec.epochs for run in plan.runs}
    done = [record for record in latest_by_run(records).values() if record.state in ("finished", "pruned")]
    return saved_epochs(
        [Progress(record.run, epochs[record.run], record.curve) for record in done if record.run in epochs],
        pruned={record.run for record in done if record.state == "pruned"},
    )


class _Rows:
    """Makes one row of each configuration."""

    def __init__(
        self,
        plan: Plan,
        records: Sequence[Record],
        best_baseline: float | None,
        test: Mapping[str, Any] | None,
    ) -> None:
        self._plan, self._records, self._best_baseline, self._test = plan, records, best_baseline, test
        self._latest = latest_by_run(records)
        self._planned = {run.number: run for run in plan.runs}
        self._changed = {entry.record.run: entry.changed for entry in plan.earlier}
        self._changed |= {run.number: run.changed for run in plan.runs}
        self._seconds: dict[int, float] = {}
        for record in records:
            if "total" in record.seconds:
                self._seconds[record.run] = self._seconds.get(record.run, 0.0) + record.seconds["total"]

    def all(self) -> list[Row]:
        """The rows without rank, in order of their first run."""
        return [self._row(numbers) for numbers in configurations(self._plan, self._records)]

    def _row(self, numbers: tuple[int, ...]) -> Row:
        from sequifier.results.ranking import skill  # numpy loads here

        metric, maximize = self._plan.config.metric, self._plan.config.direction == "maximize"
        known = [self._latest[number] for number in numbers if number in self._latest]
        measured = [record for record in known if record.state in DONE and record.value_of(metric) is not None]
        values = [value for record in measured if (value := record.value_of(metric)) is not None]
        first = (measured or known or [None])[0]  # type: ignore[list-item]
        planned = next((self._planned[number] for number in numbers if number in self._planned), None)
        number = numbers[0] if first is None else first.run
        changed = self._changed.get(planned.number if planned else number, {})
        row = Row(
            rank=None,
            run=number,
            name=self._planned[number].name if first is None else first.name,
            state="planned" if first is None else first.state,
            changed={key: shown(value) for key, value in changed.items()},
            parameters=None if planned is None else planned.parameters,
            run_file=self._run_file(number, first),
            runs=numbers,
            n_seeds=len(measured),
            n_failed=sum(record.state in FAILED for record in known),
            planned_epochs=self._planned_epochs(numbers),
        )
        if first is None:
            return row
        mean = _mean(values)
        model_path, model_again = self._model(first)
        seconds = [self._seconds[record.run] for record in known if record.run in self._seconds]
        keeps = self._plan.config.oom_keep_effective_batch
        return replace(
            row,
            metric=mean,
            standard_error=self._error(values, first),
            standard_error_by="seeds" if len(values) > 1 else "",
            skill=None
            if mean is None or self._best_baseline is None
            else skill(mean, self._best_baseline, maximize=maximize),
            best_val_loss=_mean([record.best_val_loss for record in measured or [first]]),
            best_epoch=first.best_epoch,
            seconds=_mean(seconds),
            model_path=model_path,
            model_again=model_again,
            batch_changed=not keeps and any(map(self._is_smaller, known)),
            masks_changed=keeps and any(self._is_smaller(record) and self._drops(record) for record in known),
            error=_error(first, known),
            epochs=sum(len(record.curve) for record in known),
            test_metric=self._test_metric(numbers),
            metrics=_mean_metrics(measured),
        )

    def _run_file(self, number: int, record: Record | None) -> str:
        """The run file, also of a run that the config no longer asks for."""
        if number in self._planned:
            return str(self._planned[number].path)
        assert record is not None
        return record.files.get("config", str(run_folder(self._plan.config) / f"{record.name}.yaml"))

    def _model(self, record: Record) -> tuple[str, str]:
        """The best model of a run where it is on disk, else the command that makes it again."""
        path = next((path for what, path in model_files(record).items() if what.startswith("best")), "")
        if not path or (self._plan.config.root / path).exists():
            return path, ""
        return "", f"sequifier train --config-path {self._run_file(record.run, record)}"

    def _error(self, values: Sequence[float], first: Record) -> float | None:
        from sequifier.results.comparison import error_over_seeds  # numpy loads here

        metric = self._plan.config.metric
        return error_over_seeds(values) if len(values) > 1 else _standard_error(first.metrics, metric)

    def _planned_epochs(self, numbers: Sequence[int]) -> int | None:
        if any(number not in self._planned for number in numbers):
            return None
        return sum(self._planned[number].config.training_spec.epochs for number in numbers)

    def _is_smaller(self, record: Record) -> bool:
        """Whether a run was trained with a smaller batch than planned."""
        planned = self._planned.get(record.run)
        return planned is not None and record.batch_size < planned.config.training_spec.batch_size

    def _drops(self, record: Record) -> bool:
        return self._planned[record.run].config.training_spec.dropout > 0

    def _test_metric(self, numbers: Sequence[int]) -> float | None:
        if self._test is None or self._test["run"] not in numbers:
            return None
        value: float | None = self._test["metrics"].get(self._plan.config.metric)
        return value


def _ranked(rows: list[Row], plan: Plan) -> list[Row]:
    """The rows from best to worst with their ranks."""
    maximize, confirms = plan.config.direction == "maximize", plan.config.confirm_top > 0

    def order(row: Row) -> tuple[bool, float, int]:
        assert row.metric is not None and row.run is not None
        is_confirmed = confirms and row.n_seeds > plan.config.repeats
        return (not is_confirmed, _sign(maximize) * row.metric, row.run)

    return [replace(row, rank=rank) for rank, row in enumerate(sorted(rows, key=order), start=1)]


def _with_baselines(ranked: Sequence[Row], baselines: Sequence[Row], *, maximize: bool) -> list[Row]:
    """Each baseline before the first row that is not better: a run that is as good has not beaten it."""

    def value(row: Row) -> float:
        assert row.metric is not None
        return _sign(maximize) * row.metric

    waiting = sorted(baselines, key=value)
    table: list[Row] = []
    for row in ranked:
        while waiting and value(waiting[0]) <= value(row):
            table.append(waiting.pop(0))
        table.append(row)
    return [*table, *waiting]


def _compared(ranked: Sequence[Row], plan: Plan, latest: Mapping[int, Record], baselines: Sequence[str]) -> list[Row]:
    """The rows with their standard errors and verdicts."""
    from sequifier.results.certainty import certainty, standard_error  # numpy loads here

    metric, maximize = plan.config.metric, plan.config.direction == "maximize"
    root, folder = plan.config.root, plan.config.root / "logs" / plan.config.hp_search_name

    def files(row: Row) -> dict[int, Path | None]:
        measured = [latest[number] for number in row.runs if number in latest]
        found = {}
        for record in measured:
            if record.state in DONE and record.value_of(metric) is not None:
                path = record.files.get("sequence_losses")
                found[record.seed] = None if path is None else root / path
        return found

    of_rows = [files(row) for row in ranked]
    tested = next((place for place, row in enumerate(ranked) if row.test_metric is not None), None)
    compared = certainty(of_rows, metric, maximize=maximize, folder=folder, baselines=baselines, tested=tested)
    rows = []
    for row, paths, found in zip(ranked, of_rows, compared, strict=True):
        error, by = standard_error(found, paths, row.standard_error, row.standard_error_by)
        row = replace(row, standard_error=error, standard_error_by=by)
        rows.append(replace(row, indistinguishable=found.is_indistinguishable, beats_baselines=found.beats_baselines))
    return rows


def _with_errors(baselines: Sequence[Row], plan: Plan) -> list[Row]:
    """The rows of baselines with the standard errors of their sums, or those that were recorded with val_loss."""
    from sequifier.results.certainty import units_of_baselines  # numpy loads here

    metric = plan.config.metric
    known = units_of_baselines(plan.config.root / "logs" / plan.config.hp_search_name, metric)
    rows = []
    for row in baselines:
        units = known.get(row.name)
        error = _standard_error(row.metrics, metric) if units is None else units.standard_error
        by = "" if units is None or error is None else units.by
        rows.append(replace(row, standard_error=error, standard_error_by=by))
    return rows


def _sign(maximize: bool) -> int:
    """Brings a metric to a scale on which less is better."""
    return -1 if maximize else 1


def _error(first: Record, known: Sequence[Record]) -> str:
    """The error of the run that stands for its configuration, and those of other runs that failed."""
    others = [
        f"run {record.run} {record.state}: {record.error}"
        for record in known
        if record is not first and record.state in FAILED
    ]
    return "; ".join(filter(None, [first.error, *others]))


def _mean_metrics(records: Sequence[Record]) -> dict[str, float]:
    """Each metric that all of these runs have."""
    names = [
        name for name in (records[0].metrics if records else ()) if all(name in other.metrics for other in records)
    ]
    return {name: sum(record.metrics[name] for record in records) / len(records) for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _standard_error(metrics: Mapping[str, float], metric: str) -> float | None:
    return metrics.get("standard_error") if metric == "val_loss" else None
