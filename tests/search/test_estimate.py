"""What a search will take, before and after something was measured."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sequifier.artifacts.ledger import Record, State
from sequifier.search.estimate import TimeLeft, disk_use, epoch_cost, seconds_left
from sequifier.search.make_plan import make_plan
from sequifier.search.plan import Plan, PlannedRun
from sequifier.search.repeats import with_repeats
from tests.support.searches import metadata, record_of, search


def planned(root: Path, **values: Any) -> Plan:
    config = search(
        model={"dim_model": [8, 64], "n_head": [2, 4]},
        training={"dropout": [0.0, 0.1], "epochs": 4},
        project_root=str(root),
        **values,
    )
    return with_repeats(make_plan(config, metadata()), [])


def test_models_are_expected_by_their_parameters_and_as_many_as_are_kept(tmp_path: Path) -> None:
    everything = disk_use(planned(tmp_path))
    large = max(run.n_parameters for run in planned(tmp_path).runs)
    best, two = (disk_use(planned(tmp_path, keep_models=keep)) for keep in ("best", 2))
    assert best.models == pytest.approx(2 * (4 * large + 16_000)), "the best and the last weights, float32"
    assert two.models == 2 * best.models
    assert everything.models > two.models
    assert everything.passing == 0
    three_at_once = disk_use(planned(tmp_path, keep_models="best"), n_slots=3)
    by_size = sorted((2 * (4 * run.n_parameters + 16_000) for run in planned(tmp_path).runs), reverse=True)
    assert three_at_once.passing == sum(by_size[1:4]), "each slot may write one before any is removed"
    assert disk_use(planned(tmp_path), n_slots=3).passing == 0
    assert best.passing == best.models, "the next one is written before the other is removed"
    assert everything.others == best.others
    assert disk_use(planned(tmp_path, export_onnx=False)).models == 0
    assert disk_use(planned(tmp_path, export_pt=True)).models == 2 * everything.models


def test_with_repeats_one_model_of_each_configuration_is_there_until_the_last_seed(tmp_path: Path) -> None:
    use = disk_use(planned(tmp_path, keep_models="best", repeats=3))
    once = disk_use(planned(tmp_path, keep_models="best"))
    assert use.models == once.models
    assert use.passing == pytest.approx(4 * once.models), "three configurations of four, and the one being written"
    assert use.others == 3 * once.others


def test_sizes_on_disk_correct_the_expected_ones_and_what_is_there_needs_no_room(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    (tmp_path / "models").mkdir()
    run = plan.runs[0]
    (tmp_path / "models/a").write_bytes(b"x" * 3 * (4 * run.n_parameters + 16_000))
    (tmp_path / "models/b").write_bytes(b"x" * 3 * (4 * run.n_parameters + 16_000))
    records = [record_of(run, files={"best_onnx": "models/a", "last_onnx": "models/b"})]
    assert disk_use(plan, records).models == 3 * disk_use(plan).models
    left = disk_use(plan, records, to_come_alone=True)
    assert left.others < disk_use(plan).others
    (tmp_path / "models/b").unlink()
    assert disk_use(plan, records).models == disk_use(plan).models, "half of it measures nothing"


def test_time_is_known_after_the_first_run_and_shared_out_by_parameters(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert seconds_left(plan.runs, plan.runs, []) is None
    first, *waiting = plan.runs
    records = [record_of(first, curve=[1.0] * 4, seconds={"training": 7.0, "validation": 1.0, "total": 11.0})]
    work = {run.number: epoch_cost(run) for run in plan.runs}
    assert len({*work.values()}) == 2, "dropout costs nothing"
    expected = 8.0 * sum(work[run.number] for run in waiting) / work[first.number]
    assert seconds_left(waiting, plan.runs, records) == pytest.approx(expected)


def from_all_records(waiting: list[PlannedRun], runs: dict[int, PlannedRun], records: list[Record]) -> float | None:
    """The mean time of an epoch of equal cost, else of a unit of cost, times the epochs to come."""
    cost = {number: epoch_cost(run) for number, run in runs.items()}
    measured = [each for each in records if each.run in cost and each.curve and each.state in ("finished", "pruned")]
    if not measured:
        return None

    def mean(among: list[Record], unit: float) -> float:
        work = sum(len(record.curve) * (cost[record.run] if unit == 1 else unit) for record in among)
        return sum(record.seconds["training"] for record in among) / work

    left = 0.0
    for run in waiting:
        own = cost[run.number]
        comparable = [record for record in measured if cost[record.run] == own]
        of_cost = mean(comparable, own) if comparable else mean(measured, 1)
        left += max(4 - len(run.record.curve if run.record else ()), 0) * own * of_cost
    return left


def test_record_by_record_the_time_is_that_of_all_records(tmp_path: Path) -> None:
    plan, draw = planned(tmp_path, repeats=3), random.Random(0)
    runs = {run.number: run for run in plan.runs if run.number != 5}
    left, records, last = TimeLeft(runs), [], {}
    proposed = max(runs)
    for run in runs.values():
        if run.number != proposed:
            left.expect(run)
    for _ in range(200):
        number = draw.randrange(len(plan.runs))
        before = last.get(number)
        if before is not None and before.state in ("finished", "pruned", "failed"):
            continue
        state: State = draw.choice(["running", "interrupted", "interrupted", "finished", "pruned", "failed"])
        curve = [1.0] * draw.randint(len(before.curve) if before else 0, 4)
        records.append(record_of(plan.runs[number], state, curve=curve, seconds={"training": draw.random()}))
        last[number] = records[-1]
        if number == proposed and before is None:
            left.expect(runs[number])
        left.add(records[-1])
        waiting = [
            replace(run, record=last.get(run.number))
            for run in runs.values()
            if (run.number != proposed or proposed in last)
            and (run.number not in last or last[run.number].state in ("running", "interrupted"))
        ]
        expected = from_all_records(waiting, runs, records)
        assert left.seconds() == (None if expected is None else pytest.approx(expected))
        assert seconds_left(waiting, runs.values(), records) == left.seconds()
    assert {record.state for record in last.values()} == {"finished", "pruned", "failed"}, "all runs ended"
    assert left.seconds() == 0.0


def test_a_failed_run_that_is_trained_again_is_counted_until_it_ends(tmp_path: Path) -> None:
    first, second, *_ = planned(tmp_path).runs
    left = TimeLeft({run.number: run for run in (first, second)})
    for record in (record_of(first, curve=[1.0] * 4, seconds={"training": 8.0}), record_of(second, "failed")):
        left.add(record)
    assert left.seconds() == 0.0
    left.expect(replace(second, record=record_of(second, "failed", curve=[1.0])))
    again = left.seconds()
    assert again is not None and again > 0.0
    assert left.seconds(epochs_left=1) == pytest.approx(again / 3)
    left.add(record_of(second, "failed"))
    assert left.seconds() == 0.0


def test_time_left_is_shared_by_the_slots_as_far_as_there_are_runs_for_them(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    first, *waiting = plan.runs
    records = [record_of(first, curve=[1.0] * 4, seconds={"training": 8.0})]
    serial = seconds_left(waiting, plan.runs, records)
    assert serial is not None
    assert seconds_left(waiting, plan.runs, records, n_slots=3) == pytest.approx(serial / 3)
    alone = seconds_left(waiting[:1], plan.runs, records)
    assert alone is not None and seconds_left(waiting[:1], plan.runs, records, n_slots=3) == alone
    left = TimeLeft({run.number: run for run in plan.runs})
    for run in plan.runs:
        left.expect(run)
    left.add(records[0])
    assert left.seconds(n_slots=2) == pytest.approx(serial / 2)
    left.add(record_of(waiting[0], "failed"))
    assert left.seconds(n_slots=8) == left.seconds(n_slots=len(waiting) - 1), "two runs have ended"


def test_proposals_to_come_take_the_mean_time_of_the_runs_so_far(tmp_path: Path) -> None:
    first, second, *_ = planned(tmp_path).runs
    left = TimeLeft({run.number: run for run in (first, second)})
    for run in (first, second):
        left.add(record_of(run, curve=[1.0] * 4, seconds={"training": 4.0 * epoch_cost(run)}))
    mean = 4.0 * (epoch_cost(first) + epoch_cost(second)) / 2
    assert left.seconds() == 0.0
    assert left.seconds(n_more=6) == pytest.approx(6 * mean)
    assert left.seconds(n_more=6, n_slots=4) == pytest.approx(6 * mean / 4)
    assert left.seconds(n_more=6, epochs_left=12) == pytest.approx(3 * mean), "a pruner trains half of their epochs"
    left.expect(second)  # begins again
    again = left.seconds(n_more=2)
    assert again == pytest.approx(2 * mean + 4.0 * epoch_cost(second))


def test_epochs_cost_what_was_measured_of_them(tmp_path: Path) -> None:
    """Milliseconds of a step of 1 thread of a 2 GHz Xeon: relative costs agree within a third."""
    measured = {  # dim_model, num_layers, batch_size, seq_length
        (8, 1, 16, 8): 3.4,
        (8, 1, 128, 8): 6.5,
        (32, 1, 16, 32): 6.3,
        (64, 2, 16, 16): 10.8,
        (64, 2, 64, 32): 48.8,
        (64, 2, 128, 32): 94.1,
    }
    found = {}
    for (dim_model, num_layers, batch_size, seq_length), milliseconds in measured.items():
        config = search(
            model={"dim_model": dim_model, "n_head": 2, "num_layers": num_layers, "dim_feedforward": 4 * dim_model},
            training={"batch_size": batch_size},
            seq_length=seq_length,
            window_stride=seq_length,
            project_root=str(tmp_path),
        )
        (run,) = make_plan(config, metadata()).runs
        found[dim_model, batch_size, seq_length] = epoch_cost(run) * seq_length * batch_size / milliseconds
    assert max(found.values()) / min(found.values()) < 1.4, found


def test_the_embedding_of_a_large_catalogue_costs_little(tmp_path: Path) -> None:
    known = metadata()
    large = known.model_copy(update={"n_classes": {"kind": 50_000}})
    fields = {"input_columns": ["kind"], "target_columns": ["length"], "project_root": str(tmp_path)}
    config = search(model={"dim_model": 8, "n_head": 2}, training={"batch_size": 64}, **fields)
    small, many = (make_plan(config, data).runs[0] for data in (known, large))
    assert many.n_parameters > 20 * small.n_parameters
    assert epoch_cost(many) < 3 * epoch_cost(small)


def test_before_anything_was_measured_all_runs_are_counted_in_epochs_of_one(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    left = TimeLeft({run.number: run for run in plan.runs})
    for run in plan.runs:
        left.expect(run)
    first = plan.runs[0]
    expected = sum(4 * epoch_cost(run) for run in plan.runs) / epoch_cost(first)
    assert left.seconds() is None
    assert left.epochs_like(first) == pytest.approx(expected)
    assert left.epochs_like(first, n_slots=2, n_more=len(plan.runs)) == pytest.approx(expected)
