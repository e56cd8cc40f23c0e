"""What `make` says of a table in which something is probably wrong."""

from pathlib import Path

import pytest

from sequifier.errors import DataError
from sequifier.project.make import OwnTable, make


def said(tmp_path: Path, rows: list[tuple], header: str, **given) -> list[str]:
    data = tmp_path / "events.csv"
    data.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return make("project", None, tmp_path, OwnTable(data, **given))


def warned(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("warning: ") and "compared on only" not in line]


def visits(*last: tuple) -> list[tuple]:
    return [*((f"u{user}", step, f"Item {(user + step) % 5}") for user in range(30) for step in range(30)), *last]


def test_a_clean_table_has_no_warning(tmp_path) -> None:
    assert warned(said(tmp_path, visits(), "user,step,item")) == []


def test_values_that_differ_in_case_or_blanks_only(tmp_path) -> None:
    odd = [("u1", 30, "ITEM 3"), ("u1", 31, '" item  3 "'), ("u2", 30, "item 4"), ("U2", 31, "Item 0")]
    (of_user, of_item) = warned(said(tmp_path, visits(*odd, ("U2", 32, "Item 1")), "user,step,item"))
    assert "`user` has 1 value in several spellings" in of_user and "(`U2` and `u2`)" in of_user
    assert "`item` has 2 values in several spellings" in of_item
    assert "` item  3 ` and `ITEM 3` and `Item 3`" in of_item


@pytest.mark.parametrize("n_weights", [50, 100_000])
def test_numbers_with_a_unit_are_called_so(n_weights, tmp_path) -> None:
    """Also where they are so many that the column is left out."""
    rows = [(*row, f"{number % n_weights} kg") for number, row in enumerate(visits())]
    (of_weight,) = warned(said(tmp_path, rows, "user,step,item,weight", targets=["item"]))
    assert "`weight` looks like numbers with the unit `kg` (`0 kg`)" in of_weight


@pytest.mark.parametrize(("n_texts", "use"), [(900, "left out"), (60, "input"), (20, "input")])
def test_free_text_is_called_so(n_texts, use, tmp_path) -> None:
    rows = [(*row, f"a long remark of a clerk about number {number % n_texts}") for number, row in enumerate(visits())]
    lines = said(tmp_path, rows, "user,step,item,remark", targets=["item"])
    about = [line for line in lines if "remark" in line]
    assert any(use in line for line in about) or use == "left out"
    is_said = any(f"free text: {n_texts} values of 4" in line for line in about)
    assert is_said == (n_texts >= 50)
    assert ("derive categories" in " ".join(about)) == is_said


def test_dates_in_several_formats_are_counted_with_a_row_of_each(tmp_path) -> None:
    dates = ["2024-03-28", *["28/03/2024"] * 2, "03/28/2024", *["2024-03-05"] * 896]
    rows = [(*row, date) for row, date in zip(visits(), dates, strict=True)]
    lines = said(tmp_path, rows, "user,step,item,due", order="step", targets=["item"])
    (line,) = [line for line in lines if line.startswith("  due ")]
    for each in (
        "897 like YYYY-MM-DD (`2024-03-28` in row 1)",
        "2 like DD/MM/YYYY (`28/03/2024` in row 2)",
        "1 like MM/DD/YYYY (`03/28/2024` in row 4)",
    ):
        assert each in line
    assert "write all of them in one" in line


def test_positions_in_two_formats_are_an_error_with_both(tmp_path) -> None:
    rows = [("u", f"{1 + n:02d}.03.2024" if n < 20 else f"2024-04-{n - 19:02d}", "ab"[n % 2]) for n in range(40)]
    with pytest.raises(DataError, match=r"20 like YYYY-MM-DD.*in row 21.*20 like DD.MM.YYYY.*in row 1"):
        said(tmp_path, rows, "user,day,item", order="day", targets=["item"])


@pytest.mark.parametrize(("first", "is_said"), [(20240120, True), (20240101, False), (20240000, False)])
def test_integers_that_are_days_are_called_so(first: int, is_said: bool, tmp_path: Path) -> None:
    """Of one month alone, integers may count."""
    days = [first + n if first + n <= 20240131 else first + n + 69 for n in range(30)]
    rows = [(f"u{user}", day, f"Item {(user + day) % 5}") for user in range(30) for day in days]
    lines = said(tmp_path, rows, "user,step,item", order="step")
    assert any("`step` looks like dates" in line for line in lines) == is_said


@pytest.mark.parametrize(("factor", "unit"), [(10**3, "milliseconds"), (10**6, "microseconds"), (1, None), (0, None)])
def test_fractions_of_seconds_since_1970_are_called_so(factor: int, unit: str | None, tmp_path: Path) -> None:
    rows = [(user, (1_700_000_000 + 60 * step) * factor + step, item) for user, step, item in visits()]
    lines = warned(said(tmp_path, rows, "user,ts,item"))
    assert [unit] == [line.split("looks like ")[1].split(" since")[0] for line in lines] if unit else lines == []


@pytest.mark.parametrize(("zone", "remark"), [("", False), ("Z", True)])
def test_hours_of_utc_are_mentioned_where_times_have_offsets(zone: str, remark: bool, tmp_path: Path) -> None:
    rows = [(user, f"2024-03-{1 + step // 24:02d}T{step % 24:02d}:05:00{zone}", item) for user, step, item in visits()]
    lines = said(tmp_path, rows, "user,at,item")
    (why,) = [line for line in lines if line.startswith("    computed, because `at` orders the events")]
    assert ("hours are those of UTC" in why) == remark


def test_years_without_time_features_are_named(tmp_path: Path) -> None:
    """De-identified records of hospitals have such years."""
    rows = [(user, f"2150-03-{1 + step:02d}", item) for user, step, item in visits()]
    (line,) = warned(said(tmp_path, rows, "user,day,item"))
    assert "`day` has the years 2150 to 2150" in line and "1900 to 2099" in line


def test_the_next_commands_can_be_copied_also_for_a_name_with_a_space(tmp_path: Path) -> None:
    data = tmp_path / "events.csv"
    data.write_text("user,step,item\n" + "".join(f"{user},{step},{item}\n" for user, step, item in visits()))
    lines = make("my project", None, tmp_path, OwnTable(data))
    assert "  cd 'my project'" in lines
    assert max(len(line) for line in lines[lines.index("next:") - 1 :]) < 100
