"""A search whose config was edited between two starts: nothing raises, and the table holds every run of the ledger."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.cli.search_plan import needs_lines, plan_lines
from sequifier.cli.tables import print_next, print_table
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError
from sequifier.results.ranking import ranked
from sequifier.results.results_csv import write_results
from sequifier.search.estimate import disk_use, seconds_left
from sequifier.search.keep_models import Surplus
from sequifier.search.repeats import with_confirmations
from sequifier.search.session import SearchResult
from sequifier.search.table import savings, search_table
from tests.support.searches import ended, results, search, started


def some(*values: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique_by=repr)


RANGES = [{"low": 1e-4, "high": 1e-3, "log": True}, {"low": 5e-4, "high": 2e-3, "log": True}]
TRAINING = st.fixed_dictionaries(
    {"learning_rate": st.one_of(some(1e-3, 5e-4, 2e-4), st.sampled_from(RANGES))},
    optional={"dropout": some(0.0, 0.1, 0.2), "epochs": st.sampled_from([1, 2]), "batch_size": some(8, 16)},
)
MODEL = st.fixed_dictionaries(
    {"dim_model": some(8, 12, 16), "n_head": st.just([2])},
    optional={"num_layers": some(1, 2), "attention_type": some("mha", "gqa"), "n_kv_heads": some(None, 1)},
)
ROOT = st.fixed_dictionaries(
    {
        "search_strategy": st.sampled_from(["sample", "sample", "grid", "bayesian"]),
        "n_samples": st.integers(1, 5),
        "repeats": st.integers(1, 2),
        "seed": st.sampled_from([1010, 1010, 5]),
        "sampler_seed": st.sampled_from([None, 3]),
        "confirm_top": st.integers(0, 1),
        "keep_models": st.sampled_from(["all", "best"]),
        "input_columns": some(["kind"], ["kind", "length"]),
        "independent": st.just(["dim_model", "learning_rate"]),
    }
)


def made(root: dict[str, Any], model: dict[str, Any], training: dict[str, Any], folder: Path) -> SearchConfig:
    if root["search_strategy"] == "grid" and isinstance(training["learning_rate"], dict):
        training = training | {"learning_rate": [3e-4]}
    return search(model=model, training=training, project_root=str(folder), **root)


@settings(deadline=None, max_examples=60)
@given(st.tuples(ROOT, MODEL, TRAINING), st.tuples(ROOT, MODEL, TRAINING), st.data())
def test_an_edited_search_loses_no_run_and_ends_with_its_table(
    tmp_path_factory: pytest.TempPathFactory, before: Any, after: Any, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("edited")
    first = started(made(*before, folder), [])
    states: Any = st.sampled_from(["finished", "finished", "finished", "failed", "interrupted", "diverged"])
    records = [ended(run, data.draw(states)) for run in first.runs]
    config = made(*after, folder)
    second = started(config, records)
    second = with_confirmations(second, records)

    rows = results(second, records, {"mean": {"val_loss": 1.2}})
    listed = [number for row in rows if row.run is not None for number in row.numbers]
    assert sorted(listed) == sorted({*(run.number for run in second.runs), *(record.run for record in records)})
    for row in rows:
        assert row.run is None or row.first.config_path
    write_results(folder / "results.csv", rows, metric=config.metric)
    waiting = [run for run in second.runs if run.record is None]
    lines = [*plan_lines(second, waiting), *needs_lines(second, disk_use(second, records), 10**9, 1.0)]
    assert lines
    seconds_left(waiting, second.runs, records)
    Surplus(second, records).remove()
    table = search_table(second, records)
    result = SearchResult(second, "complete", table, ranked(table), savings(second, records))
    print_table(table, result.rows)
    print_next(result, Path("search.yaml"))
    # Every run of the ledger is in the plan or is an earlier one, and the plan says which.
    difference = second.difference()
    gone = {*difference.gone, *(pair.before for pair in difference.changed)}
    kept = {*difference.kept, *difference.not_sampled}
    assert {record.run for record in records} <= gone | kept | {run.number for run in second.runs}
    assert not gone & kept
    # The asked number: what counts is what has ended or will be trained.
    if config.search_strategy == "sample" and second.n_cells is None:
        done = {record.run for record in records if record.state in ("finished", "failed", "diverged")}
        configurations = {run.number for run in second.runs if run.config.seed == second.seed}
        configurations |= {record.run for record in records if record.seed == second.seed} & done
        assert len(configurations) >= config.n_samples


def test_a_sample_drawn_anew_keeps_the_runs_that_its_space_still_holds(tmp_path: Path) -> None:
    def asked(rates: dict[str, Any], n_samples: int = 3) -> SearchConfig:
        root = {"project_root": str(tmp_path), "search_strategy": "sample", "n_samples": n_samples}
        return search(training={"learning_rate": rates, "dropout": [0.0, 0.1]}, **root)

    first = started(asked({"low": 1e-4, "high": 1e-2, "log": True}), [])
    records = [ended(run) for run in first.runs]
    wider = started(asked({"low": 1e-5, "high": 1e-2, "log": True}), records)
    assert wider.difference().not_sampled == (0, 1, 2)
    assert wider.difference().gone == ()
    assert [run.changed for run in wider.runs] == [run.changed for run in first.runs]
    lines = plan_lines(wider, [])
    assert "  not sampled this time (results are kept): 3 runs (0, 1, 2)" in lines
    assert lines[-1] == "  nothing is left to train: 3 runs are done"
    more = started(asked({"low": 1e-5, "high": 1e-2, "log": True}, 5), records)
    assert [run.number for run in more.new] == [3, 4]
    narrow = {"low": 1e-9, "high": 2e-9}
    gone = started(asked(narrow), records)
    assert gone.difference().gone == (0, 1, 2)
    assert "  no longer part of the config (results are kept): 3 runs (0, 1, 2)" in plan_lines(gone, [])
    rows = results(gone, records)
    assert [set(row.varied) for row in rows] == [{"learning_rate", "dropout"}] * 3


def test_a_run_that_left_the_space_before_it_had_a_result_does_not_count(tmp_path: Path) -> None:
    def asked(rates: dict[str, Any]) -> SearchConfig:
        root = {"project_root": str(tmp_path), "search_strategy": "sample", "n_samples": 3}
        return search(training={"learning_rate": rates}, **root)

    first = started(asked({"low": 1e-3, "high": 1e-2}), [])
    records = [ended(first.runs[0]), ended(first.runs[1], "interrupted")]
    second = started(asked({"low": 1e-5, "high": 1e-4}), records)
    assert [run.number for run in second.new] == [2, 3]


def test_repeats_of_a_value_that_was_taken_out_stay_one_configuration(tmp_path: Path) -> None:
    def asked(rates: list[float]) -> SearchConfig:
        return search(training={"learning_rate": rates}, project_root=str(tmp_path), repeats=2)

    first = started(asked([1e-3, 5e-4]), [])
    # Runs 0 and 2 have the first rate. One seed of it was lucky: it is no configuration that is better than the mean.
    losses = {0: 1.0, 1: 1.5, 2: 3.0, 3: 1.7}
    records = [
        ended(run).model_copy(update={"best_val_loss": losses[run.number], "metrics": {"val_loss": losses[run.number]}})
        for run in first.runs
    ]
    rows = results(started(asked([5e-4]), records), records)
    assert [(row.rank, row.numbers, row.value) for row in rows] == [(1, (1, 3), 1.6), (2, (0, 2), 2.0)]
    assert [row.varied for row in rows] == [{"learning_rate": 0.0005}, {"learning_rate": 0.001}]


def test_repeats_of_runs_that_are_not_sampled_this_time_are_not_sampled_either(tmp_path: Path) -> None:
    def asked(low: float) -> SearchConfig:
        root = {"project_root": str(tmp_path), "search_strategy": "sample", "n_samples": 3, "repeats": 2}
        return search(training={"learning_rate": {"low": low, "high": 1e-2, "log": True}}, **root)

    records = [ended(run) for run in started(asked(1e-4), []).runs]
    difference = started(asked(1e-5), records).difference()
    assert (difference.kept, difference.not_sampled) == ((), (0, 1, 2, 3, 4, 5))


def test_other_targets_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    config = search(training={"dropout": [0.0, 0.1]}, project_root=str(tmp_path))
    records = [ended(run).model_copy(update={"n_targets": {"kind": 9}}) for run in started(config, []).runs]
    other = config.model_copy(update={"target_columns": ["length"]})
    with pytest.raises(ConfigError, match=r"demo-run-0 predicted kind, these runs would predict length") as caught:
        started(other, records)
    assert caught.value.problems[0].key == "target_columns"


def test_one_is_not_said_as_many_and_a_search_without_results_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = started(search(training={"dropout": 0.1}, project_root=str(tmp_path)), [])
    lines = plan_lines(first, list(first.runs))
    assert lines[0].startswith("demo: grid search over 1 cell, 1 run, seed 1010,")
    assert any(" parameters; run files" in line and " to " not in line for line in lines)
    records = [ended(first.runs[0], "failed").model_copy(update={"error": "no"})]
    second = started(search(training={"dropout": 0.1}, project_root=str(tmp_path)), records)
    assert plan_lines(second, [])[-1] == "  nothing is left to train: 1 run is done"
    table = search_table(second, records)
    print_next(SearchResult(second, "complete", table, ranked(table), savings(second, records)), Path("my search.yaml"))
    again = "sequifier hyperparameter-search --config-path 'my search.yaml' --retry-failed"
    assert f"1 failed: {again}" in capsys.readouterr().out, "as a shell takes it"
