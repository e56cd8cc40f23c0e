"""Predictions against windows cut by hand, onnxruntime alone, and polars."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sequifier.artifacts.split_file import read_events
from sequifier.dataset.seasons import find_period
from sequifier.errors import DataError
from sequifier.inference.predict import shown_metrics
from tests.support.reference_metrics import macro_f1
from tests.support.rounding import rounding
from tests.support.shop import preprocess_shop
from tests.support.trained_shop import infer, model, train

L = 8  # seq_length and stride of the shop


def last_rows(n: int) -> list[int]:
    """The last row of each window of a slice of n events; the rule is written in the description of preprocess."""
    last = n - (L + 1)
    if last < 0:
        return [n - 1]
    starts = np.linspace(0, last, len(np.arange(0, last + L, L)))
    return sorted({int(start) + L for start in np.floor(starts)})


def by_hand(name: str, split: int) -> tuple[pl.DataFrame, dict[str, np.ndarray[Any, Any]]]:
    """Predictions with their truth, and the probabilities of `item`, one window at a time."""
    metadata = json.loads(Path("configs/metadata_configs/shop.json").read_text())
    item_of = {number: item for item, number in metadata["id_maps"]["item"].items()}
    statistics = metadata["selected_columns_statistics"]["price"]
    session = onnxruntime.InferenceSession(model(name))
    length = next(value.shape[1] for value in session.get_outputs() if value.name == "item_id")
    rows, probabilities = [], []
    for events in pl.read_parquet(f"data/shop-split{split}.parquet").partition_by("sequenceId", maintain_order=True):
        before, own = events.filter(pl.col("isContext")), events.filter(~pl.col("isContext"))
        for last in last_rows(own.height):
            inputs = own[max(0, last - L) : last]
            if inputs.height < length:  # the first event of the slice is predicted too
                inputs = pl.concat([before[-1:], inputs])
            n = inputs.height
            if n == 0:
                continue
            item, price = np.zeros((1, L), np.int64), np.zeros((1, L), np.float32)
            item[0, L - n :], price[0, L - n :] = inputs["item"].to_numpy(), inputs["price"].to_numpy()
            feed = {"item": item, "price": price, "n_events": np.array([n])}
            given = {value.name for value in session.get_inputs()}
            named = dict(
                zip(
                    (value.name for value in session.get_outputs()),
                    session.run(None, {k: feed[k] for k in given}),
                    strict=True,
                )
            )
            steps = named["item_id"].shape[1]
            for step in range(max(0, steps - n), steps):  # the first event of a sequence has nothing before it
                row = last - (steps - 1 - step)
                rows.append(
                    {
                        "sequenceId": own["sequenceId"][row],
                        "itemPosition": own["itemPosition"][row],
                        "item": item_of[int(named["item_id"][0, step])],
                        "price": float(named["price_value"][0, step]) * statistics["std"] + statistics["mean"],
                    }
                )
                probabilities.append(named["item_probabilities"][0, step])
    return pl.DataFrame(rows), {"item": np.array(probabilities)}


@pytest.mark.parametrize("split", [0, 2], ids=["long-sequences", "short-sequences"])
@pytest.mark.parametrize("name", ["one", "three"])
def test_predictions_equal_those_computed_by_hand(trained: Path, name: str, split: int) -> None:
    expected, probabilities = by_hand(name, split)
    (result,) = infer(model(name), data_path=f"data/shop-split{split}.parquet", output_probabilities=True)
    written = pl.read_csv(result.predictions)
    assert written.columns == ["sequenceId", "itemPosition", "item", "price"]
    # Rows of one batch are computed together, so the last bits may differ.
    assert_frame_equal(written, expected, rel_tol=1e-5)
    headed = pl.read_csv(result.probabilities[0])
    assert headed.columns == ["sequenceId", "itemPosition", "unknown", *(f"item{n}" for n in range(6))]
    assert_frame_equal(headed[:, :2], written[:, :2])
    np.testing.assert_allclose(headed[:, 2:].to_numpy(), probabilities["item"], atol=rounding(64))


def test_the_same_files_come_out_whatever_the_batch_size(trained: Path) -> None:
    whole = infer(model("three"), data_path="data/shop-split0.parquet", inference_batch_size=1000)[0]
    expected = pl.read_csv(whole.predictions)
    parts = infer(model("three"), data_path="data/shop-split0.parquet", inference_batch_size=7)[0]
    assert_frame_equal(pl.read_csv(parts.predictions), expected, rel_tol=1e-5)
    assert parts.evaluation["item"] == pytest.approx(whole.evaluation["item"], rel=1e-5)


def test_a_prediction_has_the_position_of_the_event_that_it_predicts(trained: Path) -> None:
    (result,) = infer(model("one"))
    raw = pl.read_csv("data/shop.csv")
    last = raw.group_by("customer").agg(pl.col("visit").max())
    written = pl.read_csv(result.predictions).join(last, left_on="sequenceId", right_on="customer", how="left")
    assert (written["itemPosition"] == written["visit"]).all(), "the test split ends with each customer's last visit"
    assert result.n_predictions == written.height > 0


def test_probabilities_sum_to_one_and_the_unknown_class_has_none(trained: Path) -> None:
    (result,) = infer(model("one"), output_probabilities=True, write_format="parquet")
    probabilities = pl.read_parquet(result.probabilities[0])
    labels = probabilities.columns[2:]
    assert labels[0] == "unknown"
    assert (probabilities["unknown"] == 0).all()
    np.testing.assert_allclose(probabilities[:, 2:].to_numpy().sum(axis=1), 1, atol=1e-5)
    most_likely = [labels[index] for index in probabilities[:, 2:].to_numpy().argmax(axis=1)]
    assert most_likely == pl.read_parquet(result.predictions)["item"].to_list()


def naive_errors(raw: pl.DataFrame) -> pl.DataFrame:
    """The mean error of the seasonal naive forecast in the training events of each sequence."""
    training = Path("data/shop-split0.parquet")
    period = find_period(read_events(training, ["price"], expected_hashes=None), "price", 400) or 1
    rows = pl.read_parquet(training).select("sequenceId", "itemPosition").join(raw, on=["sequenceId", "itemPosition"])
    return rows.sort("itemPosition").group_by("sequenceId").agg(naive=pl.col("price").diff(period).abs().mean())


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("three", {"data_path": "data/shop-split0.parquet"}),
        ("three", {}),
        ("three", {"evaluation_context": "full"}),
        ("one", {"sampler": {"temperature": 1.5}}),
        ("one", {"autoregression": True, "sampler": {"top_k": 3}}),
    ],
    ids=["train", "test", "full", "sampled", "generated"],
)
def test_the_evaluation_equals_one_computed_from_the_written_files(
    trained: Path, name: str, values: dict[str, Any]
) -> None:
    (result,) = infer(model(name), output_probabilities=True, **values)
    raw = pl.read_csv("data/shop.csv").rename({"customer": "sequenceId", "visit": "itemPosition"})
    both = pl.read_csv(result.predictions).join(
        raw, on=["sequenceId", "itemPosition"], how="left", suffix="_true", maintain_order="left"
    )
    probabilities = pl.read_csv(result.probabilities[0])
    of_truth = np.array([probabilities[row, label] for row, label in enumerate(both["item_true"])])
    error = both["price"] - both["price_true"]
    by_naive = both.select("sequenceId").join(naive_errors(raw), on="sequenceId", how="left", maintain_order="left")
    expected = {
        "item": {
            "accuracy": (both["item"] == both["item_true"]).mean(),
            "log_loss": -np.log(of_truth).mean(),
            "macro_f1": macro_f1(both["item_true"].to_list(), both["item"].to_list()),
            "n": both.height,
        },
        "price": {
            "mae": error.abs().mean(),
            "rmse": (error**2).mean() ** 0.5,
            "mase": (error.abs() / by_naive["naive"]).mean(),
            "n": both.height,
        },
    }
    assert both["item_true"].null_count() == 0
    written = result.predictions.with_name(f"{result.predictions.stem.removesuffix('predictions')}evaluation.json")
    saved = json.loads(written.read_text())
    assert saved == result.evaluation
    for target, metrics in expected.items():
        assert saved[target] == pytest.approx(metrics, rel=1e-4), "stored events are float32"


def test_ids_are_written_where_labels_are_not_wanted(trained: Path) -> None:
    labels = pl.read_csv(infer(model("one"))[0].predictions)
    ids = pl.read_csv(infer(model("one"), map_to_id=False)[0].predictions)
    id_of = json.loads(Path("configs/metadata_configs/shop.json").read_text())["id_maps"]["item"]
    assert ids["item"].to_list() == [id_of[item] for item in labels["item"]]
    assert_frame_equal(ids.drop("item"), labels.drop("item"))


def test_only_the_chosen_targets_are_written(trained: Path) -> None:
    (result,) = infer(model("one"), target_columns="price", output_probabilities=True)
    assert pl.read_csv(result.predictions).columns == ["sequenceId", "itemPosition", "price"]
    assert result.probabilities == []
    assert result.evaluation.keys() == {"price"}


def test_parquet_keeps_the_types_of_integer_ids_dates_and_booleans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dates = pl.date_range(pl.date(2013, 1, 1), pl.date(2013, 2, 9), eager=True)
    table = pl.concat(
        pl.DataFrame(
            {
                "who": [7 * w] * 40,
                "day": dates,
                "late": [d % 3 == 0 for d in range(40)],
                "gate": [d % 4 for d in range(40)],
            }
        )
        for w in range(1, 6)
    )
    (tmp_path / "data").mkdir()
    table.write_parquet("data/days.parquet")
    names = {"sequence_column": "who", "position_column": "day"}
    preprocess_shop(tmp_path, data_path="data/days.parquet", read_format="parquet", **names)
    metadata = "configs/metadata_configs/days.json"
    train(tmp_path, model_name="days", metadata_config_path=metadata, target_columns=["late", "gate"])
    (result,) = infer(model("days"), write_format="parquet", output_probabilities=True)
    written = pl.read_parquet(result.predictions)
    assert written.schema == {"sequenceId": pl.Int64, "itemPosition": pl.Date, "late": pl.Boolean, "gate": pl.Int64}
    assert written["sequenceId"].to_list() == [7, 14, 21, 28, 35]
    assert written["itemPosition"].unique().to_list() == [dates[-1]]
    heads = [pl.read_parquet(path).columns[2:] for path in result.probabilities]
    assert heads == [["unknown", "false", "true"], ["unknown", "0", "1", "2", "3"]]
    infer(model("days"))
    assert str(dates[-1]) in Path("outputs/predictions/sequifier-days-best-1-predictions.csv").read_text()


def test_names_of_columns_never_lead_out_of_the_outputs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "inner" / "project"
    (root / "data").mkdir(parents=True)
    monkeypatch.chdir(root)
    names = ["../../../../a", "a/b", "a%2Fb", "🛒 ütem" * 40]
    rows = [(w, v, *(f"x{(v + n) % 3}" for n in range(4))) for w in range(8) for v in range(40)]
    pl.DataFrame(rows, schema=["who", "when", *names], orient="row").write_parquet("data/odd.parquet")
    columns = {"sequence_column": "who", "position_column": "when"}
    preprocess_shop(root, data_path="data/odd.parquet", read_format="parquet", **columns)
    train(root, model_name="odd", metadata_config_path="configs/metadata_configs/odd.json", target_columns=names)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    (result,) = infer(model("odd"), output_probabilities=True)
    made = {path for path in tmp_path.rglob("*") if path.is_file() and "logs" not in path.parts} - before
    assert len(result.probabilities) == len(set(result.probabilities)) == 4
    assert {path.parent for path in made} == {root / "outputs" / "predictions", root / "outputs" / "probabilities"}
    assert pl.read_csv(result.predictions).columns == ["sequenceId", "itemPosition", *names]


def test_a_sequence_of_one_event_has_no_prediction_and_no_sequences_are_an_error(trained: Path) -> None:
    events = pl.read_parquet("data/shop-split0.parquet")
    first = events.group_by("sequenceId", maintain_order=True).head(1)
    first.write_parquet("data/single.parquet")
    with pytest.raises(DataError, match="nothing to predict from"):
        infer(model("one"), data_path="data/single.parquet")
    pl.concat([first.head(3), events.filter(pl.col("sequenceId") == "c09")]).write_parquet("data/some.parquet")
    (result,) = infer(model("one"), data_path="data/some.parquet")
    assert pl.read_csv(result.predictions)["sequenceId"].unique().to_list() == ["c09"]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"autoregression": True, "autoregression_extra_steps": 3, "sampler": {"top_p": 0.9}},
        {"read_format": "raw", "data_path": "data/shop.csv"},
    ],
    ids=["split", "generated", "raw"],
)
def test_predicting_loads_no_torch(trained: Path, values: dict[str, Any]) -> None:
    code = (
        "import sys; from sequifier import api; from sequifier.config.inference import InferConfig;"
        f"api.infer(InferConfig(model_path={model('one')!r}, **{values!r}), log=print); print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.splitlines()[-1].strip("[]").replace("'", "").split(", "))
    assert "onnxruntime" in modules
    assert not {"torch", "optuna"} & modules


def test_counts_are_printed_as_integers() -> None:
    metrics = {"mae": 0.123456, "mae_step_1": 0.2, "log_loss": 12345.6, "n": 45_740}
    assert shown_metrics(metrics) == "mae 0.1235, log_loss 1.235e+04, n 45,740"
