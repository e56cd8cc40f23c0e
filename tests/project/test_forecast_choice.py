"""The horizon that `make` proposes for regular series of numbers."""

from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.resolve import resolve
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.project.column_choice import Choice, Use
from sequifier.project.column_facts import Facts
from sequifier.project.forecast_choice import LONGEST_WINDOW, ForecastChoice, choose_forecast, may_be_planned
from sequifier.project.inspect_columns import Kind
from sequifier.project.keys import Keys, Lengths
from sequifier.project.make import OwnTable, make
from sequifier.project.sizes import FEWEST_STEPS, SEARCH_SECONDS, STEPS, choose_sizes
from sequifier.project.split_choice import SplitChoice
from sequifier.search.make_plan import make_plan
from tests.support.quiet import quiet

SPLIT = SplitChoice("within_sequence", (0.8, 0.1, 0.1), "")


def chosen(
    positions: pl.Series, *, n_sequences: int = 1, use: Use = "real", split: SplitChoice = SPLIT
) -> ForecastChoice:
    """Return what is chosen for sequences with these positions."""
    frames = [pl.DataFrame({"site": [str(number)] * len(positions), "at": positions}) for number in range(n_sequences)]
    rows = pl.concat(frames)
    kind: Kind = "date" if positions.dtype == pl.Date else "datetime" if positions.dtype == pl.Datetime else "integer"
    n = len(rows)
    facts = Facts(kind, n, 0, len(positions), positions[0], positions[-1])
    keys = Keys("site", "at", Lengths(pl.Series([len(positions)] * n_sequences), 0), ())
    target = Choice("load", Facts("number", n, 0, n, 0.0, 1.0), use)
    return choose_forecast(rows.lazy(), {"at": facts}, keys, [target], split)


def every(number: int, unit: str, n: int = 3000) -> pl.Series:
    steps = pl.format("{}" + unit, pl.int_range(n) * number)
    return pl.select(pl.lit(datetime(2020, 1, 1)).dt.offset_by(steps).alias("at")).to_series()


@pytest.mark.parametrize(
    ("step", "horizon", "in_words", "span"),
    [
        ((1, "h"), 24, "hour", "a day"),
        ((6, "h"), 4, "6 hours", "a day"),
        ((15, "m"), 96, "15 minutes", "a day"),
        ((5, "m"), 12, "5 minutes", "an hour"),
        ((1, "m"), 60, "minute", "an hour"),
        ((1, "w"), 13, "week", "13 weeks"),
        ((1, "mo"), 12, "month", "12 months"),
        ((1, "q"), 4, "quarter", "4 quarters"),
    ],
)
def test_a_season_of_a_regular_series_is_the_horizon(
    step: tuple[int, str], horizon: int, in_words: str, span: str
) -> None:
    found = chosen(every(*step, n=2000 if horizon < 90 else 8000), n_sequences=2)
    assert (found.horizon, found.step) == (horizon, in_words) and span in found.span
    assert found.seq_length == min(4 * horizon, LONGEST_WINDOW)


def test_days_are_forecast_for_a_week_and_a_few_gaps_are_allowed() -> None:
    days = pl.date_range(date(2020, 1, 1), date(2023, 1, 1), "1d", eager=True)
    assert chosen(days).horizon == 7
    holes = days.filter(pl.Series([number % 100 != 50 for number in range(len(days))]))
    assert chosen(holes).horizon == 7
    workdays = days.filter(days.dt.weekday() <= 5)
    assert not chosen(workdays).is_proposed


def test_columns_that_may_be_planned_are_found_by_the_words_of_their_names() -> None:
    assert may_be_planned(["unitPrice", "onPromo", "is_holiday", "temperature", "opened_by", "enterprise"]) == [
        "unitPrice",
        "onPromo",
        "is_holiday",
    ]


def test_irregular_short_or_undated_tables_and_other_targets_have_no_horizon() -> None:
    hours = every(1, "h")
    assert chosen(hours).is_proposed
    irregular = pl.Series([datetime(2020, 1, 1) + timedelta(minutes=7 * number * number) for number in range(500)])
    assert not chosen(irregular).is_proposed
    assert not chosen(pl.Series(range(3000))).is_proposed
    assert not chosen(hours, use="categorical").is_proposed
    assert not chosen(hours[:150], n_sequences=50).is_proposed, "a sequence trains on less than eight days"
    assert not chosen(every(17, "m")).is_proposed, "neither a day nor an hour has a whole number of steps"
    assert not chosen(hours, split=SplitChoice("between_sequence", (0.8, 0.1, 0.1), "")).is_proposed


def test_long_series_have_a_stride_between_windows() -> None:
    found = chosen(every(1, "h"))
    assert found.stride(pl.Series([3000]), SPLIT) == 1
    assert found.stride(pl.Series([3000] * 16), SPLIT) == 5, "with 3, no origin would be at other hours than 0, 3, ..."
    assert found.stride(pl.Series([3000] * 100), SPLIT) == 19


@pytest.mark.parametrize("n_events", [2_000, 17_420, 100_000, 3_000_000])
def test_a_search_of_forecasts_takes_minutes_and_has_enough_steps(n_events: int) -> None:
    counts, found = pl.Series([n_events]), chosen(every(1, "h"))
    stride = found.stride(counts, SPLIT)
    sizes = choose_sizes(counts, found.seq_length, stride, SPLIT, 1, is_forecast=True)
    assert sizes.batch_size * found.seq_length <= 3072
    assert FEWEST_STEPS <= sizes.epochs * sizes.steps_per_epoch <= 2.2 * STEPS
    assert sizes.minutes * 60 <= SEARCH_SECONDS
    assert sizes.validation_windows == pytest.approx(n_events / 10, rel=0.01), "each event is an origin"


def test_make_proposes_a_forecast_of_a_regular_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    times = every(1, "h", n=24 * 50).to_list()
    loads = [
        (site, time, time.hour + 3.5 * len(site) + time.day % 7, time.day % 9 / 2)
        for site in ("a", "bb")
        for time in times
    ]
    is_event = pl.int_range(pl.len()).over("site") < len(times) - 24
    table = pl.DataFrame(loads, ["site", "at", "load", "tariff"], orient="row")
    table.with_columns(load=pl.when(is_event).then("load")).write_csv("load.csv")
    lines = make("project", None, tmp_path, OwnTable(Path("load.csv"), sequence="site", order="at", targets=["load"]))
    assert any("an event every hour, so the next 24 events (a day)" in line for line in lines)
    assert any(
        "48 of 2,400 values are missing" in line and "(steps to come are rows for `infer`" in line for line in lines
    )
    configs = tmp_path / "project" / "configs"
    config = load(PreprocessConfig, configs / "preprocess.yaml").config
    assert config.time_features == ["hour", "weekday"]
    monkeypatch.chdir(tmp_path / "project")
    api.preprocess(config, log=quiet)
    train = load(TrainConfig, configs / "train.yaml").config
    assert (train.prediction_horizon, train.window_normalization, train.window_stride) == (24, "mean_std", None)
    assert train.model_spec.distribution == {"load": "quantiles"}
    # Only the user knows what is known beforehand: it is a comment, whose first words can be taken over as they are.
    assert train.known_future == []
    text = " ".join((configs / "train.yaml").read_text().replace("\n#", "").split())
    assert "`known_future: [calendar]` for its date, also with columns that are planned (perhaps tariff)" in text
    with_calendar = train.model_copy(update={"known_future": ["calendar"]})
    assert resolve(with_calendar, read_metadata(Path(train.metadata_config_path))).known_future == [
        "time_hour",
        "time_weekday",
    ]
    search = load(SearchConfig, configs / "hyperparameter_search.yaml").config
    plan = make_plan(search, read_metadata(Path(search.metadata_config_path)))
    assert plan.runs and all(run.config.prediction_horizon == 24 for run in plan.runs)
