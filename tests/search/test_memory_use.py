"""The memory of a search, before anything trains."""

from collections.abc import Sequence
from typing import Any

from sequifier.artifacts.ledger import Record
from sequifier.config.architecture import architecture
from sequifier.config.memory import machine_has_matrix_unit, run_memory
from sequifier.search.make_plan import make_plan
from sequifier.search.memory import MemoryUse, memory_use
from tests.support.searches import metadata, record_of, search


def needs(**values: Any) -> list[int]:
    """The memory of each run of a grid, beside libraries and data."""
    unit, data = machine_has_matrix_unit(), metadata()
    runs = make_plan(search(**values), data).runs
    return [run_memory(run.config, architecture(run.config, data), has_matrix_unit=unit) for run in runs]


def use(records: Sequence[Record] = (), **values: Any) -> MemoryUse | None:
    return memory_use(make_plan(search(**values), metadata(), records=records), metadata())


def test_the_memory_of_the_smallest_and_the_largest_run_is_estimated() -> None:
    values: dict[str, Any] = {"model": {"num_layers": [1, 2, 8]}, "training": {"batch_size": [8, 512]}}
    found, expected = use(**values), needs(**values)
    assert found is not None
    assert (found.least, found.most) == (min(expected), max(expected)) and found.least < found.most
    assert found.process == 350_000_000 + found.data + found.most


def test_runs_that_are_still_to_be_proposed_need_as_much_as_the_extremes_of_their_space() -> None:
    model = {"dim_model": [8, 64], "n_head": [2, 4], "num_layers": {"low": 1, "high": 8}}
    training = {"batch_size": {"low": 8, "high": 512}}
    found = use(model=model, training=training, search_strategy="bayesian", n_samples=3)
    assert found is not None
    smallest = needs(model={"dim_model": 8, "n_head": 2, "num_layers": 1}, training={"batch_size": 8})
    largest = needs(model={"dim_model": 64, "n_head": 4, "num_layers": 8}, training={"batch_size": 512})
    assert ([found.least], [found.most]) == (smallest, largest)


def test_finished_runs_need_no_memory_and_failed_ones_may_again() -> None:
    values: dict[str, Any] = {"model": {"num_layers": [1, 2, 8]}}
    one, two, eight = make_plan(search(**values), metadata()).runs
    found = use([record_of(one), record_of(two, "failed"), record_of(eight)], **values)
    assert found is not None and found.least == found.most == needs(**values)[1]
    assert use([record_of(run) for run in (one, two, eight)], **values) is None


def test_a_process_keeps_the_splits_of_each_set_of_columns() -> None:
    rows = 80 + 20  # of tests/support/searches.py
    both, one = rows * (32 + 8 * 2), rows * (8 + 4 * 1)
    for values, expected in (
        ({}, both),
        ({"input_columns": [["kind"], ["kind", "length"]]}, both + one),
        ({"training": {"load_full_data_to_ram": False}}, 0),
        ({"training": {"max_ram_gb": 1e-9}}, 0),
    ):
        found = use(**values)
        assert found is not None and found.data == expected
