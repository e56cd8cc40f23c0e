"""Terminal, JSON, page and results.csv show the same numbers of the same rows."""

import csv
import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sequifier.artifacts.sequence_losses import (
    FILE,
    OF_BASELINES,
    ONE_MODEL,
    Units,
    read_unit_sums,
    write_unit_sums,
)
from sequifier.percent import loss_text, percent
from sequifier.report.report import Report
from sequifier.results.ranking import Baseline, with_baselines
from sequifier.results.read import read_search
from sequifier.results.results_csv import write_results
from sequifier.results.trials import Table
from tests.support.synthetic_search import BASELINES, write_search

STATES: dict[int, Any] = {3: "pruned", 5: "failed", 8: "diverged"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of 12 runs, whose baselines have standard errors."""
    root = tmp_path_factory.mktemp("formats")
    write_search(root, n_runs=12, epochs=3, states=STATES)
    folder = root / "logs" / "wide"
    (units, *_) = (
        each[ONE_MODEL]["val_loss"] for path in root.glob(f"logs/*/2*/{FILE}") if (each := read_unit_sums(path))
    )
    sums = {
        name: {"val_loss": Units(units.count * each["val_loss"] + units.residual, units.count, units.by)}
        for name, each in BASELINES.items()
    }
    write_unit_sums(folder / OF_BASELINES, sums)
    return folder


@pytest.fixture(params=["val_loss", "val_kind_accuracy", "small"])
def table(request: pytest.FixtureRequest, folder: Path) -> Table:
    """By its own metric, by another one, and with losses that four decimals would not tell apart."""
    if request.param != "small":
        return read_search(str(folder), metric=request.param)
    found = read_search(str(folder))
    smaller = [
        replace(each, value=None if each.value is None else each.value / 1000, best_val_loss=None)
        for each in found.trials
    ]
    return replace(found, trials=tuple(smaller))


def test_every_format_has_the_same_rows_and_numbers(table: Table, tmp_path: Path) -> None:
    report = Report([table])
    rows = with_baselines(report.rows, table)
    expected = [
        (None if isinstance(row, Baseline) else row.first.number, row.value, row.standard_error) for row in rows
    ]
    skills = [None if isinstance(row, Baseline) else row.skill for row in rows]

    # JSON: configurations, and the baselines beside them.
    found = json.loads(report.json())
    runs = [(row["first"]["number"], row["value"], row["standard_error"]) for row in found["rows"]]
    assert runs == [each for each in expected if each[0] is not None]
    assert [row["skill"] for row in found["rows"]] == [row.skill for row in rows if not isinstance(row, Baseline)]
    baselines = [(None, row["value"], row["standard_error"]) for row in found["baselines"]]
    assert baselines == [each for each in expected if each[0] is None] and len(baselines) == len(BASELINES)

    # results.csv
    write_results(tmp_path / "results.csv", rows, metric=table.metric)
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    value = "best_val_loss" if table.metric == "val_loss" else table.metric
    if table.trials[0].best_val_loss is not None:
        assert [_cells(line["run"], line[value], line["standard_error"]) for line in lines] == expected
    assert [_number(line["skill"]) for line in lines] == skills

    # The page: all digits are in `data-v`, to ten of them.
    report.write_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    body = text[text.index('id="runs"') :]
    cells = [re.findall(r'<td[^>]*data-v="([^"]*)"', row) for row in re.findall(r"<tr data-key=.*?</tr>", body, re.S)]
    shown = [_cells(*row[1:4]) for row in cells[: len(rows)]]
    assert shown == [(run, *map(_nearly, numbers)) for run, *numbers in expected]
    assert [_number(row[4]) for row in cells[: len(rows)]] == [*map(_nearly, skills)]

    # The terminal: the same rows in the same order.
    console = Console(file=StringIO(), width=300)
    report.print_summary(console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    best = next(value for _, value, _ in expected if value is not None)
    for (run, number, error), skill in zip(expected, skills, strict=True):
        if number is None:
            continue
        words = [loss_text(number, like=best), "-" if error is None else loss_text(error, like=best)]
        words += [] if skill is None else percent(skill, signed=True).split()
        pattern = rf"^ *\d* +{'-' if run is None else run} .*{' +'.join(map(re.escape, words))} "
        assert re.search(pattern, printed, re.M), (pattern, printed)


def _nearly(value: float | None) -> Any:
    return None if value is None else pytest.approx(value, rel=1e-9)


def _number(text: str) -> float | None:
    return None if text in ("", "-") else float(text)


def _cells(run: str, value: str, error: str) -> tuple[int | None, float | None, float | None]:
    return (int(run) if run else None), _number(value), _number(error)
