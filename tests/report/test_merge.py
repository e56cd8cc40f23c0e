"""Several searches as one."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sequifier.artifacts.sequence_losses import OF_BASELINES, OF_TEST, ONE_MODEL, Units, write_unit_sums
from sequifier.errors import RunError
from sequifier.report.analyse import analyse
from sequifier.report.analysis import as_json
from sequifier.report.merge import merged
from sequifier.report.page.render import render
from sequifier.report.terminal import print_summary
from sequifier.results.environment import FACTS
from sequifier.results.ranking import ranked, with_baselines
from sequifier.results.read import read_search
from sequifier.results.trials import Table
from tests.support.synthetic_search import write_search

ONE = {"learning_rate": [1e-3, 1e-2], "dropout": [0.0, 0.1]}
OTHER = {"learning_rate": [1e-3, 1e-4], "dropout": [0.0, 0.1]}
NAME = "baseline: bigram back-off"
MODEL = {"dim_model": 8, "n_head": 2, "num_layers": 1}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, Table]:
    """Grids that have half of their runs in common, with the same results, as equal seeds give them."""
    root = tmp_path_factory.mktemp("two")
    tables = []
    for name, training in (("one", ONE), ("other", OTHER)):
        values = {"search_strategy": "grid", "n_samples": None, "input_columns": [["kind"]]}
        write_search(root, name=name, epochs=4, model=MODEL, training=training, **values)  # type: ignore[arg-type]
        tables.append(read_search(str(root / "logs" / name)))
    first, second = tables
    values = {trial.identity: trial.value for trial in first.trials}
    same = tuple(replace(trial, value=values.get(trial.identity, trial.value)) for trial in second.trials)
    return first, replace(second, trials=same)


def test_a_run_of_two_searches_counts_once(two: tuple[Table, Table]) -> None:
    first, second = two
    shared = {trial.identity for trial in first.trials} & {trial.identity for trial in second.trials}
    assert len(shared) == 2
    table = merged(two)
    assert len(table.trials) == 4 + 4 - 2
    assert [trial.number for trial in table.trials] == list(range(6))
    every = {trial.identity: trial.value for source in two for trial in source.trials}
    assert {trial.identity: trial.value for trial in table.trials} == every
    values = [row.value for row in ranked(table)]
    assert values == sorted(every.values())  # type: ignore[type-var]
    assert set(table.settings) == {"learning_rate", "dropout"}
    assert {trial.settings["learning_rate"] for trial in table.trials} == {1e-2, 1e-3, 1e-4}


def test_what_each_search_contributed(two: tuple[Table, Table]) -> None:
    found = analyse(two)
    assert found.comparison is not None
    first, second = found.comparison.searches
    assert (first.n_trials, first.n_shared, second.n_trials, second.n_shared) == (4, 0, 4, 2)
    for share, table in zip((first, second), two, strict=True):
        values = [trial.value for trial in table.trials if trial.value is not None]
        assert share.best == min(values)
        everything = sorted({trial.value for source in two for trial in source.trials if trial.value is not None})
        assert share.rank == everything.index(min(values)) + 1
        assert share.seconds == pytest.approx(sum(trial.seconds or 0 for trial in table.trials))
    assert first.in_top + second.in_top == 2, "the best quarter of six is two"
    assert 1 in (first.rank, second.rank)


def test_a_failed_run_gives_way_to_the_same_run_with_a_result(two: tuple[Table, Table]) -> None:
    first, second = two
    shared = next(t.identity for t in first.trials if t.identity in {s.identity for s in second.trials})
    failed = tuple(replace(t, value=None, state="failed") if t.identity == shared else t for t in first.trials)
    table = merged([replace(first, trials=failed), second])
    assert [trial.state for trial in table.trials if trial.identity == shared] == ["finished"]


def test_a_setting_that_differs_between_the_searches_becomes_a_parameter(two: tuple[Table, Table]) -> None:
    first, second = two
    wider = [replace(t, settings={**t.settings, "gradient_clip": 1.0}, identity=f"x{t.number}") for t in second.trials]
    assert "gradient_clip" in merged([first, replace(second, trials=tuple(wider))]).settings


def test_searches_whose_results_mean_something_else_are_not_compared(two: tuple[Table, Table], tmp_path: Path) -> None:
    first, second = two
    for other, words in (
        (replace(second, data="fedcba"), "different data: 0123456789abcdef and fedcba"),
        (replace(second, metric="val_kind_accuracy", direction="maximize"), "ranks by val_loss"),
        (replace(second, kind="sampler"), "cannot be compared with a sampler search"),
        (replace(second, targets={"kind": 3}), "different targets"),
    ):
        with pytest.raises(RunError, match=words) as caught:
            merged([first, other])
        assert caught.value.where


def units(mean: float, *, seed: int) -> Units:
    losses = np.random.default_rng(seed).normal(mean, 0.01, 60)
    return Units(losses * 4 + (mean - losses.mean()) * 4, np.full(60, 4.0), "sequences")


def test_what_beats_baselines_comes_from_the_files_of_the_search_that_measured_it(
    two: tuple[Table, Table], tmp_path: Path
) -> None:
    """The second search found the best run, scored it on the test split, and knew the better baseline."""
    first, second = two
    shared = {trial.identity for trial in first.trials}
    better = tuple(replace(t, value=(t.value or 0) - (t.identity not in shared)) for t in second.trials)
    tables = []
    for table, trials, tested, baseline in ((first, first.trials, 0.1, 9.0), (second, better, 0.9, 0.5)):
        folder = tmp_path / table.name
        folder.mkdir()
        best = min(trials, key=lambda trial: trial.value or 0)
        on_test = {ONE_MODEL: {"val_loss": units(tested, seed=1)}, NAME: {"val_loss": units(0.5, seed=2)}}
        write_unit_sums(folder / OF_TEST, on_test)
        write_unit_sums(folder / OF_BASELINES, {NAME: {"val_loss": units(baseline, seed=3)}})
        tables.append(
            replace(
                table,
                trials=trials,
                folder=folder,
                baselines={NAME: {"val_loss": baseline}},
                test={"run": best.number, "metrics": {"val_loss": tested}},
            )
        )
    found = analyse(tables)
    (best_row, *others) = found.rows
    assert best_row.first.search == "other" and best_row.test_value == 0.9
    assert found.table.best_baseline == (NAME, 0.5)
    assert best_row.beats_baselines is False, "0.9 on its own test split is worse than 0.5"
    assert all(row.beats_baselines is False for row in others if row.first.search == "one"), "0.5, not 9.0"
    assert found.over_tuning is not None and found.over_tuning.test == 0.9
    (row,) = (row for row in with_baselines(found.rows, found.table) if row.run is None)
    assert row.standard_error == pytest.approx(units(0.5, seed=3).standard_error)


def test_a_test_score_stays_with_a_run_that_an_earlier_search_has_too(two: tuple[Table, Table]) -> None:
    first, second = two
    shared = next(t for t in second.trials if t.identity in {each.identity for each in first.trials})
    test = {"run": shared.number, "metrics": {"val_loss": 0.7}}
    table = merged([first, replace(second, test=test)])
    (scored,) = (trial for trial in table.trials if trial.number == table.test["run"])
    assert scored.identity == shared.identity and table.test["metrics"] == {"val_loss": 0.7}


def test_searches_on_other_devices_are_compared_with_a_warning(two: tuple[Table, Table]) -> None:
    def on(device: str, table: Table) -> Table:
        facts = dict.fromkeys(FACTS, "same") | {"device": device}
        return replace(table, trials=tuple(replace(trial, environment=facts) for trial in table.trials))

    first, second = two
    assert analyse((on("one CPU", first), on("one CPU", second))).table.difference is None
    found = analyse((on("one CPU", first), on("a GPU", second)))
    warning = "runs ranked together differ in more than their settings: device (one CPU: 4 runs; a GPU: 2 runs)"
    assert found.table.difference == warning
    console = Console(file=StringIO(), width=200)
    print_summary(console, found)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(f"arning: {warning}" in text for text in (printed, render(found)))
    assert as_json(found)["table"]["difference"] == warning


def test_sampler_searches_that_score_in_different_ways_are_not_compared(two: tuple[Table, Table]) -> None:
    first, second = (replace(table, kind="sampler") for table in two)
    with pytest.raises(RunError, match="model, prompts, seed, samples_per_config, scores or judge differ"):
        merged([first, replace(second, data="fedcba")])


def test_runs_of_several_searches_are_called_by_their_names(two: tuple[Table, Table]) -> None:
    """They are numbered anew, so a number alone would name another run."""
    first, second = two
    better = replace(second, trials=tuple(replace(trial, value=(trial.value or 0) - 1) for trial in second.trials))
    found = analyse((first, better))
    names = {trial.name for table in two for trial in table.trials}
    best = found.rows[0].first
    assert best.name in names and best.search == "other" and best.name != f"other-run-{best.number}"
    assert found.recommendations[0].text.startswith(f"{best.name} is best: val_loss ")
    console = Console(file=StringIO(), width=200)
    print_summary(console, found)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"({best.name})" in printed.splitlines()[0]
    number = best.name.rpartition("-")[2]
    assert any(line.split()[:3] == ["1", number, "other"] for line in printed.splitlines())
    page = render(found)
    assert f'aria-label="Copy the command for {best.name}"' in page or f"the command for {best.name}" in page
    alone = analyse([first])
    assert alone.recommendations[0].text.startswith(f"Run {alone.rows[0].first.number} is best")
