"""What does not fit is said before anything is written."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import onnx
import polars as pl
import pytest
import torch

from sequifier.errors import ConfigError, DataError, ModelError, RunError, SequifierError
from tests.support.shop import preprocess_shop, write_shop
from tests.support.trained_shop import infer, model, train

METADATA = "configs/metadata_configs/shop.json"


def outputs() -> list[Path]:
    return sorted(path for path in Path("outputs").rglob("*") if path.is_file())


def new_rows(names: str = "item") -> list[tuple[str, int, str, float]]:
    return [(f"n{c}", visit, f"{names}{(visit + c) % 6}", 10.0 + visit % 7) for c in range(5) for visit in range(20)]


def test_new_data_encoded_with_the_stored_vocabularies_is_predicted(trained: Path) -> None:
    write_shop(trained / "data" / "new.csv", new_rows())
    preprocess_shop(trained, data_path="data/new.csv", metadata_config_path=METADATA, split_ratios=[1.0])
    (by_file,) = infer(model("one"), data_path="data/new-split0.parquet")
    expected = pl.read_csv(by_file.predictions)
    assert set(expected["sequenceId"]) == {f"n{c}" for c in range(5)}
    assert by_file.evaluation["item"]["n"] == expected.height
    (by_metadata,) = infer(model("one"), metadata_config_path="configs/metadata_configs/new.json")
    assert pl.read_csv(by_metadata.predictions).equals(expected)


def test_a_category_that_the_model_does_not_know_is_no_known_truth(trained: Path) -> None:
    rows = [(c, v, "never seen" if v % 2 else item, price) for c, v, item, price in new_rows()]
    write_shop(trained / "data" / "new.csv", rows)
    preprocess_shop(trained, data_path="data/new.csv", metadata_config_path=METADATA, split_ratios=[1.0])
    (result,) = infer(model("one"), data_path="data/new-split0.parquet")
    assert 0 < result.evaluation["item"]["n"] < result.evaluation["price"]["n"] == result.n_predictions


@pytest.mark.parametrize("by", ["metadata_config_path", "data_path"])
def test_data_with_a_vocabulary_of_its_own_is_refused(trained: Path, by: str) -> None:
    write_shop(trained / "data" / "new.csv", new_rows("thing"))
    preprocess_shop(trained, data_path="data/new.csv")
    place = {"metadata_config_path": "configs/metadata_configs/new.json", "data_path": "data/new-split0.parquet"}
    with pytest.raises(DataError, match="encode column `item` differently: its vocabulary") as caught:
        infer(model("one"), **{by: place[by]})
    assert "metadata_config_path" in caught.value.fix
    assert "models/sequifier-one-best-1.onnx and data/new-split" in caught.value.where
    assert outputs() == []


def test_numbers_standardised_otherwise_are_refused(trained: Path) -> None:
    write_shop(trained / "data" / "new.csv", [(c, v, item, price + 1) for c, v, item, price in new_rows()])
    preprocess_shop(trained, data_path="data/new.csv")
    with pytest.raises(DataError, match="encode column `price` differently: its mean or standard deviation"):
        infer(model("one"), data_path="data/new-split0.parquet")
    assert infer(model("items"), data_path="data/new-split0.parquet")[0].n_predictions, "it reads no price"


def test_data_without_a_target_is_predicted_and_not_evaluated(trained: Path) -> None:
    train(trained, model_name="prices", input_columns=["item"], target_columns=["item", "price"])
    write_shop(trained / "data" / "bare.csv", new_rows())
    preprocess_shop(trained, data_path="data/bare.csv", selected_columns=["item"])
    lines: list[str] = []
    (result,) = infer(model("prices"), lines, data_path="data/bare-split0.parquet")
    assert result.evaluation.keys() == {"item"}
    assert any("does not have price" in line for line in lines)
    assert pl.read_csv(result.predictions).columns == ["sequenceId", "itemPosition", "item", "price"]


def cut(share: float) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def break_an_operator(path: Path) -> None:
    graph = onnx.load(path)
    graph.graph.node[3].op_type = "NoSuchOperator"
    onnx.save(graph, path)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (cut(0.0), "not exported by Sequifier, or it is truncated"),
        (cut(0.3), "not an ONNX file, or it is truncated"),
        (cut(0.99), "not an ONNX file, or it is truncated"),
        (lambda path: path.write_text("hello"), "not an ONNX file, or it is truncated"),
        (break_an_operator, "changed or damaged since it was exported"),
    ],
    ids=["empty", "cut-early", "cut-late", "text", "unknown-operator"],
)
def test_a_damaged_model_is_named(trained: Path, damage: Callable[[Path], Any], expected: str) -> None:
    damage(trained / model("one"))
    with pytest.raises(ModelError, match=expected) as caught:
        infer(model("one"))
    assert "sequifier-one-best-1.onnx" in str(caught.value)
    assert caught.value.fix
    assert outputs() == []


@pytest.mark.parametrize(
    ("path", "values", "kind", "expected"),
    [
        ("models/none.onnx", {}, ConfigError, "no such file or folder"),
        (model("one", "best-embedding"), {}, ModelError, "embedding model; it makes no predictions"),
        (model("one"), {"model_type": "embedding"}, ModelError, "it returns no embeddings"),
        ("models/weights.pt", {}, ModelError, "not a file of torch, or it is truncated"),
        ("models/weights.txt", {}, ConfigError, "does not end in .onnx or .pt"),
        ("models/foreign.pt", {}, ModelError, "not an exported model"),
        (model("one"), {"infer_with_dropout": True}, ModelError, "this ONNX file has no dropout"),
        (model("one"), {"autoregression_extra_steps": 3}, ConfigError, "set autoregression: true"),
        (model("mixed"), {"autoregression": True}, ModelError, "the model reads price, which it does not predict"),
        (model("one"), {"sample_from_distribution_columns": "itme"}, ConfigError, "did you mean `item`?"),
        (model("one"), {"sampler": "none.yaml:min_p"}, ConfigError, "no such file or folder"),
        (model("one"), {"read_format": "raw"}, ConfigError, "read_format: raw requires the CSV, Parquet or XES file"),
        (
            model("one"),
            {"read_format": "raw", "data_path": "data/shop.csv", "autoregression": True},
            ConfigError,
            "0 events are generated after the last raw event",
        ),
        (
            model("one", "best-embedding"),
            {"model_type": "embedding", "output_probabilities": True},
            ConfigError,
            "an embedding model makes no predictions",
        ),
        (model("one"), {"target_columns": ["itme"]}, ConfigError, "did you mean `item`?"),
        (model("one"), {"input_columns": ["item"]}, ConfigError, "trained with ['item', 'price']"),
        (model("one"), {"seq_length": 9}, ConfigError, "trained with 8"),
        (model("one"), {"prediction_length": 2}, ConfigError, "trained with 1"),
        (model("one"), {"target_column_types": {"item": "real"}}, ConfigError, "'item': 'categorical'"),
        (model("one"), {"data_path": "data/none.parquet"}, ConfigError, "no such file or folder"),
        (model("one"), {"data_path": "data/shop.csv"}, DataError, "is not encoded: it has no column `sequenceId`"),
        ([model("one"), "copies/sequifier-one-best-1.onnx"], {}, ConfigError, "have the same name"),
    ],
)
def test_what_does_not_fit_is_reported(
    trained: Path, path: str, values: dict[str, Any], kind: type[SequifierError], expected: str
) -> None:
    (trained / "models" / "weights.pt").write_bytes(b"PK")
    (trained / "models" / "weights.txt").touch()
    torch.save({"weights": {}}, trained / "models" / "foreign.pt")
    (trained / "copies").mkdir()
    (trained / "copies" / "sequifier-one-best-1.onnx").write_bytes((trained / model("one")).read_bytes())
    with pytest.raises(kind) as caught:
        infer(path, **values)
    assert expected in str(caught.value)
    assert outputs() == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda events: events.drop("price"), "column `price` is missing"),
        (lambda events: events.with_columns(pl.col("item") + 5), "has id 11; the model has ids 0 to 6"),
        (lambda events: events.with_columns(pl.col("item") - 2), "has id -1; the model has ids 0 to 6"),
        (lambda events: events.with_columns(pl.col("item").cast(pl.Float32)), "`item` has floats"),
        (lambda events: events.with_columns(price=pl.col("item")), "`price` has integers"),
        (lambda events: events.with_columns(price=pl.lit(float("nan"), pl.Float32)), "column `price` has nan"),
        (lambda events: events.with_columns(price=pl.lit(float("-inf"), pl.Float32)), "column `price` has -inf"),
    ],
)
def test_events_that_the_model_cannot_read_are_named(
    trained: Path, change: Callable[[pl.DataFrame], pl.DataFrame], expected: str
) -> None:
    change(pl.read_parquet("data/shop-split2.parquet")).write_parquet("data/foreign.parquet")
    with pytest.raises(DataError, match=expected) as caught:
        infer(model("one"), data_path="data/foreign.parquet")
    assert "foreign.parquet" in str(caught.value)
    assert caught.value.fix
    assert outputs() == []


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".arrow"])
@pytest.mark.parametrize("read_format", [None, "raw"])
def test_a_pipe_is_not_waited_for(trained: Path, suffix: str, read_format: str | None) -> None:
    os.mkfifo(f"data/pipe{suffix}")
    with pytest.raises(ConfigError, match="is a pipe"):
        infer(model("one"), data_path=f"data/pipe{suffix}", read_format=read_format)
    assert outputs() == []


def test_a_split_that_was_changed_after_preprocessing_is_noticed(trained: Path) -> None:
    events = pl.read_parquet("data/shop-split2.parquet")
    events.with_columns(pl.col("item").reverse()).write_parquet("data/shop-split2.parquet")
    with pytest.raises(DataError, match="column `item` differs from the metadata"):
        infer(model("one"))


def test_a_model_away_from_its_project_knows_its_own_encoding(trained: Path) -> None:
    expected = pl.read_csv(infer(model("one"))[0].predictions)
    Path(METADATA).unlink()
    with pytest.raises(ConfigError, match="data_path"):
        infer(model("one"))
    lines: list[str] = []
    (result,) = infer(model("one"), lines, data_path="data/shop-split2.parquet")
    assert any("its encoding is assumed to be the model's" in line for line in lines)
    assert pl.read_csv(result.predictions).equals(expected), "no sequence of that split fills two windows"


def test_several_models_are_all_checked_before_the_first_predicts(trained: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        infer([model("one"), "models/none.onnx"])
    assert outputs() == []
    results = infer([model("one"), model("one", "last"), model("three")])
    assert [result.predictions.name for result in results] == [
        *("sequifier-one-best-1-predictions.csv", "sequifier-one-last-1-predictions.csv"),
        "sequifier-three-best-1-predictions.csv",
    ]


def test_earlier_predictions_stay_whole_when_new_ones_cannot_be_written(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (result,) = infer(model("one"))
    before = result.predictions.read_bytes()

    def full_disk(self: pl.DataFrame, file: IO[bytes], **options: Any) -> None:
        file.write(b"sequenceId,itemPos")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_csv", full_disk)
    with pytest.raises(RunError, match="No space left on device"):
        infer(model("one"))
    assert result.predictions.read_bytes() == before
    assert not list(Path("outputs").rglob(".*"))


def test_a_file_in_place_of_the_outputs_folder_is_an_error(trained: Path) -> None:
    Path("outputs").write_text("mine")
    with pytest.raises(RunError, match="cannot write"):
        infer(model("one"))
    assert Path("outputs").read_text() == "mine"
