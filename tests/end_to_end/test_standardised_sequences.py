"""Columns that are standardised by sequence: stored values, metrics, predictions and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.artifacts.model_file import read_model_file
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.train import TrainConfig
from sequifier.dataset.seasons import find_period
from sequifier.errors import ConfigError, DataError, ModelError
from sequifier.prepare import prepare
from sequifier.training.evaluate import evaluate
from sequifier.training.shared import Shared
from tests.support.events import make_split
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, merged, preprocess_shop, working_copy, write_shop
from tests.support.trained_shop import infer

METADATA = Path("configs/metadata_configs/shop.json")
N_TRAINING, N_VISITS = 20, 30
"""Visits of a customer in split 0 and altogether, but for the last customers."""


def sales(n_customers: int = 9, seed: int = 0) -> list[tuple[str, int, str, float]]:
    """Return seasons of very different sizes. The prices of one customer are equal in split 0."""
    draw = np.random.default_rng(seed)
    rows = []
    for customer in range(n_customers):
        prices = 10.0**customer * (5 + np.sin(np.arange(N_VISITS)) + 0.1 * draw.normal(size=N_VISITS))
        if customer == 4:
            prices[:N_TRAINING] = 7.5
        rows += [(f"c{customer}", visit, f"item{visit % 3}", price) for visit, price in enumerate(prices.tolist())]
    return rows


def config(**values: Any) -> TrainConfig:
    base: dict[str, Any] = {"model_name": "sizes", "target_columns": ["price", "item"], "project_root": "."}
    base |= {
        "export_pt": True,
        "metric": "val_price_mae",
        "training_spec": {"epochs": 1, "dropout": 0.0, "evaluation_stride": 1},
    }
    return TrainConfig.model_validate(merged(merged(TINY_RUN, base), values))


PREPROCESS: dict[str, Any] = {"standardize": "per_sequence", "split_ratios": [2 / 3, 1 / 3]}


QUANTILES: dict[str, Any] = {"model_name": "spread", "model_spec": {"distribution": {"price": "quantiles"}}}


@pytest.fixture(scope="module")
def _spread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spread")
    write_shop(root / "data" / "shop.csv", sales())
    preprocess_shop(root, **PREPROCESS, transforms={"price": "log1p"})
    api.train(config(project_root=str(root), **QUANTILES), emit=quiet)
    return root


@pytest.fixture
def spread(_spread: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a project with log1p of the values, and a model of their quantiles, the working folder."""
    working_copy(_spread, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sales")
    write_shop(root / "data" / "shop.csv", sales())
    preprocess_shop(root, **PREPROCESS)
    api.train(config(project_root=str(root)), emit=quiet)
    return root


@pytest.fixture
def trained(_trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the project with its model the working folder."""
    working_copy(_trained, tmp_path, monkeypatch)


MODEL = "models/sequifier-sizes-best-1.onnx"


def raw() -> pl.DataFrame:
    return pl.read_csv("data/shop.csv")


def test_values_are_standardised_by_the_training_part_of_their_sequence(trained: None) -> None:
    training = raw().filter(pl.col("visit") < N_TRAINING)
    statistics = training.group_by("customer").agg(mean=pl.col("price").mean(), std=pl.col("price").std())
    everything = training["price"].std()
    for number in (0, 1):
        stored = pl.read_parquet(f"data/shop-split{number}.parquet")
        rows = stored.join(raw(), left_on=["sequenceId", "itemPosition"], right_on=["customer", "visit"])
        rows = rows.join(statistics, left_on="sequenceId", right_on="customer", suffix=" wanted")
        wanted = rows["std"].to_numpy().copy()
        wanted[rows["sequenceId"] == "c4"] = everything  # all its training values are equal
        np.testing.assert_allclose(rows["price.mean"], rows["mean"], rtol=1e-6)
        np.testing.assert_allclose(rows["price.std"], wanted, rtol=1e-6)
        # Exactly by the stored numbers: they lead back to the value.
        mean, std = (rows[name].cast(pl.Float64) for name in ("price.mean", "price.std"))
        np.testing.assert_allclose(rows["price"] * std + mean, rows["price_right"], rtol=1e-5)


def validation() -> tuple[pl.DataFrame, Any]:
    """The validation events with the prediction of each, and what `infer` says about them."""
    (found,) = infer(MODEL, data_path="data/shop-split1.parquet", evaluation_context="full", evaluate=True)
    predicted = pl.read_csv(found.predictions).rename({"price": "predicted"}).drop("item")
    return raw().join(predicted, left_on=["customer", "visit"], right_on=["sequenceId", "itemPosition"]), found


def test_metrics_of_training_and_infer_are_those_of_predictions_in_original_units(trained: None) -> None:
    rows, found = validation()
    assert len(rows) == 9 * (N_VISITS - N_TRAINING)
    error = (rows["predicted"] - rows["price"]).to_numpy()
    stored = read_model_file(Path(MODEL)).metrics
    for name, value in (("mae", np.abs(error).mean()), ("rmse", (error**2).mean() ** 0.5)):
        assert found.evaluation["price"][name] == pytest.approx(value, rel=1e-5)
        assert stored[f"val_price_{name}"] == pytest.approx(value, rel=1e-5)
    assert found.evaluation["price"]["mase"] == pytest.approx(stored["val_price_mase"], rel=1e-5)


def test_mase_scales_each_error_by_the_naive_forecast_of_its_own_sequence(trained: None) -> None:
    rows, _ = validation()
    ready = prepare(config(), Shared(), emit=quiet)
    period = find_period(ready.train.events, "price", 400) or 1
    training = raw().filter(pl.col("visit") < N_TRAINING)
    naive = (pl.col("price") - pl.col("price").shift(period)).abs().mean()
    scales = training.group_by("customer").agg(scale=naive)
    pooled = training.select((pl.col("price") - pl.col("price").shift(period).over("customer")).abs().mean()).item()
    scaled = rows.join(scales, on="customer").with_columns(
        scale=pl.when(pl.col("scale") > 0).then("scale").otherwise(pooled)
    )
    mase = scaled.select(((pl.col("predicted") - pl.col("price")).abs() / pl.col("scale")).mean()).item()
    assert read_model_file(Path(MODEL)).metrics["val_price_mase"] == pytest.approx(mase, rel=1e-4)
    last = next(found for name, found in ready.baselines.items() if "last value" in name)
    before = (
        raw().with_columns(predicted=pl.col("price").shift(1).over("customer")).filter(pl.col("visit") >= N_TRAINING)
    )
    scaled = before.join(scaled.select("customer", "scale").unique(), on="customer")
    mase = scaled.select(((pl.col("predicted") - pl.col("price")).abs() / pl.col("scale")).mean()).item()
    assert last.metrics["val_price_mase"] == pytest.approx(mase, rel=1e-4)


def test_quantiles_are_those_of_the_own_sequence_in_original_units(spread: None) -> None:
    model = "models/sequifier-spread-best-1.onnx"
    (found,) = infer(model, data_path="data/shop-split1.parquet", evaluation_context="full", evaluate=True)
    table = pl.read_csv(found.predictions).rename({"price": "median"}).drop("item")
    rows = raw().join(table, left_on=["customer", "visit"], right_on=["sequenceId", "itemPosition"])
    assert len(rows) == 9 * (N_VISITS - N_TRAINING)
    levels = np.arange(1, 20) / 20
    quantiles = rows.select(f"price_q{round(100 * level):02}" for level in levels).to_numpy()
    error = quantiles - rows["price"].to_numpy()[:, None]
    by_hand = {
        "mae": np.abs(rows["median"] - rows["price"]).mean(),
        "crps": 2 * np.maximum(-levels * error, (1 - levels) * error).mean(),
        "coverage_80": ((error[:, 1] <= 0) & (error[:, 17] >= 0)).mean(),
    }
    stored = read_model_file(Path(model)).metrics
    for name, value in by_hand.items():
        assert found.evaluation["price"][name] == pytest.approx(value, rel=1e-4), name
        assert stored[f"val_price_{name}"] == pytest.approx(value, rel=1e-4), name
    assert stored["val_price_rmse"] == pytest.approx(found.evaluation["price"]["rmse"], rel=1e-4)
    size = rows.select(pl.col("median") / 10.0 ** pl.col("customer").str.slice(1).cast(pl.Int64)).to_series()
    assert size.filter(rows["customer"] != "c4").is_between(2, 10).all()


def test_a_baseline_has_its_quantiles_in_the_scale_of_each_sequence(spread: None) -> None:
    """The median of the training values, with the quantiles of their deviations: both are those of the sequence."""
    scores = prepare(config(**QUANTILES), Shared(), emit=quiet).baselines
    found = next(found for name, found in scores.items() if name.endswith("median"))
    stored = [pl.read_parquet(f"data/shop-split{number}.parquet") for number in (0, 1)]
    z = (
        stored[0].filter(pl.col("itemPosition") > 0)["price"].to_numpy().astype(np.float64)
    )  # a first event is no target
    own = stored[1].filter(~pl.col("isContext"))
    mean, std, truth = (own[name].to_numpy().astype(np.float64) for name in ("price.mean", "price.std", "price"))
    q10, q90 = (np.expm1(level * std + mean) for level in np.quantile(z, [0.1, 0.9]))
    price = np.expm1(truth * std + mean)
    assert found.metrics["val_price_coverage_80"] == pytest.approx(((q10 <= price) & (price <= q90)).mean())
    middle = np.expm1(np.quantile(z, 0.5) * std + mean)
    assert found.metrics["val_price_mae"] == pytest.approx(np.abs(middle - price).mean(), rel=1e-4)


def test_sampled_values_are_never_below_the_lowest_of_their_sequence(spread: None) -> None:
    write_shop(
        Path("data/new.csv"),
        [(f"c{size}", visit, "item0", 10.0**size * (visit % 2)) for size in (0, 6) for visit in range(12)],
    )
    (found,) = infer(
        "models/sequifier-spread-best-1.onnx",
        read_format="raw",
        data_path="data/new.csv",
        autoregression=True,
        autoregression_extra_steps=4,
        sampler={"temperature": 1.0},
        n_scenarios=50,
    )
    sampled = pl.read_csv(found.predictions)
    for size, of_sequence in ((0, "c0"), (6, "c6")):
        price = sampled.filter(pl.col("sequenceId") == of_sequence)["price"]
        assert price.min() == pytest.approx(0, abs=1e-6), "half of the values are 0, so some samples would be below"
        assert price.max() > 10.0**size / 1000  # type: ignore[operator]


def test_predictions_have_the_size_of_their_sequence(trained: None) -> None:
    rows, _ = validation()
    size = rows.select(pl.col("predicted") / 10.0 ** pl.col("customer").str.slice(1).cast(pl.Int64))
    sized = size.filter(rows["customer"] != "c4").to_series()
    assert sized.min() > 2 and sized.max() < 8  # type: ignore[operator]


def test_a_baseline_is_measured_in_original_units_too(trained: None) -> None:
    scores = prepare(config(), Shared(), emit=quiet).baselines
    last = next(found for name, found in scores.items() if "last value" in name)
    before = raw().with_columns(last=pl.col("price").shift(1).over("customer")).filter(pl.col("visit") >= N_TRAINING)
    mae = (before["price"] - before["last"]).abs().mean()
    assert last.metrics["val_price_mae"] == pytest.approx(mae, rel=1e-5)
    units = last.units["val_price_mae"]
    assert units.total.sum() / units.count.sum() == pytest.approx(mae, rel=1e-5), "the sums by sequence add up to it"


@pytest.mark.parametrize("picks", [True, False])
def test_each_target_position_has_its_own_sequence(trained: None, picks: bool) -> None:
    """Picked out, as on a CPU, or masked, as on a GPU."""
    ready = prepare(config(training_spec={"evaluation_stride": 3}), Shared()).valid
    split = make_split(
        ready.events, ready.windows, 8, categorical=["item"], real=["price"], targets=["price"], picks=picks
    )
    order = np.random.default_rng(0).permutation(len(split))
    chosen = split.choose(order)
    batch = split.batch(chosen)
    rows = split.target_rows(order, batch.n_steps)
    counts = rows >= 0
    assert counts.sum() == split.n_targets().sum()
    expected = np.repeat(np.arange(9), np.diff(split.events.offsets))[rows[counts]]
    np.testing.assert_array_equal(split.target_sequence(chosen, batch)[counts], expected)


def test_a_mapped_split_gives_the_same_metrics(trained: None) -> None:
    found = []
    for in_memory in (True, False):
        ready = prepare(config(training_spec={"load_full_data_to_ram": in_memory}), Shared())
        found.append(evaluate(ready.state.model, ready.valid, ready.objective, batch_size=8).metrics)
    assert found[0] == found[1] and found[0]["val_price_mase"] > 0


def test_new_rows_are_standardised_by_their_own_sequence(trained: None) -> None:
    """A sequence 1,000 times as large has 1,000 times the forecast."""
    prices = 5 + np.sin(np.arange(12))
    rows = [("small", visit, f"item{visit % 3}", price) for visit, price in enumerate(prices.tolist())]
    rows = [
        (who + end, visit, item, price * size)
        for end, size in (("", 1), ("x", 1000))
        for who, visit, item, price in rows
    ]
    write_shop(Path("data/new.csv"), rows)
    for generated in ({}, {"autoregression": True, "autoregression_extra_steps": 3}):
        (found,) = infer(MODEL, read_format="raw", data_path="data/new.csv", **generated)
        events = pl.read_csv(found.predictions)
        small, large = (events.filter(pl.col("sequenceId") == who)["price"] for who in ("small", "smallx"))
        np.testing.assert_allclose(large / 1000, small, rtol=1e-4)
        assert small.min() > 2 and small.max() < 8  # type: ignore[operator]


def test_both_files_predict_alike_and_the_card_says_how(trained: None) -> None:
    rows, _ = validation()
    (found,) = infer(MODEL.replace(".onnx", ".pt"), data_path="data/shop-split1.parquet", evaluation_context="full")
    predicted = pl.read_csv(found.predictions).sort("sequenceId", "itemPosition")["price"]
    np.testing.assert_allclose(predicted, rows.sort("customer", "visit")["predicted"], rtol=1e-3)
    card = api.export("sizes", project_root=".", card=True, log=quiet)[-1].read_text()
    assert "standardised by sequence; of all values mean" in card


def test_new_data_of_the_model_are_standardised_as_its_metadata_say(trained: None) -> None:
    write_shop(Path("data/new.csv"), sales(seed=1))
    stored = {"metadata_config_path": str(METADATA), "data_path": "data/new.csv", "split_ratios": [2 / 3, 1 / 3]}
    preprocess_shop(Path.cwd(), **stored)
    assert read_metadata(METADATA.with_name("new.json")).by_sequence == ["price"]
    (found,) = infer(MODEL, data_path="data/new-split1.parquet", evaluation_context="full", evaluate=True)
    assert found.evaluation["price"]["n"] == 9 * (N_VISITS - N_TRAINING)
    with pytest.raises(DataError, match="split_method between_sequence holds out whole sequences"):
        preprocess_shop(Path.cwd(), **stored | {"split_method": "between_sequence"})


def test_a_sequence_without_training_events_has_the_scale_of_all(tmp_path: Path) -> None:
    late = [("late", visit, "item0", 4.0) for visit in range(25, 35)]
    write_shop(tmp_path / "data" / "shop.csv", sales(3) + late)
    lines: list[str] = []
    values = {"project_root": str(tmp_path), "data_path": str(tmp_path / "data" / "shop.csv"), "seq_length": 8}
    values |= {"sequence_column": "customer", "position_column": "visit", "standardize": "per_sequence"}
    preprocess = PreprocessConfig.model_validate(values | {"split_method": "cutoff", "split_at": [20]})
    metadata = read_metadata(api.preprocess(preprocess, log=lines.append))
    assert any("1 of 4 sequences have no events in split 0" in line for line in lines)
    assert any("standardised by sequence" in line and "price" in line for line in lines)
    stored = pl.read_parquet(tmp_path / "data" / "shop-split1.parquet").filter(pl.col("sequenceId") == "late")
    statistics = metadata.selected_columns_statistics["price"]
    assert stored["price.mean"][0] == pytest.approx(statistics["mean"])
    assert stored["price.std"][0] == pytest.approx(statistics["std"])


def test_parts_of_a_table_and_other_formats_hold_the_same(tmp_path: Path) -> None:
    write_shop(tmp_path / "data" / "shop.csv", sales())
    whole = preprocess_shop(tmp_path, **PREPROCESS)
    expected, before = read_metadata(whole), pl.read_parquet(tmp_path / "data" / "shop-split1.parquet")
    for fields in ({"write_format": "csv"}, {"write_format": "pt", "merge_output": False, "batches_per_file": 2}):
        found = read_metadata(preprocess_shop(tmp_path, **PREPROCESS, **fields))
        assert found.fingerprint == expected.fingerprint
    assert {"price", "price.mean", "price.std"} <= {*before.columns}
    assert "price.mean" not in expected.columns, "it is no feature"


def test_a_split_of_whole_sequences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split_method between_sequence keeps sequences whole"):
        preprocess_shop(tmp_path, **PREPROCESS, split_method="between_sequence")


def test_columns_that_cannot_be_are_refused(tmp_path: Path) -> None:
    write_shop(tmp_path / "data" / "shop.csv", sales())
    with pytest.raises(DataError, match="no column can be standardised by sequence"):
        preprocess_shop(tmp_path, **PREPROCESS, selected_columns=["item"])
    table = pl.read_csv(tmp_path / "data" / "shop.csv").with_columns(pl.col("price").alias("price.mean"))
    table.write_csv(tmp_path / "data" / "shop.csv")
    with pytest.raises(DataError, match=r"column `price\.mean` has the name of a statistic of `price`"):
        preprocess_shop(tmp_path, **PREPROCESS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_columns": ["item"]}, "new events without it do not show the level of theirs"),
        ({"export_end_to_end": True}, "that model sees a window, not the sequence, by which `price`"),
        (
            {"model_spec": {"distribution": {"price": "lognormal_mixture"}}},
            "standardised by sequence, and lognormal_mixture is a distribution of values of one scale",
        ),
        ({"training_spec": {"sampling_interval_steps": 5}}, "a prompt is not part of a sequence"),
    ],
)
def test_what_needs_one_scale_is_refused(trained: None, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(config(**fields), Shared())


def test_an_export_of_raw_values_is_refused(trained: None) -> None:
    with pytest.raises(ModelError, match="sees a window, not the sequence, by which price are standardised"):
        api.export("sizes", project_root=".", end_to_end=True, log=quiet)
