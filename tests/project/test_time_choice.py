"""The time features that `make` proposes: of the dates that order the events, or of the time that events have."""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig
from sequifier.project.make import OwnTable, make
from tests.support.event_log import claims, log_of
from tests.support.quiet import quiet

START = datetime(2024, 3, 1, 8)


def visits(step: timedelta, *, order: bool = False, repeats: bool = False) -> pl.DataFrame:
    """Thirty users with twenty visits each, whose times are irregular multiples of a step."""
    rows = [
        {"user": user, "step": number, "at": START + step * (number * number // (1 + repeats)), "page": number % 3}
        for user in range(30)
        for number in range(20)
    ]
    frame = pl.DataFrame(rows)
    return frame if order else frame.drop("step")


def proposed(folder: Path, table: pl.DataFrame, order: str, *, name: str = "visits.csv") -> PreprocessConfig:
    """Return the preprocess config that `make` writes, after `preprocess` has accepted it."""
    path = folder / name
    table.write_csv(path) if name.endswith(".csv") else table.write_parquet(path)
    make("project", None, folder, OwnTable(path, sequence="user", order=order, targets=["page"]))
    config = load(PreprocessConfig, folder / "project" / "configs" / "preprocess.yaml").config
    metadata = read_metadata(
        api.preprocess(config.model_copy(update={"project_root": str(folder / "project")}), log=quiet)
    )
    assert {"gap", "weekday"} <= {column.feature for column in metadata.sequifier.derived.values()}
    return config


@pytest.mark.parametrize(
    ("step", "unit"),
    [
        (timedelta(milliseconds=10), "seconds"),
        (timedelta(seconds=30), "minutes"),
        (timedelta(minutes=20), "hours"),
        (timedelta(hours=5), "days"),
    ],
)
@pytest.mark.parametrize("name", ["visits.csv", "visits.parquet"])
def test_datetimes_that_order_events_have_features_and_a_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: timedelta, unit: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    config = proposed(tmp_path, visits(step), "at", name=name)
    assert (config.time_features, config.time_unit) == (["gap", "hour", "weekday"], unit)


def test_dates_that_repeat_are_positions_all_the_same(tmp_path: Path) -> None:
    config = proposed(tmp_path, visits(timedelta(minutes=1), repeats=True), "at")
    assert (config.position_column, config.repeated_positions, config.read_format) == ("at", "keep", "csv")
    assert config.time_features == ["gap", "hour", "weekday"]


@pytest.mark.parametrize(("offset", "local"), [("+00:00", [3, 4]), ("", [8, 9])])
def test_instants_that_repeat_stay_instants(tmp_path: Path, offset: str, local: list[int]) -> None:
    """Of times with an offset, a time zone in the config gives the local hour; of others it is the zone."""
    table = visits(timedelta(minutes=1), repeats=True).with_columns(at=pl.col("at").dt.to_string("iso:strict") + offset)
    config = proposed(tmp_path, table, "at").model_copy(
        update={"project_root": str(tmp_path / "project"), "time_zone": "America/New_York"}
    )
    metadata = read_metadata(api.preprocess(config, log=quiet))
    encoded = pl.read_parquet(tmp_path / "project" / metadata.split_paths[0])["time_hour"]
    hours = {metadata.categories("time_hour")[id - 1] for id in encoded.unique().to_list()}
    assert set(local) <= hours
    assert not hours & ({8, 9} if offset else {3, 4})


def test_dates_that_go_with_a_number_are_the_time_of_events(tmp_path: Path) -> None:
    config = proposed(tmp_path, visits(timedelta(minutes=1), order=True), "step")
    assert config.time_features == {"at": ["gap", "hour", "weekday"]}


def test_dates_that_go_back_are_left_out(tmp_path: Path) -> None:
    table = visits(timedelta(minutes=1), order=True).with_columns(at=START - (pl.col("at") - START))
    table.write_csv(tmp_path / "visits.csv")
    data = OwnTable(tmp_path / "visits.csv", sequence="user", order="step", targets=["page"])
    lines = make("project", None, tmp_path, data)
    assert load(PreprocessConfig, tmp_path / "project" / "configs" / "preprocess.yaml").config.time_features == []
    assert any("at" in line and "time_features computes" in line for line in lines)


def test_a_log_of_process_mining_has_the_features_of_its_timestamps(tmp_path: Path) -> None:
    (tmp_path / "claims.xes").write_text(log_of(claims()))
    lines = make("project", None, tmp_path, OwnTable(tmp_path / "claims.xes"))
    config = load(PreprocessConfig, tmp_path / "project" / "configs" / "preprocess.yaml").config
    assert config.time_features == {"time:timestamp": ["gap", "hour", "weekday"]}
    assert "  time:timestamp_gap, time:timestamp_hour, time:timestamp_weekday  input" in lines


def test_seconds_since_1970_have_gaps(tmp_path: Path) -> None:
    table = visits(timedelta(minutes=7)).with_columns(at=pl.col("at").dt.epoch("s"))
    path = tmp_path / "visits.csv"
    table.write_csv(path)
    make("project", None, tmp_path, OwnTable(path, sequence="user", order="at", targets=["page", "time_gap"]))
    config = load(PreprocessConfig, tmp_path / "project" / "configs" / "preprocess.yaml").config
    assert (config.time_features, config.time_unit, config.observation) == (["gap"], "none", None)
    config = config.model_copy(update={"project_root": str(tmp_path / "project")})
    metadata = read_metadata(api.preprocess(config, log=quiet))
    assert (metadata.sequifier.position_type, metadata.columns) == ("Float64", ["page", "time_gap"])
