"""A real search on a terminal of 110 columns: nothing wraps, the live area goes away, and the lines of runs stay."""

import re
from pathlib import Path

import pytest

from tests.support.command_line import command
from tests.support.shop import WriteConfig
from tests.support.terminal import Shown, run_in_terminal

FIELDS = {
    "input_columns": [["item"], ["item", "price"]],
    "model_hyperparameter_sampling": {"dim_model": [8, 16], "n_head": [2, 4]},
}


def search(shop: Path, config: Path, **options: str) -> Shown:
    flags = ("hyperparameter-search", "--config-path", config, "--yes")
    return run_in_terminal(command(*flags), shop, columns=110, **options)


def test_a_search_on_a_terminal(shop: Path, search_config: WriteConfig) -> None:
    shown = search(shop, search_config(**FIELDS))
    lines = shown.screen.lines
    assert shown.code == 0, lines
    assert shown.screen.is_cursor_visible
    of_runs = [line for line in lines if re.match(r"\[\d/4\] run \d  input_columns ", line)]
    assert [line[:5] for line in of_runs] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert all(re.search(r"  val_loss \d\.\d{4}  \d+\.\d s$", line) for line in of_runs), "the loss is whole"
    assert lines.index(of_runs[-1]) - lines.index(of_runs[0]) == 3, "nothing between them remains"
    assert not [line for line in lines if "best so far by" in line or "runs done" in line], "the area is gone"
    assert not [line for line in shown.screen.wrapped if line in of_runs or "━" in line]
    areas = [frame for frame in shown.frames if any("best so far by val_loss (lower is better)" in x for x in frame)]
    assert areas, "the best runs were shown meanwhile"
    assert any(re.match(r"[1-4] of 4 runs done", line) for frame in areas for line in frame)
    assert [line for line in shown.screen.lines if line.startswith("best model:")]


@pytest.mark.slow
def test_ctrl_c_removes_the_live_area(shop: Path, search_config: WriteConfig) -> None:
    config = search_config(**FIELDS, training_hyperparameter_sampling={"epochs": 1000})
    shown = search(shop, config, interrupt_at="of 4 runs done")
    assert shown.code == 130
    assert shown.screen.is_cursor_visible
    assert any("stopping after the running epochs" in line for frame in shown.frames for line in frame)
    assert not [line for line in shown.screen.lines if "runs done" in line or "━" in line]
    assert [line for line in shown.screen.lines if line.startswith("[0/4] run 0  ")]
    assert "the same command resumes the search" in shown.screen.lines
