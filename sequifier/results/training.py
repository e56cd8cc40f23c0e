"""A training search as a table of its trials, read from its ledger and the files beside it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from sequifier.artifacts.ledger import (
    DONE,
    LEDGER_FILE,
    Record,
    latest_by_run,
    latest_order_checks,
    read_ledger,
)
from sequifier.artifacts.ledger_lock import is_locked
from sequifier.artifacts.read_file import json_lines
from sequifier.config.catalogue.metric_names import split_step
from sequifier.errors import RunError
from sequifier.experiment.record import METRICS
from sequifier.printable import command_line
from sequifier.results.environment import difference_warning, environment_of
from sequifier.results.find import find_ranking
from sequifier.results.run_files import RunFiles, read_document
from sequifier.results.search_folder import CONFIG_FILE, read_baselines, read_test
from sequifier.results.settings import flat, shown
from sequifier.results.trials import Batch, Curve, Direction, Table, Trial, finite, with_varied_settings

ALL_COLUMNS = "all columns"
TRAINING_LOSS = "train_loss"
MOST_EPOCHS = 1_000_000
"""A larger epoch number is damage: a curve has an entry for each epoch."""

RECORDS_READ = 250
"""Maximum number of run records that are opened for training losses: more curves cannot be distinguished."""


def collect_search(
    folder: Path, *, metric: str | None = None, direction: Literal["minimize", "maximize"] | None = None
) -> Table:
    """Read a training search, finished or running.

    Args:
        folder: the ledger's folder, `logs/[hp_search_name]`.
        metric: metric that ranks; None: the search's own.
        direction: direction of the metric; None: as the search has it.

    Raises:
        RunError: there is no ledger, it is empty or damaged, or no such metric.
    """
    records = read_ledger(folder, Record)
    if not records:
        raise RunError(
            "the search has no runs yet",
            where=str(folder / LEDGER_FILE),
            fix="wait for the first run, or start the search again",
        )
    root = folder.absolute().parent.parent
    files = RunFiles(records, root)
    run_file = next((found for record in records[:1] if (found := read_document(files.path(record)))), {})
    document = read_document(folder / CONFIG_FILE)
    ranking = find_ranking(folder, records, document or run_file, metric=metric, direction=direction)
    latest = {number: files.completed(record) for number, record in latest_by_run(records).items()}
    table = training_table(
        folder,
        records,
        latest,
        files,
        metric=ranking.metric,
        direction=ranking.direction,
        document=document,
        baselines=read_baselines(folder),
        test=read_test(folder),
    )
    trained_by = str(run_file.get("metric", "val_loss"))
    trials = _with_records(table.trials, latest, root, trained_by, maximize=table.maximize)
    return replace(table, trials=tuple(trials), is_running=is_locked(folder), curve_metric=trained_by)


def training_table(
    folder: Path,
    records: Sequence[Record],
    latest: Mapping[int, Record],
    files: RunFiles,
    *,
    metric: str,
    direction: Direction,
    document: Mapping[str, Any],
    baselines: Mapping[str, Mapping[str, float]],
    test: Mapping[str, Any],
    planned: Collection[int] = (),
    keep_equal: Sequence[str] = (),
    with_settings: bool = True,
) -> Table:
    """The table of a search.

    Args:
        folder: the ledger's folder.
        records: the ledger.
        latest: run number -> last record, completed; the records of runs that are still to come have state `planned`.
        files: the run files.
        metric: metric that ranks.
        direction: direction of the metric.
        document: the search's config as plain values.
        baselines: name -> metrics.
        test: as in `Table`.
        planned: numbers of the runs of the search's plan: their run files exist, or will be written.
        keep_equal: dotted keys that the table shows although no two runs differ in them yet.
        with_settings: without them the table is made faster, and can still be ranked.
    """
    history: dict[int, list[Record]] = {}
    for record in records:
        history.setdefault(record.run, []).append(record)
    keeps_batch = bool(document.get("oom_keep_effective_batch", True))
    trials, order_checks = (
        [
            _trial(
                folder,
                record,
                history.get(number, []),
                files,
                metric,
                keeps_batch=keeps_batch,
                is_planned=number in planned,
                with_settings=with_settings,
            )
            for number, record in sorted(found.items())
        ]
        for found in (latest, latest_order_checks(records))
    )
    table = Table(
        name=folder.name,
        kind="training",
        metric=metric,
        direction=direction,
        trials=tuple(trials),
        order_checks=tuple(order_checks),
        varied=tuple(dict.fromkeys(key for record in latest.values() for key in record.settings or ())),
        baselines=baselines,
        test=test,
        document=document,
        folder=folder,
        source=folder / LEDGER_FILE,
        data=records[-1].data if records else "",
        targets=next((record.n_targets for record in records if record.n_targets), {}),
        started=records[0].time if records else "",
        ended=records[-1].time if records else "",
        difference=difference_warning(trial.environment for trial in trials),
    )
    return with_varied_settings(table, keep_equal=keep_equal) if with_settings else table


def _trial(
    folder: Path,
    record: Record,
    history: Sequence[Record],
    files: RunFiles,
    metric: str,
    *,
    keeps_batch: bool,
    is_planned: bool,
    with_settings: bool,
) -> Trial:
    spent = [entry.seconds["total"] for entry in history if "total" in entry.seconds]
    lost, unmeasured = _attempt_seconds(history)
    columns = record.setting("input_columns")
    given = None if record.settings is None else {**record.fixed, **record.settings}
    run_file = files.named(record)
    has_run_file = is_planned or files.path(record).exists()
    model_path = next((path for what, path in model_files(record).items() if what.startswith("best")), "")
    sums = record.files.get("sequence_losses")
    return Trial(
        search=folder.name,
        number=record.run,
        name=record.name,
        state=record.state,
        settings={} if given is None or not with_settings else flat(given),
        values={} if given is None else given,
        configuration=record.configuration or record.identity,
        value=result_of(record, metric),
        group="" if given is None else ALL_COLUMNS if columns is None else shown(columns),
        group_size=len(columns) if isinstance(columns, list) else None,
        seed=record.seed,
        seconds=sum(spent) + unmeasured if spent or unmeasured else None,
        retried_seconds=lost,
        curve=tuple(finite(value) for value in record.curve),
        epochs=record.setting("training_spec.epochs"),
        best_epoch=record.best_epoch,
        best_val_loss=record.best_val_loss,
        n_parameters=record.n_parameters,
        metrics=record.metrics,
        error=record.error or "",
        command=command_line("train", "--config-path", run_file) if has_run_file else "",
        config_path=run_file if has_run_file else "",
        model_path=model_path,
        has_model=bool(model_path) and (files.root / model_path).exists(),
        batch=_batch(record, keeps_batch=keeps_batch),
        sequence_losses=None if sums is None else files.root / sums,
        identity=record.identity,
        attempts=record.attempt,
        started=history[0].time if history else "",
        ended=record.time,
        environment=environment_of(record),
        order_of=record.order_of,
    )


def result_of(record: Record, metric: str) -> float | None:
    """The value of a run that ranks; None where it has no result."""
    return finite(record.value_of(metric)) if record.state in DONE else None


def model_files(record: Record) -> dict[str, str]:
    """The exported models of a run: kind of file -> path below project_root."""
    return {what: path for what, path in record.files.items() if path.startswith("models/")}


def _batch(record: Record, *, keeps_batch: bool) -> Batch:
    """How the batch of a run differs from the planned batch, for lack of memory."""
    planned = record.setting("training_spec.batch_size")
    if planned is None or record.batch_size >= planned:
        return "planned"
    if not keeps_batch:
        return "changed"
    return "in pieces" if record.setting("training_spec.dropout") else "planned"


def _attempt_seconds(history: Sequence[Record]) -> tuple[float, float]:
    """Seconds of attempts that were started again, and of a last attempt that failed: records do not hold them.

    They are the time between two records. When a search was killed, the time until it was started again is unknown, so
    an attempt counts only where another one follows in the same process.
    """
    # The completed copy of a record of an older version has the same time as the record.
    moments = [(record.time, record.state) for record in history]
    history = [
        record for place, record in enumerate(history) if moments[place] not in moments[max(place - 1, 0) : place]
    ]
    lost = 0.0
    for before, after in pairwise(history):
        if before.state == "running" and after.state == "running" and (after.error or "").startswith("attempt "):
            lost += _between(before, after)
    failed = 0.0
    if len(history) > 1 and history[-1].state in ("failed", "oom") and history[-2].state == "running":
        failed = _between(history[-2], history[-1])
    return lost, failed


def _between(before: Record, after: Record) -> float:
    return max(0.0, (datetime.fromisoformat(after.time) - datetime.fromisoformat(before.time)).total_seconds())


def _with_records(
    trials: Sequence[Trial], latest: Mapping[int, Record], root: Path, metric: str, *, maximize: bool
) -> list[Trial]:
    """Add what the run records hold: training losses of the best trials, and the progress of running ones."""

    def order(trial: Trial) -> tuple[bool, float]:
        return trial.value is None, (-1 if maximize else 1) * (trial.value or 0.0)

    best = {trial.number for trial in sorted(trials, key=order)[:RECORDS_READ]}
    found = []
    for trial in trials:
        files = latest[trial.number].files
        folder = root / files["record"] if "record" in files else root / "logs" / trial.name / "latest"
        if folder.exists():
            trial = replace(trial, record=folder)
        if trial.number in best:
            curves = read_curves(folder, metric)
            curve, train = curves.get(metric, ()), curves.get(TRAINING_LOSS, ())
            trial = replace(trial, curve=trial.curve or curve, train_curve=train, curves=curves)
        found.append(trial)
    return found


def read_curves(folder: Path, *more: str) -> dict[str, Curve]:
    """The training loss and each metric after each epoch, from a run's record; empty without a record.

    Of an epoch that a resumed run wrote twice, the last entry counts. Evaluations within an epoch are left out.

    Args:
        folder: of the record.
        more: further values of the entries, such as the metric at a step of a horizon.
    """
    entries: dict[int, Mapping[str, Any]] = {}
    for entry in json_lines(folder / METRICS):
        epoch = entry.get("epoch")
        if isinstance(epoch, int) and 0 < epoch <= MOST_EPOCHS:
            entries[epoch] = entry
    every = dict.fromkeys(name for entry in entries.values() for name in entry)
    # The steps of a long horizon have hundreds of metrics.
    names = [name for name in every if name.startswith("val_") and split_step(name)[1] is None]
    found = [entries.get(epoch, {}) for epoch in range(1, max(entries, default=0) + 1)]
    return {
        # A large search has hundreds of thousands of values: `finite` is called for few of them.
        name: tuple(
            value if type(value := entry.get(name)) is float and isfinite(value) else finite(value) for entry in found
        )
        for name in dict.fromkeys([TRAINING_LOSS, *more, *names])
        if name in every
    }
