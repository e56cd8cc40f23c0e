"""Sales that follow from the price and the hour of their own step: from a table to forecasts, graphs and the card."""

import io
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.artifacts.model_file import read_model_file
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.resolve import resolve
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, DataError
from sequifier.export.parity import open_session
from sequifier.preprocess.new_events import encode_new_events
from sequifier.preprocess.pipeline import preprocess
from tests.support.quiet import quiet
from tests.support.shop import working_copy
from tests.support.trained_shop import infer

H, T, N = 3, 8, 200
NOISE = 0.5
START = datetime(2024, 1, 1)
METADATA = "configs/metadata_configs/sales.json"
PLANNED, DATED = "models/sequifier-planned-best-3.onnx", "models/sequifier-dated-best-1.onnx"


def sales(shops: str = "AB", n_hours: int = N, seed: int = 0) -> pl.DataFrame:
    """Sales are ten, five times the price, 4 more on holidays, and 6 more in the afternoon, with noise."""
    draw = np.random.default_rng(seed)
    tables = []
    for shop in shops:
        time = [START + timedelta(hours=hour) for hour in range(n_hours)]
        price = draw.integers(1, 4, n_hours).astype(float)
        holiday = draw.random(n_hours) < 0.3
        value = 10 + 5 * price + 4 * holiday + 6 * (np.arange(n_hours) % 24 >= 12) + NOISE * draw.normal(size=n_hours)
        columns = {"time": time, "price": price, "holiday": np.where(holiday, "yes", "no"), "sales": value}
        tables.append(pl.DataFrame({"shop": [shop] * n_hours} | columns))
    return pl.concat(tables)


def prepared(root: Path, table: pl.DataFrame, **fields: Any) -> None:
    (root / "data").mkdir()
    table.write_csv(root / "data" / "sales.csv")
    values = {"project_root": str(root), "data_path": str(root / "data" / "sales.csv"), "sequence_column": "shop"}
    values |= {"position_column": "time", "seq_length": T, "time_features": ["hour"], "split_ratios": [0.8, 0.1, 0.1]}
    preprocess(PreprocessConfig.model_validate(values | fields), log=quiet)


def config(**fields: Any) -> TrainConfig:
    training = {"epochs": 1, "batch_size": 16, "learning_rate": 0.01, "device": "cpu", **fields.pop("training", {})}
    values: dict[str, Any] = {
        "project_root": ".",
        "metadata_config_path": METADATA,
        "model_name": "planned",
        "target_columns": ["sales"],
        "prediction_horizon": H,
        "known_future": ["price", "holiday", "time_hour"],
        "window_stride": 2,
        "model_spec": {"dim_model": 16, "n_head": 2, "num_layers": 1},
        "training_spec": training,
    }
    return TrainConfig.model_validate(values | fields)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A folder with three models, and the validation loss of each in original units."""
    root = tmp_path_factory.mktemp("sales")
    prepared(root, sales())
    long = {"epochs": 3, "learning_rate": 0.02}
    runs = [
        config(project_root=str(root), training=long, export_end_to_end=True, export_pt=True),
        config(project_root=str(root), training=long, model_name="blind", known_future=[]),
        config(project_root=str(root), training={"max_steps": 1}, model_name="dated", known_future=["calendar"]),
    ]
    scale = read_metadata(root / METADATA).scale("sales")
    losses = {run.model_name: api.train(run, emit=quiet).best_val_loss for run in runs}
    return root, {name: loss * float(scale.std) ** 2 for name, loss in losses.items() if loss is not None}


@pytest.fixture
def trained(project: tuple[Path, dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    """The table; its project with its models is the working folder."""
    working_copy(project[0], tmp_path, monkeypatch)
    return sales()


def past_and_plan(table: pl.DataFrame) -> pl.DataFrame:
    """Write past.csv, without the last steps of each shop, and plan.csv, with what is known; returns those steps."""
    ahead = table.group_by("shop", maintain_order=True).tail(H)
    table.join(ahead, on=["shop", "time"], how="anti", maintain_order="left").write_csv("past.csv")
    ahead.drop("sales").write_csv("plan.csv")
    return ahead


def raw(model: str = PLANNED, **fields: Any) -> pl.DataFrame:
    (found,) = infer(model, **{"data_path": "past.csv", "read_format": "raw"} | fields)
    return pl.read_csv(found.predictions, try_parse_dates=True)


def test_the_loss_is_near_the_noise_only_where_the_values_to_come_are_known(
    project: tuple[Path, dict[str, float]],
) -> None:
    """The variances of 5 times the price and of the holidays are 17 and 3."""
    _, loss = project
    assert loss["planned"] < 6 * NOISE**2
    assert loss["blind"] > 20


def test_raw_events_with_a_plan_are_forecast_as_the_split_that_has_their_truth(trained: pl.DataFrame) -> None:
    ahead = past_and_plan(trained)
    lines: list[str] = []
    (found,) = infer(PLANNED, lines)
    split = pl.read_csv(found.predictions, try_parse_dates=True).group_by("sequenceId", maintain_order=True).tail(H)
    expected = raw(future_data_path="plan.csv")
    assert expected["itemPosition"].to_list() == ahead["time"].to_list() == split["itemPosition"].to_list()
    np.testing.assert_allclose(expected["sales"], split["sales"], rtol=1e-5)
    assert np.abs(expected["sales"] - ahead["sales"]).mean() < 3 * NOISE
    # A table with the past too, other shops and further steps; and the weights in torch.
    more = sales("ABC", N + 5).with_columns(sales=pl.lit(0.0))
    plan = pl.concat([more.filter(pl.col("time") >= START + timedelta(hours=N)), trained]).drop("sales")
    plan.sample(fraction=1.0, shuffle=True, seed=1).write_csv("plan.csv")
    for model in (PLANNED, PLANNED.replace(".onnx", ".pt")):
        lines.clear()
        np.testing.assert_allclose(raw(model, future_data_path="plan.csv")["sales"], expected["sales"], rtol=1e-5)
    assert f"{2 * (N - H)} events" in " ".join(infer_lines("plan.csv"))


def infer_lines(plan: str) -> list[str]:
    lines: list[str] = []
    infer(PLANNED, lines, data_path="past.csv", read_format="raw", future_data_path=plan)
    return lines


def test_the_end_to_end_graph_reads_the_plan_and_its_dates(trained: pl.DataFrame) -> None:
    ahead = past_and_plan(trained)
    expected = raw(future_data_path="plan.csv")["sales"].to_numpy().reshape(2, H)
    session = open_session(Path("models/sequifier-planned-best-end-to-end-3.onnx").read_bytes())
    shops = trained.partition_by("shop", maintain_order=True)
    window, plan = [shop.head(N - H).tail(T) for shop in shops], ahead.partition_by("shop", maintain_order=True)

    def stacked(tables: list[pl.DataFrame], column: str, kind: Any) -> Any:
        return np.array([table[column].to_list() for table in tables], kind)

    feed: dict[str, Any] = {"n_events": np.array([T, T])}
    for name, kind in (("price", np.float32), ("holiday", object), ("sales", np.float32)):
        feed[name] = stacked(window, name, kind)
        if name != "sales":
            feed[f"future_{name}"] = stacked(plan, name, kind)
    for name, tables in (("position", window), ("future_position", plan)):
        feed[name] = stacked(tables, "time", "datetime64[us]").astype(np.int64)
    asked = {value.name for value in session.get_inputs()}
    feed |= {name: np.zeros(2, np.int64) for name in ("previous_position", "first_position") if name in asked}
    assert asked == {*feed}
    (value,) = session.run(["sales_value"], feed)
    np.testing.assert_allclose(value[:, 0], expected, rtol=1e-4)


def test_the_calendar_of_a_regular_series_needs_no_plan(trained: pl.DataFrame) -> None:
    ahead = past_and_plan(trained)
    found = raw(DATED)
    assert read_model_file(Path(DATED)).architecture.known_future == ("time_hour",)  # the config has `calendar`
    assert found["itemPosition"].to_list() == ahead["time"].to_list()
    ahead.select("shop", "time").write_csv("plan.csv")
    np.testing.assert_allclose(found["sales"], raw(DATED, future_data_path="plan.csv")["sales"], rtol=1e-5)
    past = pl.read_csv("past.csv")
    past.filter((pl.col("shop") == "A") | (pl.int_range(pl.len()) % 7 > 0)).write_csv("past.csv")
    with pytest.raises(DataError, match="sequence `B` has no regular frequency, so the dates of the 3 steps to come"):
        raw(DATED)


def test_copies_of_planned_rows_are_one_step_where_copies_of_events_are_dropped(trained: pl.DataFrame) -> None:
    ahead = past_and_plan(trained).drop("sales")
    past, file = pl.read_csv("past.csv"), read_model_file(Path(PLANNED))
    (expected,) = encode_new_events(Path("past.csv"), file, future=Path("plan.csv"))
    form = file.reading.table.model_copy(update={"drop_duplicates": True})
    file = replace(file, reading=file.reading.model_copy(update={"table": form}))
    pl.concat([past, past.tail(4)]).write_csv("past.csv")
    pl.concat([ahead.head(1), ahead]).write_csv("plan.csv")
    (found,) = encode_new_events(Path("past.csv"), file, future=Path("plan.csv"))
    assert found.offsets.tolist() == expected.offsets.tolist() == [0, N, 2 * N]
    for column, values in expected.columns.items():
        np.testing.assert_array_equal(found.columns[column], values)


def test_a_plan_that_begins_later_than_the_series_goes_on_is_noted(trained: pl.DataFrame) -> None:
    """The steps to come of a regular series are known: a missing first row would make all of them another step."""
    past_and_plan(trained)
    assert "is a row missing there?" not in " ".join(infer_lines("plan.csv"))
    plan = pl.concat([sales("AB", N + 1).filter(pl.col("time") > START + timedelta(hours=N - H))])
    plan.sort("shop", "time").drop("sales").write_csv("later.csv")
    assert (
        "note: sequence `A` (and 1 more) has other steps to come in later.csv than the frequency of its events says: "
        "is a row missing there?"
    ) in infer_lines("later.csv")


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (lambda rows: rows.head(5), "after the last event of sequence `B` the table has 2 of the 3 steps"),
        (
            lambda rows: rows.with_columns(pl.when(pl.int_range(pl.len()) != 4).then("price").alias("price")),
            "column `price` has no value at step 2 of sequence `B`",
        ),
        (lambda rows: rows.drop("holiday"), "column `holiday` (the metadata) is missing in plan.csv"),
        (lambda rows: rows.with_columns(time=pl.int_range(pl.len())), "the positions (`time`) are integers"),
        (lambda rows: pl.concat([rows, rows.head(1)]), "rows repeat the shop and time of another"),
    ],
)
def test_a_plan_with_missing_steps_or_values_is_refused(trained: pl.DataFrame, plan: Any, message: str) -> None:
    plan(past_and_plan(trained).drop("sales")).write_csv("plan.csv")
    with pytest.raises(DataError) as error:
        raw(future_data_path="plan.csv")
    assert message in error.value.what
    assert "plan.csv" in error.value.where


def with_plan(table: pl.DataFrame, n_steps: int = H) -> pl.DataFrame:
    """The table without the sales of the last steps of each shop."""
    is_planned = pl.int_range(pl.len()).over("shop") >= N - n_steps
    return table.with_columns(sales=pl.when(~is_planned).then("sales"))


@pytest.mark.parametrize("form", ["as it is", "in random order", "parquet with NaN", "named twice", "another name"])
def test_rows_without_sales_at_the_end_of_a_table_are_the_steps_to_come(trained: pl.DataFrame, form: str) -> None:
    past_and_plan(trained)
    expected = raw(future_data_path="plan.csv")
    whole, lines = with_plan(trained), list[str]()
    if form == "parquet with NaN":
        whole.with_columns(pl.col("sales").fill_null(float("nan"))).write_parquet("whole.parquet")
    else:
        (whole.sample(fraction=1.0, shuffle=True, seed=2) if form == "in random order" else whole).write_csv(
            "whole.csv"
        )
    path = "whole.parquet" if form == "parquet with NaN" else "whole.csv"
    names = {"named twice": path, "another name": str(Path(path).resolve())}
    named = {"future_data_path": names[form]} if form in names else {}
    (found,) = infer(PLANNED, lines, data_path=path, read_format="raw", **named)
    written = pl.read_csv(found.predictions, try_parse_dates=True)
    assert written["itemPosition"].to_list() == expected["itemPosition"].to_list()
    np.testing.assert_allclose(written["sales"], expected["sales"], rtol=1e-5)
    printed = "\n".join(lines)
    assert "the steps to come are the rows at the end of each sequence that have no value of sales" in printed
    assert f"{2 * (N - H)} events" in printed


def test_more_rows_than_steps_are_allowed_and_fewer_are_not(trained: pl.DataFrame) -> None:
    with_plan(trained, H + 2).write_csv("past.csv")
    assert raw()["itemPosition"].min() == START + timedelta(hours=N - H - 2)
    with_plan(trained, H - 1).write_csv("past.csv")
    with pytest.raises(DataError, match="after the last event of sequence `A` the table has 2 of the 3 steps") as error:
        raw()
    assert "add a row for step 3 without sales, or give a table of its own" in error.value.fix
    trained.write_csv("past.csv")
    with pytest.raises(DataError, match="sequence `A` the table has 0 of the 3 steps, and too few for 1 more sequence"):
        raw()


def test_only_rows_at_the_end_of_a_sequence_with_events_are_steps_to_come(trained: pl.DataFrame) -> None:
    whole = with_plan(trained)
    for hole, message in (
        (pl.int_range(pl.len()) == 7, "column `sales`: 1 of 400 values is missing"),
        (pl.col("shop") == "B", "sequence `B` has no value of sales, so there is nothing to forecast from"),
    ):
        whole.with_columns(sales=pl.when(~hole).then("sales")).write_csv("past.csv")
        with pytest.raises(DataError, match=message):
            raw()


def test_other_models_read_such_rows_only_where_they_are_named(trained: pl.DataFrame) -> None:
    with_plan(trained).write_csv("past.csv")
    for model in ("models/sequifier-blind-best-3.onnx", DATED):
        with pytest.raises(DataError, match="column `sales`: 6 of 400 values are missing"):
            raw(model)
    found = raw(DATED, future_data_path="past.csv")
    past_and_plan(trained)
    np.testing.assert_allclose(found["sales"], raw(DATED)["sales"], rtol=1e-5)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_plan_without_rows_is_the_file_to_check(trained: pl.DataFrame, suffix: str) -> None:
    none = past_and_plan(trained).drop("sales").clear()
    none.write_csv("none.csv") if suffix == "csv" else none.write_parquet("none.parquet")
    with pytest.raises(DataError, match="there are no rows") as error:
        raw(future_data_path=f"none.{suffix}")
    assert (Path(error.value.where).name, error.value.fix) == (f"none.{suffix}", "check future_data_path")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"future_data_path": "nothing.csv"}, "no such file or folder: nothing.csv"),
        (
            {"future_data_path": "plan.csv", "model_path": "models/sequifier-blind-best-3.onnx"},
            "the model reads nothing at the steps to come (known_future)",
        ),
        (
            {"future_data_path": "plan.csv", "data_path": None, "read_format": None},
            "encoded events have their values at the steps to come already",
        ),
        (
            {"future_data_path": "plan.csv", "model_path": PLANNED.replace("onnx", "pt"), "model_type": "embedding"},
            "an embedding is of events that have happened",
        ),
    ],
)
def test_a_plan_that_is_missing_or_of_no_use_is_refused_before_anything_is_read(
    trained: pl.DataFrame, fields: dict[str, Any], message: str
) -> None:
    past_and_plan(trained)
    with pytest.raises(ConfigError) as error:
        raw(fields.pop("model_path", PLANNED), **fields)
    (problem,) = error.value.problems
    assert (problem.key, problem.message) == ("future_data_path", message)


def test_embeddings_need_no_plan(trained: pl.DataFrame) -> None:
    past_and_plan(trained)
    assert raw(PLANNED.replace("onnx", "pt"), model_type="embedding").height > 0


def test_the_card_names_the_columns_and_has_calls_that_work(trained: pl.DataFrame) -> None:
    for end_to_end in (True, False):
        if not end_to_end:
            for path in Path("models").glob("*end-to-end*"):
                path.unlink()
        card = api.export("planned", project_root=".", card=True, log=quiet)[-1].read_text()
        assert f"At each of the {H} steps that it forecasts it also reads `holiday`, `price`, `time_hour`" in card
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(card.split("```python")[1].split("```")[0], {})
        assert "sales" in printed.getvalue()


@pytest.mark.slow
def test_columns_standardised_by_sequence_are_read_at_the_scale_of_their_past(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = sales().with_columns(price=pl.col("price") * pl.when(pl.col("shop") == "A").then(1).otherwise(1000))
    prepared(tmp_path, table, standardize="per_sequence", split_ratios=[0.5, 0.5])
    api.train(config(known_future=["price", "holiday"]), emit=quiet)
    (found,) = infer(PLANNED.replace("3", "1"), data_path="data/sales-split1.parquet")
    # The scale of new rows is that of all rows given, so the past ends with the training split.
    half = START + timedelta(hours=N // 2)
    table.filter(pl.col("time") < half).write_csv("past.csv")
    table.drop("sales").write_csv("plan.csv")
    split = pl.read_csv(found.predictions, try_parse_dates=True)
    first = split.filter(pl.col("originPosition") == half - timedelta(hours=1))
    ahead = raw(PLANNED.replace("3", "1"), future_data_path="plan.csv")
    np.testing.assert_allclose(ahead["sales"], first["sales"], rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"known_future": ["prize"]}, "column `prize` is not in the preprocessed data"),
        ({"known_future": ["sales"]}, "`sales` is a target"),
        ({"input_columns": ["sales", "holiday", "time_hour"]}, "`price` is not an input column"),
    ],
)
def test_columns_that_cannot_be_known_are_refused_before_anything_trains(
    trained: pl.DataFrame, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(config(**fields), read_metadata(Path(METADATA)))
    assert [message in problem.message for problem in error.value.problems] == [True]
