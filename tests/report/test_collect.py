"""A search on disk as a table, and its counts, costs and ranks."""

import csv
import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sequifier.artifacts.ledger import LEDGER_FILE, Ledger, Record
from sequifier.errors import RunError
from sequifier.report.analyse import analyse
from sequifier.report.curves import pareto
from sequifier.report.findings import findings
from sequifier.report.overview import budget, over_tuning, overview
from sequifier.results.find import newest_search
from sequifier.results.ranking import ranked, seed_noise
from sequifier.results.read import read_search
from sequifier.results.trials import Table
from tests.support.synthetic_search import write_search


def test_a_ranked_real_search_is_as_in_its_results(real_project: Path) -> None:
    table = read_search(str(real_project / "logs" / "tune"))
    with (real_project / "logs" / "tune" / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["run"]]
    found = ranked(table)
    assert [row.first.number for row in found] == [int(row["run"]) for row in rows]
    for own, row in zip(found, rows, strict=True):
        assert own.value == pytest.approx(float(row["best_val_loss"]), rel=1e-12)
        assert own.standard_error == pytest.approx(float(row["standard_error"]), rel=1e-9)
        assert str(own.is_indistinguishable).lower().replace("none", "") == row["indistinguishable"]
        assert " ".join(map(str, own.numbers)) == row["runs"]
        assert own.n_parameters == int(row["parameters"])
        assert own.n_seeds == 2
    assert table.settings == ("input_columns", "learning_rate")
    assert [len(trial.curve) for trial in table.trials] == [3] * 8
    assert all(len(trial.train_curve) == 3 and trial.record is not None for trial in table.trials)
    noise = seed_noise(table, found)
    frame = pl.DataFrame({"key": [t.configuration for t in table.trials], "loss": [t.value for t in table.trials]})
    pooled = frame.group_by("key").agg(pl.col("loss").var())["loss"].mean()
    assert noise.deviation == pytest.approx(pooled**0.5) and noise.n_configurations == 4  # type: ignore[operator]


def test_counts_and_costs_match_the_ledger(wide: Table, wide_project: Path) -> None:
    lines = [json.loads(line) for line in (wide_project / "logs/wide" / LEDGER_FILE).read_text().splitlines()]
    last = pl.DataFrame([{"run": x["run"], "state": x["state"], **x["seconds"]} for x in lines], strict=False)
    last = last.group_by("run", maintain_order=True).last()
    found = overview(wide, ranked(wide))
    assert found.states == dict(last.group_by("state").len().iter_rows())
    assert (found.n_trials, found.n_configurations) == (60, 60)
    spent = dict(last.group_by("state").agg(pl.col("total").sum()).iter_rows())
    assert found.budget.useful == pytest.approx(spent["finished"] + spent["diverged"])
    assert found.budget.pruned == pytest.approx(spent["pruned"])
    assert found.budget.wasted == 40.0, "two runs of 20 s, by the times of their records"
    parts = found.budget
    assert parts.total == parts.useful + parts.pruned + parts.retried + parts.wasted + parts.open
    assert (parts.epochs_planned, parts.epochs_saved) == (57 * 12, 2 * 9)
    best = min(x["best_val_loss"] for x in lines if x["best_val_loss"] is not None)
    assert found.best == best and found.skill == pytest.approx((1.1 - best) / 1.1)


def write_ledger(root: Path, *records: dict[str, Any]) -> Path:
    known = {"name": "s-run-0", "run": 0, "identity": "0" * 64, "data": "d", "batch_size": 8, "seed": 1}
    folder = root / "logs" / "s"
    shutil.rmtree(folder, ignore_errors=True)
    with Ledger.open(folder) as ledger:
        for record in records:
            ledger.append(Record.model_validate(known | record))
    return folder


def at(seconds: int) -> str:
    return f"2026-01-02T03:{seconds // 60:02d}:{seconds % 60:02d}.000+00:00"


def test_an_attempt_that_was_begun_again_is_neither_useful_nor_wasted(tmp_path: Path) -> None:
    folder = write_ledger(
        tmp_path,
        {"state": "running", "time": at(0)},
        {"state": "running", "time": at(30), "attempt": 2, "error": "attempt 1: out of memory"},
        {"state": "finished", "time": at(50), "attempt": 2, "best_val_loss": 1.0, "seconds": {"total": 19.0}},
    )
    spent = budget(read_search(str(folder)).trials)
    assert (spent.useful, spent.retried, spent.wasted, spent.total) == (19.0, 30.0, 0.0, 49.0)


def test_a_search_that_was_dead_for_a_day_spent_none_of_it(tmp_path: Path) -> None:
    folder = write_ledger(
        tmp_path,
        {"state": "running", "time": at(0)},
        {"state": "running", "time": "2026-01-03T03:00:00.000+00:00", "attempt": 2},
        {"state": "interrupted", "time": "2026-01-03T03:00:09.000+00:00", "attempt": 2, "seconds": {"total": 8.0}},
        {"state": "running", "time": "2026-01-03T03:00:10.000+00:00", "attempt": 3},
        {"state": "failed", "time": "2026-01-03T03:00:14.000+00:00", "attempt": 3, "error": "no"},
    )
    (trial,) = read_search(str(folder)).trials
    assert (trial.seconds, trial.retried_seconds, trial.attempts) == (12.0, 0.0, 3)
    assert budget([trial]).wasted == 12.0


def test_a_front_has_all_that_none_beats_and_only_those(wide: Table) -> None:
    rows = [row for row in ranked(wide) if row.value is not None and row.state != "pruned"]
    for front in pareto(wide, rows):
        costs = {
            row.first.number: float(getattr(row, {"parameters": "n_parameters"}.get(front.cost, front.cost)))
            for row in rows
        }
        values = {row.first.number: row.value or 0.0 for row in rows}
        beaten = {
            one
            for one in costs
            for other in costs
            if costs[other] <= costs[one]
            and values[other] <= values[one]
            and (costs[other], values[other]) != (costs[one], values[one])
        }
        assert {point.run for point in front.front} == set(costs) - beaten
        assert front.n == len(rows)


@pytest.mark.parametrize(
    ("test", "error", "over"), [(0.95, 0.03, False), (2.0, 0.03, True), (0.5, 0.03, False), (2.0, None, None)]
)
def test_the_winner_on_the_test_split(tmp_path: Path, test: float, error: float | None, over: bool | None) -> None:
    write_search(tmp_path, n_runs=8, epochs=4)
    scores = {"val_loss": test} | ({} if error is None else {"standard_error": error})
    folder = tmp_path / "logs" / "wide"
    table = read_search(str(folder))
    assert over_tuning(table, ranked(table)) is None
    best = ranked(table)[0].first
    (folder / "test.json").write_text(json.dumps({"run": best.number, "metrics": scores}))
    table = read_search(str(folder))
    found = over_tuning(table, ranked(table))
    assert found is not None and found.is_winner and best.value is not None
    assert found.gap == pytest.approx(test - best.value) and found.is_over_tuned is over
    if error is not None:
        assert found.error == pytest.approx((0.04**2 + error**2) ** 0.5)


def test_the_newest_search_is_the_one_worked_on_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="there is no search yet"):
        newest_search()
    for place, name in enumerate(("b", "a", "c")):
        (Path("logs") / name).mkdir(parents=True)
        (Path("logs") / name / LEDGER_FILE).write_text("")
        os.utime(Path("logs") / name / LEDGER_FILE, (place % 2, place % 2))
    assert newest_search() == Path("logs/a")


def test_settings_that_always_change_together_are_one_parameter(wide: Table) -> None:
    assert set(wide.settings) >= {"learning_rate", "dropout", "optimizer", "num_layers", "dim_model", "n_head"}
    assert wide.linked == {"dim_model": ("dim_feedforward", "initial_embedding_dim")}
    assert Counter(trial.group for trial in wide.trials).keys() == {"[kind]", "[kind, length]"}


def test_a_test_split_without_a_value_of_the_metric_is_named(tmp_path: Path) -> None:
    write_search(tmp_path, n_runs=8, epochs=4)
    table = read_search(str(tmp_path / "logs" / "wide"))
    assert table.test_without_value == ""
    tested = replace(table, metric="val_flag_auc", test={"run": 3, "metrics": {"val_loss": 0.50836}})
    expected = (
        "The test split has no value of val_flag_auc, which compares sequences of different classes; the loss of run 3 "
        "there is 0.5084."
    )
    assert tested.test_without_value == expected
    small = replace(tested, test={"run": 3, "metrics": {"val_loss": 0.000508361}})
    assert small.test_without_value.endswith("the loss of run 3 there is 0.0005084.")
    assert replace(tested, metric="val_loss").test_without_value == ""
    unscored = analyse([replace(table, test={"run": 3, "metrics": {}})])
    (finding,) = (each for each in findings(unscored) if each.kind == "over-tuning")
    assert finding.text == "The test split has no value of val_loss."
