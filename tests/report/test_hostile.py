"""Searches that are odd: everything is still said, drawn and written, and nothing is made up."""

import json
import math
import random
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sequifier.artifacts.ledger import LEDGER_FILE, Ledger
from sequifier.errors import RunError
from sequifier.experiment.record import METRICS
from sequifier.report.analyse import analyse
from sequifier.report.analysis import Analysis, as_json
from sequifier.report.export import next_yaml
from sequifier.report.page.render import render
from sequifier.report.terminal import print_summary
from sequifier.results.read import read_search
from sequifier.results.trials import Table, Trial
from tests.support.synthetic_search import write_search


def everything(table: Table) -> tuple[Analysis, str, str]:
    """The analysis, the page and the text; all three forms of it work."""
    analysis = analyse([table])
    json.dumps(as_json(analysis), allow_nan=False)
    console = Console(file=StringIO(), width=200)
    print_summary(console, analysis)
    try:
        following = next_yaml(analysis)[1], "start it"
    except RunError:
        following = None
    page = render(analysis, next_search=following)
    drawn = page[: page.rindex("<script>")]
    assert not re.search(r"NaN|\bnan\b|Infinity|\binf\b", drawn)
    return analysis, page, console.file.getvalue()  # type: ignore[attr-defined]


def test_a_search_that_is_running(tmp_path: Path) -> None:
    states: dict[int, Any] = {4: "running", 5: "running"}
    write_search(tmp_path, n_runs=6, epochs=6, states=states)
    folder = tmp_path / "logs" / "wide"
    with (folder / LEDGER_FILE).open("a") as file:
        file.write('{"run": 6, "name": "wi')  # being written
    with Ledger.open(folder):
        table = read_search(str(folder))
        analysis, page, text = everything(table)
    assert table.is_running and "It is running now." in page and "2 running" in text
    running = table.trials[4]
    assert (running.value, len(running.curve)) == (None, 6), "its record says how far it is"
    assert analysis.overview.n_complete == 4


def test_one_run(tmp_path: Path) -> None:
    write_search(tmp_path, n_runs=1, epochs=3)
    analysis, page, text = everything(read_search(str(tmp_path / "logs" / "wide")))
    assert analysis.table.settings == () and analysis.overview.n_configurations == 1
    assert "Nothing differs between the trials" in page and "nothing differs" in text
    assert analysis.recommendations[0].text.startswith("Run 0 is best")


@pytest.mark.parametrize("state", ["failed", "oom"])
def test_all_failed(tmp_path: Path, state: Any) -> None:
    write_search(tmp_path, n_runs=4, epochs=3, states=dict.fromkeys(range(4), state))
    analysis, page, text = everything(read_search(str(tmp_path / "logs" / "wide")))
    assert analysis.overview.best is None and analysis.overview.budget.wasted == 80
    assert "every run that ended has failed" in text and "no run has a result yet" in page
    assert f"4 of 4 runs ended without a result (4 {state})" in text


def test_none_has_ended(tmp_path: Path) -> None:
    write_search(tmp_path, n_runs=3, epochs=3, states=dict.fromkeys(range(3), "running"))
    analysis, _, text = everything(read_search(str(tmp_path / "logs" / "wide")))
    assert "No run has a result yet." in text and analysis.rows[0].rank is None


def test_an_empty_ledger_and_a_damaged_one(tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "s"
    folder.mkdir(parents=True)
    (folder / LEDGER_FILE).write_text("")
    with pytest.raises(RunError, match="has no runs yet"):
        read_search(str(folder))
    (folder / LEDGER_FILE).write_text("no json\n{}\n")
    with pytest.raises(RunError, match="line 1 of the ledger is damaged"):
        read_search(str(folder))


def test_losses_that_are_no_numbers(tmp_path: Path) -> None:
    write_search(tmp_path, n_runs=6, epochs=4, states={2: "diverged"})
    for path in (tmp_path / "logs").glob("wide-run-*/2*/" + METRICS):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[0] |= {"train_loss": math.nan, "val_loss": math.inf}
        path.write_text("\n".join(json.dumps(line) for line in lines) + "\n{")
    table = read_search(str(tmp_path / "logs" / "wide"))
    assert table.trials[0].train_curve[0] is None
    table = replace(table, trials=tuple(replace(t, curve=(None, *t.curve[1:])) for t in table.trials))
    everything(table)


def trials_of(n: int, settings: Any, value: Any) -> Table:
    trials = tuple(
        Trial("t", row, f"r{row}", "finished", settings=settings(row), configuration=str(row), value=value(row))
        for row in range(n)
    )
    names = tuple(dict.fromkeys(name for trial in trials for name in trial.settings))
    return Table("t", "training", "val_loss", "minimize", trials, names)


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        [0.0, -1.0, 5.0],
        [True, False],
        [None, 4],
        ["<script>alert(1)</script>", "\"&'", "{a: [1]}"],
        ["[a]", "[a, b]"],
        [1, "one", None, 2.5],
        [1e-300, 1e300],
        [10**30, 3],
    ],
    ids=repr,
)
def test_one_parameter_of_any_kind(values: list[Any]) -> None:
    analysis, page, _ = everything(trials_of(12, lambda row: {"x": values[row % len(values)]}, lambda row: row / 7))
    assert [each.parameter for each in analysis.importances.parameters] == ["x"]
    assert analysis.importances.parameters[0].share == 1.0
    assert "<script>alert" not in page


def test_equal_results_and_one_that_exploded() -> None:
    everything(trials_of(10, lambda row: {"x": row, "y": row % 2}, lambda row: 1.0))
    analysis, _, _ = everything(
        trials_of(40, lambda row: {"x": float(row), "y": row % 2}, lambda row: 1e30 if row == 7 else row / 9)
    )
    assert analysis.importances.parameters[0].parameter == "x"


def test_a_metric_that_is_zero_or_negative() -> None:
    zero, _, _ = everything(trials_of(12, lambda row: {"x": row % 3}, lambda row: 0.0))
    assert {row.value for row in zero.rows} == {0.0}
    negative, _, _ = everything(trials_of(12, lambda row: {"x": row % 3}, lambda row: -float(row)))
    assert negative.rows[0].value == -11.0, "the least is the best"


@pytest.mark.parametrize("n", [1_500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_very_many_runs(n: int) -> None:
    draw = random.Random(0)
    table = trials_of(
        n,
        lambda row: {"rate": 10 ** draw.uniform(-5, -1), "kind": draw.choice("abc"), "n": draw.randint(1, 100)},
        lambda row: draw.random(),
    )
    table = replace(table, trials=tuple(replace(trial, curve=(2.0, trial.value)) for trial in table.trials))
    analysis, page, text = everything(table)
    assert len(analysis.rows) == n and len(page) < 3_000_000
    assert f"The best 1,000 of {n:,} are shown" in page and f"{n - 15:,} more rows in results.csv" in text
    assert f"The best 200 of {n:,} are drawn" in page
