"""What `make` proposes where the time to the next event is predicted."""

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.config.loading.load import load
from sequifier.config.search import SearchConfig
from sequifier.errors import DataError
from sequifier.project.column_facts import column_facts, typed
from sequifier.project.event_times import EventTimes, find_event_times, has_times
from sequifier.project.inspect_columns import inspect_columns
from sequifier.project.keys import Keys, measure
from sequifier.project.make import CONFIGS, OwnTable, make
from sequifier.project.raw_table import open_raw
from sequifier.search.make_plan import make_plan
from tests.support.quiet import quiet

FIRST = datetime(2024, 1, 1)


def times(n_sequences: int = 40, first: float = 0.1) -> pl.DataFrame:
    """Events of a Poisson process, observed until another time in each sequence."""
    draw, rows = random.Random(5), []
    for sequence in range(n_sequences):
        time = first
        for _ in range(draw.randint(5, 12)):
            rows.append({"case": sequence, "time": round(time, 4), "t_end": 20.5 + sequence % 3})
            time += draw.expovariate(1)
    return pl.DataFrame(rows)


def look(tmp_path: Path, table: pl.DataFrame, **given: Any) -> tuple[str, dict[str, Any]]:
    """What is printed, and the loaded configs."""
    table.write_csv(tmp_path / "events.csv")
    lines = make("project", None, tmp_path, OwnTable(tmp_path / "events.csv", **given))
    folder = tmp_path / "project" / "configs"
    return "\n".join(lines), {file: load(model, folder / file).config for file, model in CONFIGS.items()}


def found(tmp_path: Path, table: pl.DataFrame) -> EventTimes:
    table.write_csv(tmp_path / "events.csv")
    raw = open_raw(tmp_path / "events.csv", tmp_path)
    inspected = inspect_columns(raw)
    rows, facts = typed(raw.rows, inspected), column_facts(raw, raw.rows, inspected)
    keys = Keys("case", "time", measure(rows, "case", "time", table.height), ())
    assert has_times(facts, keys)
    return find_event_times(rows, facts, keys)


def test_a_table_of_times_alone_becomes_a_point_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, configs = look(tmp_path, times())
    assert "the table has no other column, so the time to the next event is predicted (`time_gap`)" in said
    assert "sequences are observed from 0 (change it where the clock starts elsewhere) until `t_end`" in said
    preprocess, search = configs["preprocess.yaml"], configs["hyperparameter_search.yaml"]
    assert (preprocess.selected_columns, preprocess.time_features) == ([], ["gap", "since_start"])
    assert preprocess.observation.model_dump() == {"start": 0, "end": "t_end"}
    assert preprocess.split_method == "between_sequence"
    for config in (configs["train.yaml"], search):
        assert (config.target_columns, config.metric) == (["time_gap"], "val_time_gap_nll_per_event")
    assert configs["train.yaml"].model_spec.distribution == {"time_gap": "lognormal_mixture"}
    assert configs["train.yaml"].model_spec.positional_encoding == "rope"

    monkeypatch.chdir(tmp_path / "project")
    metadata = read_metadata(api.preprocess(preprocess, log=quiet))
    assert metadata.columns == ["time_gap", "time_since_start"]
    search = load(SearchConfig, Path("configs/hyperparameter_search.yaml")).config
    assert make_plan(search, metadata).runs


def test_the_next_event_and_its_time_are_targets_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n, draw = 600, random.Random(2)
    moments = [FIRST + timedelta(hours=number * 3 + draw.random()) for number in range(n)]
    table = pl.DataFrame(
        {"machine": [f"m{i % 9}" for i in range(n)], "at": moments, "state": ["abc"[i // 9 % 3] for i in range(n)]}
    )
    _, configs = look(tmp_path, table, sequence="machine", order="at", targets=["state", "time_gap"])
    preprocess, train = configs["preprocess.yaml"], configs["train.yaml"]
    assert preprocess.selected_columns == ["state"]
    assert (preprocess.observation, preprocess.time_features) == (None, ["gap", "hour", "weekday"])
    assert train.target_columns == ["state", "time_gap"]
    assert train.model_spec.distribution == {"time_gap": "lognormal_mixture"}
    monkeypatch.chdir(tmp_path / "project")
    api.preprocess(preprocess, log=quiet)
    assert make_plan(configs["hyperparameter_search.yaml"], read_metadata(Path(train.metadata_config_path))).runs


def test_a_column_is_an_end_only_where_no_event_comes_later(tmp_path: Path) -> None:
    table = times()
    assert found(tmp_path, table) == EventTimes(0, "t_end")
    assert found(tmp_path, table.rename({"t_end": "weight"})) == EventTimes()
    assert found(tmp_path, table.with_columns(t_end=pl.lit(0.5))) == EventTimes(), "events come later"
    changes = table.with_columns(t_end=pl.int_range(pl.len()) + 100)
    assert found(tmp_path, changes) == EventTimes(), "it has several values in a sequence"


def test_a_clock_that_starts_with_the_first_event_says_nothing_of_the_time_before(tmp_path: Path) -> None:
    assert found(tmp_path, times(first=0.0)) == EventTimes(None, "t_end")


def test_starts_and_ends_that_are_dates(tmp_path: Path) -> None:
    hours = times().with_columns(
        time=pl.lit(FIRST) + pl.duration(seconds=(3600 * pl.col("time")).cast(pl.Int64)),
        t_end=pl.lit(FIRST) + pl.duration(seconds=(3600 * pl.col("t_end")).cast(pl.Int64)),
    )
    assert found(tmp_path, hours) == EventTimes(None, "t_end")
    assert found(tmp_path, hours.with_columns(t_start=pl.lit(FIRST))) == EventTimes("t_start", "t_end")
    later = pl.lit(FIRST + timedelta(days=1))
    assert found(tmp_path, hours.with_columns(t_start=later)) == EventTimes(None, "t_end"), "events come before"


def test_the_end_of_observation_is_an_ordinary_column_where_times_are_no_target(tmp_path: Path) -> None:
    table = times().with_columns(kind=pl.Series(["abc"[i % 3] for i in range(times().height)]))
    _, configs = look(tmp_path, table, targets=["kind"])
    assert configs["preprocess.yaml"].observation is None
    assert configs["preprocess.yaml"].selected_columns == ["t_end", "kind"]


def test_integers_are_no_times(tmp_path: Path) -> None:
    table = pl.DataFrame({"user": [i // 9 for i in range(90)], "step": [i % 9 for i in range(90)]})
    with pytest.raises(DataError, match=r"no column that can be predicted[\s\S]*times of the events"):
        look(tmp_path, table)
    with pytest.raises(DataError, match=r"no column `time_gap` in the table"):
        look(tmp_path, table, targets=["time_gap"])
