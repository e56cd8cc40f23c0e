"""The ranked table on a terminal: every line fits, and losses are whole; in a pipe it has everything."""

import pytest
from rich.cells import cell_len
from rich.console import Console

from sequifier.results.ranking import Configuration, ranked
from sequifier.results.settings_columns import cut, fitting_settings
from sequifier.results.terminal_table import WIDTH, fitting_table, ranked_table
from sequifier.results.trials import Table


def printed(table: Table, width: int, *, fits: bool) -> list[str]:
    drawn = ranked_table(table, ranked(table), width=width, fits=fits)
    console = Console(width=width if fits else WIDTH, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(drawn)
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_every_line_fits_the_terminal(wide: Table, width: int) -> None:
    lines, rows = printed(wide, width, fits=True), ranked(wide)
    assert max(map(cell_len, lines)) <= width
    best = [row for row in rows if row.rank is not None and row.rank <= 5]
    for row in best:
        (line,) = [line for line in lines if line.split()[:2] == [str(row.rank), str(row.run)]]
        assert f" {row.value:.4f}" in line, "the loss is whole"
    assert [line for line in lines if "baseline: what follo" in line]
    heads = " ".join(lines[:3])
    assert "skill" in heads
    assert ("parameters" in heads) == (width > 80)


def test_a_pipe_receives_all_columns(wide: Table) -> None:
    lines = printed(wide, 80, fits=False)
    seen = [row for row in ranked(wide)[:20] if isinstance(row, Configuration)]
    assert {name for row in seen for name in row.varied} > {"input_columns"}
    assert not [line for line in lines if "…" in line]
    heads = " ".join(" ".join(lines[:3]).split())
    for name in ("columns", "learning", "optimizer", "dropout", "batch", "parameters", "seconds"):
        assert name in heads
    assert [line for line in lines if line.rstrip().endswith("  baseline: what follows what, last value")]


def test_names_of_columns_remain_in_one_piece_where_there_is_room(wide: Table) -> None:
    assert "learning_rate" in printed(wide, 300, fits=True)[0]
    assert "learning_rate" not in " ".join(printed(wide, 110, fits=True)[:3])


def test_a_small_terminal_shows_the_best_rows(wide: Table) -> None:
    console = Console(width=90, height=14, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(fitting_table(console, wide, ranked(wide)))
    lines = captured.get().splitlines()
    assert len(lines) < 14
    assert lines[-1].startswith("... ") and lines[-1].endswith(" more rows in results.csv")


def test_settings_that_say_least_make_room_first() -> None:
    rows = [{"dim_model": 8, "batch_size": 4, "optimizer": "a" * 30}, {"dim_model": 16, "batch_size": 4, "x": "b"}]

    def fitting(room: int) -> dict[str, int]:
        return dict(fitting_settings(rows, room, gap=2).widths)

    assert fitting(80) == {"dim_model": 5, "batch_size": 5, "optimizer": 28, "x": 1}
    assert fitting(42) == {"dim_model": 5, "optimizer": 28, "x": 1, "…": 1}, "both have batch_size 4"
    assert fitting(28) == {"dim_model": 5, "optimizer": 15, "x": 1, "…": 1}
    assert fitting(20) == {"dim_model": 5, "…": 1}
    assert fitting(0) == {"…": 1}


def test_columns_of_settings_are_aligned() -> None:
    rows = [{"dim_model": 8, "optimizer": "値値"}, {"dim_model": 16, "x": ["[b]"]}]
    columns = fitting_settings(rows, 80, gap=2)
    above, below = columns.head.split("\n")
    first, second = (columns.line(row) for row in rows)
    assert [cell_len(line) for line in (above, below, first, second)] == [columns.width] * 4
    assert (above.split(), below.split()) == (["dim"], ["model", "optimizer", "x"])
    assert first.split() == ["8", "値値"]
    assert second.index("[") == below.index("x")


def test_a_text_is_cut_to_the_cells_that_it_may_take() -> None:
    assert [cut("abcdef", width) for width in (6, 4, 1, 0, -3)] == ["abcdef", "abc…", "…", "", ""]
    assert cut("値値値", 4) == "値 …", "wide characters take two cells"
