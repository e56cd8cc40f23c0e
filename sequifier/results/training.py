"""A training search on disk -> a table of its trials: ledger, run files, records, and the notes beside the ledger."""

import csv
import hashlib
import io
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from sequifier.artifacts.ledger import DONE, LEDGER_FILE, Record, latest_by_run, read_ledger
from sequifier.artifacts.read_file import json_lines, object_or_none, wrap_read_errors
from sequifier.config.fields import run_fields
from sequifier.errors import DataError, RunError
from sequifier.experiment.record import DATA, METRICS
from sequifier.regular_file import read_bytes
from sequifier.results.environment import difference_warning
from sequifier.results.find import CONFIG_FILE, find_ranking, is_running
from sequifier.results.run_files import Setting, all_settings, read_document, read_run_files
from sequifier.results.settings import shown
from sequifier.results.trials import Curve, Table, Trial, finite, with_parameters

NO_PARAMETERS = {field.name for field in run_fields() if field.about.get("outside_identity")} | {"metric", "direction"}
"""Settings that change no result, or the results' meaning."""

ALL_COLUMNS = "all columns"
MOST_EPOCHS = 1_000_000
"""A larger number is damage: a curve has a place for each epoch."""

RECORDS_READ = 250
"""Records that are opened for training losses: more curves nobody can tell apart."""


def collect_search(
    folder: Path, *, metric: str | None = None, direction: Literal["minimize", "maximize"] | None = None
) -> Table:
    """Read a training search, finished or running.

    Args:
        folder: of the ledger, `logs/[hp_search_name]`.
        metric: what ranks; None: what the search ranks by.
        direction: which way it is better; None: the same.

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
    documents = read_run_files(records, root)
    ranking = find_ranking(folder, records, documents, metric=metric, direction=direction)
    settings = all_settings(records, documents)
    asked = read_document(folder / CONFIG_FILE)
    known = _results(folder)
    latest = latest_by_run(records)
    history: dict[int, list[Record]] = {}
    for record in records:
        history.setdefault(record.run, []).append(record)
    run_files = next(
        (Path(r.files["config"]).parent for r in records if "config" in r.files), Path("configs/hp_search")
    )
    trials = [
        _trial(
            folder.name,
            record,
            history[number],
            documents.get(number, {}),
            settings.get(number, {}),
            ranking.metric,
            known.get(number, {}),
            run_files,
        )
        for number, record in latest.items()
    ]
    trained_by = next((str(document.get("metric", "val_loss")) for document in documents.values()), "val_loss")
    table = Table(
        name=folder.name,
        kind="training",
        metric=ranking.metric,
        direction=ranking.direction,
        trials=tuple(_with_records(trials, latest, root, trained_by, maximize=ranking.direction == "maximize")),
        baselines=(object_or_none(folder / "baselines.json") or {}),
        test=(object_or_none(folder / "test.json") or {}),
        document=asked,
        folder=folder,
        source=folder / LEDGER_FILE,
        data=records[-1].data,
        targets=next((record.n_targets for record in records if record.n_targets), {}),
        is_running=is_running(folder),
        started=records[0].time,
        ended=records[-1].time,
        curve_metric=trained_by,
        difference=difference_warning(records),
    )
    return with_parameters(table, leave_out=NO_PARAMETERS)


def _trial(
    search: str,
    record: Record,
    history: Sequence[Record],
    document: Mapping[str, Any],
    settings: Mapping[str, Setting],
    metric: str,
    known: Mapping[str, Any],
    run_files: Path,
) -> Trial:
    spent = [entry.seconds["total"] for entry in history if "total" in entry.seconds]
    lost, unmeasured = _attempt_seconds(history)
    columns = document.get("input_columns")
    counted = {name: value for name, value in settings.items() if name not in NO_PARAMETERS}
    config_path = record.files.get("config") or str(run_files / f"{record.name}.yaml")
    return Trial(
        search=search,
        number=record.run,
        name=record.name,
        state=record.state,
        settings=settings,
        configuration=_hash(repr(sorted(counted.items()))) if counted else record.identity,
        value=finite(record.value_of(metric)) if record.state in DONE else None,
        group="" if not document else ALL_COLUMNS if columns is None else shown(columns),
        group_size=len(columns) if isinstance(columns, list) else None,
        seed=record.seed,
        seconds=sum(spent) + unmeasured if spent or unmeasured else None,
        retried_seconds=lost,
        curve=tuple(finite(value) for value in record.curve),
        epochs=(document.get("training_spec") or {}).get("epochs"),
        best_epoch=record.best_epoch,
        n_parameters=known.get("parameters"),
        metrics=record.metrics,
        error=record.error or "",
        command=shlex.join(["sequifier", "train", "--config-path", config_path]) if document else "",
        config_path=config_path if document else "",
        model_path=next((place for what, place in record.files.items() if what.startswith("best")), ""),
        identity=record.identity,
        attempts=record.attempt,
        started=history[0].time,
        ended=record.time,
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _attempt_seconds(history: Sequence[Record]) -> tuple[float, float]:
    """Seconds of attempts that were begun again, and of a last one that failed: neither says its seconds itself.

    They are the time between two records. After a search was killed nobody knows how long it was dead, so an attempt
    that no other one follows in the same process counts as nothing.
    """
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
    """The trials with what their records add: training losses of the best, sizes, and how far running ones are."""

    def order(trial: Trial) -> tuple[bool, float]:
        return trial.value is None, (-1 if maximize else 1) * (trial.value or 0.0)

    best = {trial.number for trial in sorted(trials, key=order)[:RECORDS_READ]}
    found = []
    for trial in trials:
        files = latest[trial.number].files
        folder = root / files["record"] if "record" in files else root / "logs" / trial.name / "latest"
        if folder.exists():
            trial = replace(trial, record=folder)
        if "sequence_losses" in files:
            trial = replace(trial, sequence_losses=root / files["sequence_losses"])
        if trial.number in best:
            curve, train = read_curves(folder, metric)
            trial = replace(trial, curve=trial.curve or curve, train_curve=train)
            if trial.n_parameters is None:
                results = (object_or_none(folder / DATA) or {}).get("results")
                size = results.get("parameters") if isinstance(results, dict) else None
                trial = replace(trial, n_parameters=size if isinstance(size, int) else None)
        found.append(trial)
    return found


def read_curves(folder: Path, metric: str = "val_loss") -> tuple[Curve, Curve]:
    """A metric and the training loss after each epoch, from a run's record; empty without one.

    An epoch written twice, by a run that went on, counts as it was written last. Evaluations within an epoch are left
    out.
    """
    values: dict[int, tuple[float | None, float | None]] = {}
    for entry in json_lines(folder / METRICS):
        epoch = entry.get("epoch")
        if isinstance(epoch, int) and 0 < epoch <= MOST_EPOCHS:
            values[epoch] = finite(entry.get(metric)), finite(entry.get("train_loss"))
    epochs = range(1, max(values, default=0) + 1)
    pairs = [values.get(epoch, (None, None)) for epoch in epochs]
    return tuple(value for value, _ in pairs), tuple(train for _, train in pairs)


def _results(folder: Path) -> dict[int, dict[str, Any]]:
    """What results.csv adds to the ledger, by run number: parameters of the model."""
    found: dict[int, dict[str, Any]] = {}
    path = folder / "results.csv"
    with suppress(DataError), wrap_read_errors("the table", path, fix=""):
        for row in csv.DictReader(io.StringIO(read_bytes(path).decode(), newline="")):
            if row.get("parameters"):
                numbers = (row.get("runs") or row.get("run") or "").split()
                found |= {int(number): {"parameters": int(row["parameters"])} for number in numbers}
    return found
