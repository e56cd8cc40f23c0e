"""Plan and ledger -> the rows of the ranked table, baselines among them. The command line draws them."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.ledger import DONE, Record, latest_by_run
from sequifier.search.plan import Plan
from sequifier.search.space import shown

BASELINE = "baseline"
"""The state of a baseline's row."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        rank: from 1, among runs with a result; None for others and for baselines.
        run: number; None for a baseline.
        name: of the run or baseline.
        state: of the run, or "baseline".
        changed: what tells this run from the others, by field name, as text.
        metric: the value that ranks; None without a result.
        standard_error: of val_loss, over sequences; None when another metric ranks.
        skill: by which share of it the best baseline is beaten; None without a result or a baseline.
        best_val_loss: at the best epoch.
        best_epoch: from 1.
        parameters: trainable numbers of the model.
        seconds: the last attempt from its start to its end.
        model_path: of the best model; "" without one.
        batch_changed: the optimizer saw a smaller batch than planned, for lack of memory.
        error: why there is no result.
    """

    rank: int | None
    run: int | None
    name: str
    state: str
    changed: Mapping[str, str] = field(default_factory=dict)
    metric: float | None = None
    standard_error: float | None = None
    skill: float | None = None
    best_val_loss: float | None = None
    best_epoch: int | None = None
    parameters: int | None = None
    seconds: float | None = None
    model_path: str = ""
    batch_changed: bool = False
    error: str = ""


def metric_of(record: Record, metric: str) -> float | None:
    """The value of a metric at a run's best epoch."""
    return record.metrics.get(metric, record.best_val_loss if metric == "val_loss" else None)


def skill(value: float, baseline: float, *, maximize: bool) -> float | None:
    """The share of the baseline's value by which a result is better; negative when it is worse.

    None for a baseline of 0, of which there is no share.
    """
    if baseline == 0:
        return None
    gain = value - baseline if maximize else baseline - value
    return gain / abs(baseline)


def results(
    plan: Plan, records: Sequence[Record], baselines: Mapping[str, Mapping[str, float]] | None = None
) -> list[Row]:
    """The table: results from the best to the worst with the baselines among them, then the runs without a result.

    Args:
        plan: of the search.
        records: its ledger.
        baselines: name -> its metrics on the same targets.
    """
    metric, maximize = plan.config.metric, plan.config.direction == "maximize"
    latest = latest_by_run(records)
    scores = {name: values[metric] for name, values in (baselines or {}).items() if metric in values}
    best_baseline = (max if maximize else min)(scores.values(), default=None)

    rows = [
        Row(
            rank=None,
            run=None,
            name=name,
            state=BASELINE,
            metric=value,
            standard_error=_standard_error((baselines or {})[name], metric),
            best_val_loss=(baselines or {})[name].get("val_loss"),
        )
        for name, value in scores.items()
    ]
    changed = {run.number: run.changed for run in plan.runs} | {
        earlier.record.run: earlier.changed for earlier in plan.earlier
    }
    parameters = {run.number: run.parameters for run in plan.runs}
    planned_batch = {run.number: run.config.training_spec.batch_size for run in plan.runs}
    names = {run.number: run.name for run in plan.runs} | {number: record.name for number, record in latest.items()}
    for number, name in sorted(names.items()):
        record = latest.get(number)
        as_text = {key: shown(value) for key, value in changed.get(number, {}).items()}
        if record is None:
            rows.append(Row(None, number, name, "planned", as_text, parameters=parameters.get(number)))
            continue
        value = metric_of(record, metric) if record.state in DONE else None
        halved = record.batch_size < planned_batch.get(number, record.batch_size)
        rows.append(
            Row(
                rank=None,
                run=number,
                name=name,
                state=record.state,
                changed=as_text,
                metric=value,
                standard_error=_standard_error(record.metrics, metric),
                skill=None
                if value is None or best_baseline is None
                else skill(value, best_baseline, maximize=maximize),
                best_val_loss=record.best_val_loss,
                best_epoch=record.best_epoch,
                parameters=parameters.get(number),
                seconds=record.seconds.get("total"),
                model_path=next((path for what, path in record.files.items() if what.startswith("best")), ""),
                batch_changed=halved and not plan.config.oom_keep_effective_batch,
                error=record.error or "",
            )
        )
    return _ranked(rows, maximize=maximize)


def write_results(path: Path, rows: Sequence[Row], *, metric: str = "val_loss") -> None:
    """Write the table as CSV, atomically: run, name, state, best_val_loss, best_epoch, then what differs, and the rest.

    Args:
        path: `logs/[hp_search_name]/results.csv`.
        rows: in the order of the table.
        metric: what ranks them; its column stands behind best_epoch when it is not val_loss.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    changed = list(dict.fromkeys(key for row in rows for key in row.changed))
    ranked_by = [] if metric == "val_loss" else [metric]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["run", "name", "state", "best_val_loss", "best_epoch", *ranked_by]
    writer.writerow([*head, *changed, "parameters", "seconds", "model_path"])
    for row in rows:
        outcome = [_number(row.best_val_loss), row.best_epoch, *(_number(row.metric) for _ in ranked_by)]
        varied = [row.changed.get(key) for key in changed]
        cost = [row.parameters, _number(row.seconds), row.model_path]
        writer.writerow([row.run, row.name, row.state, *outcome, *varied, *cost])
    write_text(path, text.getvalue())


def _ranked(rows: list[Row], *, maximize: bool) -> list[Row]:
    with_result = [row for row in rows if row.metric is not None]
    without = [row for row in rows if row.metric is None]

    def order(row: Row) -> tuple[float, bool, int]:
        assert row.metric is not None
        # A run that is as good as a baseline has not beaten it.
        return (-row.metric if maximize else row.metric, row.run is not None, row.run or 0)

    rank = 0
    ranked = []
    for row in sorted(with_result, key=order):
        if row.run is not None:
            rank += 1
            row = replace(row, rank=rank)
        ranked.append(row)
    return ranked + without


def _standard_error(metrics: Mapping[str, float], metric: str) -> float | None:
    return metrics.get("standard_error") if metric == "val_loss" else None


def _number(value: float | None) -> Any:
    return None if value is None else repr(value)
