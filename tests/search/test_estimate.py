"""What a search will take, before and after something was measured."""

from pathlib import Path
from typing import Any

import pytest

from sequifier.config.architecture import architecture
from sequifier.config.memory import machine_has_matrix_unit, run_memory
from sequifier.search.estimate import disk_use, memory_use, seconds_left
from sequifier.search.make_plan import make_plan
from sequifier.search.plan import Plan
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
    work = {run.number: run.n_parameters + 20_000 for run in plan.runs}
    expected = 8.0 * sum(work[run.number] for run in waiting) / work[first.number]
    assert seconds_left(waiting, plan.runs, records) == pytest.approx(expected)
    assert seconds_left(waiting, plan.runs, records, epochs_left=3) == pytest.approx(expected / 4)


def test_the_memory_of_the_smallest_and_the_largest_run_is_estimated() -> None:
    plan = make_plan(search(model={"num_layers": [1, 2, 8]}, training={"batch_size": [8, 512]}), metadata())
    found = memory_use(plan.runs, metadata())
    assert found is not None
    unit = machine_has_matrix_unit()
    needs = [run_memory(run.config, architecture(run.config, metadata()), has_matrix_unit=unit) for run in plan.runs]
    assert found == (min(needs), max(needs)) and found[0] < found[1]
    assert memory_use([], metadata()) is None
