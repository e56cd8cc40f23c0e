"""The ranked table: who is ahead, by how much, of what, and what became of the others."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sequifier.artifacts.ledger import Record
from sequifier.artifacts.sequence_losses import ONE_MODEL, Units, write_unit_sums
from sequifier.config.identity import identity
from sequifier.metrics.skill import skill
from sequifier.results.certainty import why_no_error
from sequifier.results.results_csv import write_results
from sequifier.search.make_plan import make_plan
from sequifier.search.plan import Plan
from sequifier.search.table import savings
from tests.support.searches import FINGERPRINT, metadata, record_of, results, search

BASELINES = {
    "most frequent": {"val_loss": 2.0, "val_kind_accuracy": 0.25},
    "what follows what": {"val_loss": 1.0, "val_kind_accuracy": 0.5},
}


def planned(**root: Any) -> Plan:
    training = {"dropout": [0.0, 0.1, 0.2, 0.3], "batch_size": 25}
    return make_plan(search(training=training, **root), metadata())


def repeated(plan: Plan, *seeds: int) -> Plan:
    """The plan with each of its configurations trained again with other seeds, under further numbers."""
    runs = list(plan.runs)
    for seed in seeds:
        for run in plan.runs:
            config = run.config.model_copy(update={"seed": seed})
            number, key = len(runs), identity(config, plan.fingerprint)
            runs.append(replace(run, number=number, name=f"demo-run-{number}", config=config, identity=key))
    return replace(plan, runs=tuple(runs))


def test_results_come_from_best_to_worst_with_the_baselines_among_them_and_the_rest_behind(tmp_path: Path) -> None:
    plan = planned(project_root=str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.onnx").touch()
    records = [
        record_of(plan.runs[0], best_val_loss=1.5, best_epoch=3, seconds={"training": 2.0, "total": 2.5}),
        record_of(plan.runs[1], "failed", error="ValueError: no"),
        record_of(plan.runs[2], "running"),
        record_of(plan.runs[2], best_val_loss=0.75, best_epoch=4, files={"record": "r", "best_onnx": "models/m.onnx"}),
    ]
    rows = results(plan, records, BASELINES)
    assert [(row.rank, row.run, row.name, row.state, row.value) for row in rows] == [
        (1, 2, "demo-run-2", "finished", 0.75),
        (None, None, "what follows what", "baseline", 1.0),
        (2, 0, "demo-run-0", "finished", 1.5),
        (None, None, "most frequent", "baseline", 2.0),
        (None, 1, "demo-run-1", "failed", None),
        (None, 3, "demo-run-3", "planned", None),
    ]
    best, _, second, _, failed, _ = rows
    assert (best.varied, best.skill, best.model_path) == ({"dropout": 0.2}, 0.25, "models/m.onnx")
    assert (second.skill, second.seconds, second.first.best_epoch, second.n_parameters) == (
        -0.5,
        2.5,
        3,
        plan.runs[0].n_parameters,
    )
    assert failed.error == "ValueError: no"


def test_a_model_that_is_not_on_disk_has_a_command_that_makes_it_again() -> None:
    plan = planned()
    files = {"config": "configs/hp_search/demo-run-0.yaml", "best_onnx": "models/no-such-model.onnx"}
    row = results(plan, [record_of(plan.runs[0], best_val_loss=1.0, files=files)])[0]
    assert (row.model_path, row.model_again) == (
        "",
        "sequifier train --config-path configs/hp_search/demo-run-0.yaml",
    )


def test_a_metric_to_maximise_ranks_the_other_way() -> None:
    plan = planned(metric="val_kind_accuracy", direction="maximize")
    records = [
        record_of(plan.runs[0], best_val_loss=1.0, metrics={"val_kind_accuracy": 0.4}),
        record_of(plan.runs[1], best_val_loss=2.0, metrics={"val_kind_accuracy": 0.75}),
    ]
    rows = results(plan, records, BASELINES)
    assert [row.name for row in rows[:4]] == ["demo-run-1", "what follows what", "demo-run-0", "most frequent"]
    assert rows[0].skill == 0.5


def test_a_run_as_good_as_a_baseline_is_ranked_behind_it() -> None:
    plan = planned()
    rows = results(plan, [record_of(plan.runs[0], best_val_loss=1.0)], BASELINES)
    assert [row.name for row in rows[:2]] == ["what follows what", "demo-run-0"]


def test_a_diverged_run_has_its_last_finite_result_and_a_failed_one_none() -> None:
    plan = planned()
    records = [
        record_of(plan.runs[0], "diverged", best_val_loss=1.0),
        record_of(plan.runs[1], "oom", best_val_loss=0.1),
        record_of(plan.runs[2], "diverged"),
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
            record_of(plan.runs[0], best_val_loss=1.0, batch_size=13),
            record_of(plan.runs[1], best_val_loss=2.0),
        ]
        rows = results(plan, records)
        assert ["changed" in row.batches for row in rows[:2]] == [marked, False]


def test_a_run_that_left_the_space_stays_in_the_table() -> None:
    plan = planned()
    records = [record_of(plan.runs[run], best_val_loss=run + 1.0) for run in range(4)]
    smaller = make_plan(search(training={"dropout": [0.0, 0.1], "batch_size": 25}), metadata(), records=records)
    assert [row.run for row in results(smaller, records)] == [0, 1, 2, 3]


def test_a_metric_is_the_logged_one_and_val_loss_the_best() -> None:
    plan = planned()
    with_metrics = record_of(plan.runs[0], best_val_loss=1.0, metrics={"val_kind_accuracy": 0.5})
    assert with_metrics.value_of("val_loss") == 1.0
    assert with_metrics.value_of("val_kind_accuracy") == 0.5
    assert with_metrics.value_of("val_kind_top5") is None


def test_runs_that_differ_by_their_seed_alone_are_one_configuration() -> None:
    once = planned()
    plan = repeated(once, 1011, 1012)
    together = [(0, 4, 8), (1, 5, 9), (2, 6, 10), (3, 7, 11)]
    assert [row.numbers for row in results(plan, [])] == together
    # Repeats that the config does not ask for any more are recognised by their identity.
    every = [plan.runs[run].new_record(FINGERPRINT, "finished", best_val_loss=1.0) for run in range(12)]
    assert sorted(row.numbers for row in results(once, every)) == together
    unknown = every[0].model_copy(update={"run": 7, "identity": "f" * 64, "seed": 3, "configuration": "f" * 64})
    assert (7,) in [row.numbers for row in results(once, [unknown])]


def test_a_configuration_has_the_mean_of_its_seeds_and_their_standard_error() -> None:
    plan = repeated(planned(), 1011, 1012)
    records = [
        record_of(plan.runs[0], best_val_loss=1.0, best_epoch=3, seconds={"total": 1.0}, curve=[1.0] * 3),
        record_of(plan.runs[4], best_val_loss=2.0, best_epoch=5, seconds={"total": 3.0}, curve=[1.0] * 5),
        record_of(plan.runs[8], "failed", error="ValueError: no"),
        record_of(plan.runs[1], best_val_loss=1.2, files={"best_onnx": "models/1.onnx"}),
    ]
    first, second, *_ = results(plan, records)
    assert (first.run, first.numbers, first.n_seeds, first.n_failed) == (1, (1, 5, 9), 1, 0)
    assert (second.run, second.numbers, second.n_seeds, second.n_failed) == (0, (0, 4, 8), 2, 1)
    assert (second.value, second.best_val_loss, second.first.best_epoch, second.seconds) == (1.5, 1.5, 3, 2.0)
    assert second.standard_error == pytest.approx(0.5)
    assert (second.epochs, second.planned_epochs) == (8, 30)
    assert second.error == "run 8 failed: ValueError: no"


def test_confirmed_configurations_rank_by_their_mean_before_the_others() -> None:
    records_of = {0: 1.0, 1: 1.1, 2: 1.2, 4: 1.5, 5: 1.1}  # 0 was lucky; 4 and 5 are the second seeds of 0 and 1
    for confirm_top, order in ((0, [1, 2, 0]), (2, [1, 0, 2])):
        plan = repeated(planned(), 1011)
        plan = replace(plan, config=plan.config.model_copy(update={"confirm_top": confirm_top}))
        records = [record_of(plan.runs[run], best_val_loss=loss) for run, loss in records_of.items()]
        rows = results(plan, records, {"almost": {"val_loss": 1.21}})
        assert [row.run for row in rows if row.rank] == order
        above = [row.run for row in rows[: [row.name for row in rows].index("almost")]]
        assert above == ([1, 2] if confirm_top == 0 else [1]), "a baseline stands before the first row it beats"


def test_what_is_indistinguishable_from_the_best_is_found_in_the_losses_of_the_same_sequences(tmp_path: Path) -> None:
    plan = planned(project_root=str(tmp_path))
    hardness, targets = np.random.default_rng(0).normal(2.0, 0.5, 200), np.full(200, 5.0)
    noise = [np.random.default_rng(seed).normal(0, 0.05, 200) for seed in (1, 2)]
    means = [hardness, hardness + noise[0] - noise[0].mean() + 0.001, hardness + noise[1] + 0.1]
    records = []
    for run, mean in enumerate(means):
        file = f"logs/demo-run-{run}/0/sequence_losses.npz"
        (tmp_path / file).parent.mkdir(parents=True)
        write_unit_sums(tmp_path / file, {ONE_MODEL: {"val_loss": Units(mean * targets, targets, "sequences")}})
        files = {"sequence_losses": file}
        metrics = {"val_loss": float(mean.mean()), "standard_error": 9.0}
        records.append(record_of(plan.runs[run], best_val_loss=float(mean.mean()), files=files, metrics=metrics))
    records.append(record_of(plan.runs[3], best_val_loss=5.0, metrics={"standard_error": 0.5}))
    rows = results(plan, records)
    assert [(row.run, row.is_indistinguishable) for row in rows] == [(0, None), (1, True), (2, False), (3, None)]
    assert [row.standard_error for row in rows[:3]] == pytest.approx(
        [np.std(mean) / 200**0.5 for mean in means], rel=0.1
    )
    assert rows[3].standard_error == 0.5, "what the run recorded, where its sequence losses are missing"


def with_units(plan: Plan, run: int, totals: dict[str, np.ndarray], counts: np.ndarray, **fields: Any) -> Record:
    """A finished run whose sums by sequence are on disk."""
    file = f"logs/demo-run-{run}/0/sequence_losses.npz"
    units = {metric: Units(total, counts, "sequences") for metric, total in totals.items()}
    write_unit_sums(plan.config.root / file, {ONE_MODEL: units})
    metrics = {metric: found.value for metric, found in units.items()} | fields.pop("metrics", {})
    files = {"sequence_losses": file}
    value = metrics.get("val_loss", 1.0)
    return record_of(plan.runs[run], best_val_loss=value, files=files, metrics=metrics, **fields)


def test_a_single_sequence_has_no_standard_error_and_no_verdict(tmp_path: Path) -> None:
    plan = planned(project_root=str(tmp_path))
    losses = (1.0, 1.5, 4.0)
    records = [
        with_units(plan, run, {"val_loss": np.array([loss * 50])}, np.array([50.0]), metrics={"standard_error": 0.0})
        for run, loss in enumerate(losses)
    ]
    rows = [row for row in results(plan, records, BASELINES) if row.rank]
    assert [(row.standard_error, row.is_indistinguishable, row.beats_baselines) for row in rows] == [(None,) * 3] * 3
    sums = rows[0].first.sequence_losses
    assert "the validation split has 1 sequence with a target, with 50 targets; " in why_no_error(sums, "val_loss")
    assert why_no_error(sums, "val_kind_accuracy") == "no standard error is known for val_kind_accuracy"
    write_results(tmp_path / "results.csv", rows)
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        assert {row["standard_error"] for row in csv.DictReader(file)} == {""}


def test_any_metric_that_ranks_has_its_errors_and_beats_baselines_in_pairs(tmp_path: Path) -> None:
    metric = "val_kind_accuracy"
    plan = planned(project_root=str(tmp_path), metric=metric, direction="maximize")
    draw, counts = np.random.default_rng(0), np.full(40, 20.0)
    easy = draw.uniform(0.2, 0.8, 40)
    hits = {run: (easy + worth + draw.normal(0, 0.01, 40)) * counts for run, worth in ((0, 0.0), (1, 0.001), (2, 0.1))}
    records = [with_units(plan, run, {metric: total}, counts) for run, total in hits.items()]
    weak, strong = (
        Units((easy - 0.05) * counts, counts, "sequences"),
        Units((easy + 0.09) * counts, counts, "sequences"),
    )
    write_unit_sums(
        plan.config.root / "logs/demo/baseline_losses.npz", {"weak": {metric: weak}, "ok": {metric: strong}}
    )
    scores = {"weak": {"val_loss": 1.0, metric: weak.value}, "ok": {"val_loss": 1.0, metric: strong.value}}
    rows = results(plan, records, scores)
    claims = {row.run: (row.is_indistinguishable, row.beats_baselines) for row in rows if row.rank}
    assert claims == {2: (None, True), 1: (False, False), 0: (False, False)}
    errors = {row.name: row.standard_error for row in rows}
    assert errors["weak"] == pytest.approx(np.std(easy, ddof=1) / 40**0.5, rel=1e-6)
    assert {row.standard_error_by for row in rows if row.value is not None} == {"sequences"}
    del scores["ok"]
    assert [row.beats_baselines for row in results(plan, records, scores) if row.rank] == [True] * 3


def test_the_winner_has_its_test_metric() -> None:
    plan = repeated(planned(), 1011)
    records = [record_of(plan.runs[run], best_val_loss=1.0 + run) for run in (0, 1, 4)]
    test = {"run": 4, "metrics": {"val_loss": 1.25, "val_kind_accuracy": 0.5}}
    assert [row.test_value for row in results(plan, records, test=test)] == [None, 1.25, None, None]


def test_seconds_add_up_over_all_attempts_of_a_run() -> None:
    plan = planned()
    records = [
        record_of(plan.runs[0], "interrupted", seconds={"total": 1.5}, error="paused after epoch 1"),
        record_of(plan.runs[0], "running"),
        record_of(plan.runs[0], best_val_loss=1.0, seconds={"total": 2.0}),
    ]
    assert results(plan, records)[0].seconds == 3.5


def test_savings_are_counted_over_runs_with_a_result() -> None:
    plan = planned()
    records = [
        record_of(plan.runs[0], best_val_loss=1.0, curve=[1.0] * 10),
        record_of(plan.runs[1], "pruned", best_val_loss=1.0, curve=[2.0] * 3),
        record_of(plan.runs[2], "failed", curve=[1.0]),
    ]
    saved = savings(plan, records)
    assert (saved.planned, saved.trained, saved.saved, saved.cut) == (20, 13, 7, {1: 3})


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
    assert skill(value, [baseline], maximize=maximize) == (None if expected is None else pytest.approx(expected))


def test_the_csv_has_the_documented_columns_and_exact_numbers(tmp_path: Path) -> None:
    plan = planned()
    records = [
        record_of(
            plan.runs[0], "finished", best_val_loss=0.1 + 0.2, best_epoch=2, seconds={"total": 1.5}, curve=[1.0, 0.3]
        ),
        record_of(plan.runs[1], "failed"),
    ]
    path = tmp_path / "logs" / "demo" / "results.csv"
    write_results(path, results(plan, records, BASELINES, test={"run": 0, "metrics": {"val_loss": 0.31}}))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("run", "name", "state", "best_val_loss", "best_epoch", "param.dropout", "parameters", "seconds"),
        *("model_path", "standard_error", "indistinguishable", "n_seeds", "runs", "epochs", "planned_epochs"),
        *("test_metric", "model_again", "standard_error_by", "beats_baselines", "skill", "val_kind_accuracy"),
    ]
    assert rows[0] == {
        "run": "0",
        "name": "demo-run-0",
        "state": "finished",
        "best_val_loss": "0.30000000000000004",
        "best_epoch": "2",
        "param.dropout": "0.0",
        "parameters": str(plan.runs[0].n_parameters),
        "seconds": "1.5",
        "model_path": "",
        "standard_error": "",
        "indistinguishable": "",
        "n_seeds": "1",
        "runs": "0",
        "epochs": "2",
        "planned_epochs": "10",
        "test_metric": "0.31",
        "model_again": "",
        "standard_error_by": "",
        "beats_baselines": "",
        "skill": repr(1.0 - (0.1 + 0.2)),
        "val_kind_accuracy": "",
    }
    assert (rows[1]["run"], rows[1]["name"], rows[1]["state"]) == ("", "what follows what", "baseline")
    assert (rows[1]["n_seeds"], rows[1]["runs"]) == ("", "")
    write_results(path, [], metric="val_kind_accuracy")
    assert path.read_text(encoding="utf-8").startswith("run,name,state,best_val_loss,best_epoch,val_kind_accuracy,")


def test_no_column_of_the_csv_is_repeated(tmp_path: Path) -> None:
    scripted = {"command": "true", "metrics": {"seconds": "minimize", "epochs": "maximize", "run": "minimize"}}
    config = search(training={"epochs": [1, 2]}, metric="epochs", direction="maximize", evaluation_script=scripted)
    plan = make_plan(config, metadata())
    measured = {
        "seconds": 3.0,
        "epochs": 4.0,
        "run": 5.0,
        "val_kind_accuracy": 0.5,
        "val_loss": 1.0,
        "standard_error": 0.1,
    }
    records = [record_of(plan.runs[0], best_val_loss=1.0, metrics=measured, curve=[1.0])]
    path = tmp_path / "results.csv"
    write_results(path, results(plan, records, BASELINES), metric="epochs")
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert len(head) == len(set(head))
    row = dict(zip(head, rows[0], strict=True))
    assert (row["metric.epochs"], row["param.epochs"], row["epochs"]) == ("4.0", "1", "1")
    assert (row["metric.seconds"], row["metric.run"], row["val_kind_accuracy"]) == ("3.0", "5.0", "0.5")
