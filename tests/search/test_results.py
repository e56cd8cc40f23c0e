"""The ranked table: who is ahead, by how much, of what, and what became of the others."""

import csv
from pathlib import Path
from typing import Any

import pytest
from searches import FINGERPRINT, metadata, search

from sequifier.artifacts.ledger import Record, State
from sequifier.search.plan import Plan, make_plan
from sequifier.search.results import metric_of, results, skill, write_results

BASELINES = {
    "most frequent": {"val_loss": 2.0, "val_kind_accuracy": 0.25},
    "what follows what": {"val_loss": 1.0, "val_kind_accuracy": 0.5},
}


def planned(**root: Any) -> Plan:
    training = {"dropout": [0.0, 0.1, 0.2, 0.3], "batch_size": 25}
    return make_plan(search(training=training, **root), metadata())


def record(plan: Plan, run: int, state: State, **values: Any) -> Record:
    known = {"run": run, "name": plan.runs[run].name, "identity": plan.runs[run].identity, "data": FINGERPRINT}
    return Record.model_validate(known | {"state": state, "batch_size": 25, "seed": 1010} | values)


def test_results_come_from_best_to_worst_with_the_baselines_among_them_and_the_rest_behind() -> None:
    plan = planned()
    records = [
        record(plan, 0, "finished", best_val_loss=1.5, best_epoch=3, seconds={"training": 2.0, "total": 2.5}),
        record(plan, 1, "failed", error="ValueError: no"),
        record(plan, 2, "running"),
        record(
            plan, 2, "finished", best_val_loss=0.75, best_epoch=4, files={"record": "r", "best_onnx": "models/m.onnx"}
        ),
    ]
    rows = results(plan, records, BASELINES)
    assert [(row.rank, row.run, row.name, row.state, row.metric) for row in rows] == [
        (1, 2, "demo-run-2", "finished", 0.75),
        (None, None, "what follows what", "baseline", 1.0),
        (2, 0, "demo-run-0", "finished", 1.5),
        (None, None, "most frequent", "baseline", 2.0),
        (None, 1, "demo-run-1", "failed", None),
        (None, 3, "demo-run-3", "planned", None),
    ]
    best, _, second, _, failed, _ = rows
    assert (best.changed, best.skill, best.model_path) == ({"dropout": "0.2"}, 0.25, "models/m.onnx")
    assert (second.skill, second.seconds, second.best_epoch, second.parameters) == (
        -0.5,
        2.5,
        3,
        plan.runs[0].parameters,
    )
    assert failed.error == "ValueError: no"


def test_a_metric_to_maximise_ranks_the_other_way() -> None:
    plan = planned(metric="val_kind_accuracy", direction="maximize")
    records = [
        record(plan, 0, "finished", best_val_loss=1.0, metrics={"val_kind_accuracy": 0.4}),
        record(plan, 1, "finished", best_val_loss=2.0, metrics={"val_kind_accuracy": 0.75}),
    ]
    rows = results(plan, records, BASELINES)
    assert [row.name for row in rows[:4]] == ["demo-run-1", "what follows what", "demo-run-0", "most frequent"]
    assert rows[0].skill == 0.5


def test_a_run_as_good_as_a_baseline_stands_behind_it() -> None:
    plan = planned()
    rows = results(plan, [record(plan, 0, "finished", best_val_loss=1.0)], BASELINES)
    assert [row.name for row in rows[:2]] == ["what follows what", "demo-run-0"]


def test_a_diverged_run_has_its_last_finite_result_and_a_failed_one_none() -> None:
    plan = planned()
    records = [
        record(plan, 0, "diverged", best_val_loss=1.0),
        record(plan, 1, "oom", best_val_loss=0.1),
        record(plan, 2, "diverged"),
    ]
    rows = results(plan, records)
    assert [(row.run, row.rank, row.state) for row in rows] == [
        (0, 1, "diverged"),
        (1, None, "oom"),
        (2, None, "diverged"),
        (3, None, "planned"),
    ]


def test_a_smaller_batch_is_marked_only_when_the_optimizer_saw_it() -> None:
    for keeps, marked in ((True, False), (False, True)):
        plan = planned(oom_keep_effective_batch=keeps)
        records = [
            record(plan, 0, "finished", best_val_loss=1.0, batch_size=13),
            record(plan, 1, "finished", best_val_loss=2.0),
        ]
        rows = results(plan, records)
        assert [row.batch_changed for row in rows[:2]] == [marked, False]


def test_a_run_that_left_the_space_stays_in_the_table() -> None:
    plan = planned()
    records = [record(plan, run, "finished", best_val_loss=run + 1.0) for run in range(4)]
    smaller = make_plan(search(training={"dropout": [0.0, 0.1], "batch_size": 25}), metadata(), records=records)
    assert [row.run for row in results(smaller, records)] == [0, 1, 2, 3]


def test_a_metric_is_the_logged_one_and_val_loss_the_best() -> None:
    plan = planned()
    with_metrics = record(plan, 0, "finished", best_val_loss=1.0, metrics={"val_kind_accuracy": 0.5})
    assert metric_of(with_metrics, "val_loss") == 1.0
    assert metric_of(with_metrics, "val_kind_accuracy") == 0.5
    assert metric_of(with_metrics, "val_kind_top5") is None


@pytest.mark.parametrize(
    ("value", "baseline", "maximize", "expected"),
    [
        (0.5, 1.0, False, 0.5),
        (2.0, 1.0, False, -1.0),
        (0.6, 0.5, True, 0.2),
        (-2.0, -1.0, False, 1.0),
        (1.0, 0.0, False, None),
    ],
)
def test_skill_is_the_share_by_which_the_baseline_is_beaten(
    value: float, baseline: float, maximize: bool, expected: float | None
) -> None:
    assert skill(value, baseline, maximize=maximize) == (None if expected is None else pytest.approx(expected))


def test_the_csv_has_the_documented_columns_and_exact_numbers(tmp_path: Path) -> None:
    plan = planned()
    records = [
        record(plan, 0, "finished", best_val_loss=0.1 + 0.2, best_epoch=2, seconds={"total": 1.5}),
        record(plan, 1, "failed"),
    ]
    path = tmp_path / "logs" / "demo" / "results.csv"
    write_results(path, results(plan, records, BASELINES))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("run", "name", "state", "best_val_loss", "best_epoch", "dropout", "parameters", "seconds", "model_path")
    ]
    assert rows[0] == {
        "run": "0",
        "name": "demo-run-0",
        "state": "finished",
        "best_val_loss": "0.30000000000000004",
        "best_epoch": "2",
        "dropout": "0.0",
        "parameters": str(plan.runs[0].parameters),
        "seconds": "1.5",
        "model_path": "",
    }
    assert (rows[1]["run"], rows[1]["name"], rows[1]["state"]) == ("", "what follows what", "baseline")
    write_results(path, [], metric="val_kind_accuracy")
    assert path.read_text(encoding="utf-8").startswith("run,name,state,best_val_loss,best_epoch,val_kind_accuracy,")
