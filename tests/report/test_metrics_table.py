"""`--all-metrics`: every metric of the best configurations, in a terminal of any width and in a pipe."""

from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from sequifier.results.metrics_table import metrics_table
from sequifier.results.ranking import Configuration, ranked
from sequifier.results.terminal_table import WIDTH
from sequifier.results.trials import Table


def printed(table: Table, width: int | None) -> list[str]:
    drawn = metrics_table(table, ranked(table), width=width)
    assert drawn is not None
    console = Console(width=width or WIDTH, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(drawn)
    return captured.get().splitlines()


def with_metrics(table: Table) -> Table:
    """The table with further metrics, each known by its run."""
    more = {"val_price_mae": 0.5, "val_item_n_unknown": 1234.0}
    trials = [
        replace(trial, metrics={**trial.metrics, **more, "val_item_accuracy": trial.number / 100})
        for trial in table.trials
    ]
    return replace(table, trials=tuple(trials))


@pytest.mark.parametrize("width", [60, 80, 110, None])
def test_each_metric_has_a_line_and_the_best_runs_a_column(wide: Table, width: int | None) -> None:
    table = with_metrics(wide)
    lines = printed(table, width)
    assert max(map(cell_len, lines)) <= (width or WIDTH)
    by_metric = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("val_")}
    best = [row for row in ranked(table) if isinstance(row, Configuration) and row.rank is not None]
    assert next(iter(by_metric)) == table.metric
    n_runs = len(by_metric["val_price_mae"]) - by_metric["val_price_mae"].count("-")
    assert n_runs == 30 if width is None else 2 <= n_runs < 30
    assert by_metric["val_loss"][:2] == [f"{row.value:#.5g}" for row in best[:2]]
    assert by_metric["val_item_accuracy"][:n_runs] == [
        f"{row.run / 100:#.5g}" if row.run else "0.0000" for row in best[:n_runs]
    ]
    assert by_metric["val_item_n_unknown"][:n_runs] == ["1,234"] * n_runs
    baselines = {found["val_loss"] for found in table.baselines.values()}
    assert by_metric["val_loss"][n_runs] == f"{min(baselines):#.5g}", "the best baseline"
    assert (len(by_metric["val_loss"]) - n_runs == 1) == (width is not None)


def test_a_search_without_a_result_has_no_metrics(wide: Table) -> None:
    trials = tuple(replace(trial, value=None, metrics={}, state="failed") for trial in wide.trials)
    assert metrics_table(replace(wide, trials=trials), ranked(replace(wide, trials=trials))) is None
