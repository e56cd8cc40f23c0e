"""Folders of shards, and files that are read in parts."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sequifier.artifacts.event_parts import read_event_parts
from sequifier.artifacts.split_file import read_events
from sequifier.config.inference import InferConfig
from sequifier.errors import DataError
from sequifier.inference import predict
from tests.support.quiet import quiet
from tests.support.shop import preprocess_shop
from tests.support.trained_shop import infer, model, no_raw


def infer_in_parts(path: str, rows_per_part: int, **values: Any) -> predict.Inference:
    config = InferConfig.model_validate({"model_path": path, "device": "cpu"} | values)
    (result,) = predict.infer(config, encode_raw=no_raw, log=quiet, rows_per_part=rows_per_part)
    return result


def shards(folder: str, split: int, per_shard: int = 4, suffix: str = "parquet") -> list[Path]:
    stored = pl.read_parquet(f"data/shop-split{split}.parquet")
    by_sequence = stored.partition_by("sequenceId", maintain_order=True)
    paths = []
    Path(folder).mkdir(parents=True)
    for number in range(-(-len(by_sequence) // per_shard)):
        paths.append(Path(folder) / f"shop-split{split}-{number}.{suffix}")
        frame = pl.concat(by_sequence[number * per_shard : (number + 1) * per_shard])
        frame.write_parquet(paths[-1]) if suffix == "parquet" else frame.write_csv(paths[-1], quote_style="non_numeric")
    return paths


@pytest.mark.parametrize("rows_per_part", [1, 50, 100_000])
@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow"])
def test_parts_hold_whole_sequences_and_everything(trained: Path, rows_per_part: int, suffix: str) -> None:
    stored = pl.read_parquet("data/shop-split2.parquet")
    path = Path(f"data/copy.{suffix}")
    {"parquet": stored.write_parquet, "csv": lambda p: stored.write_csv(p, quote_style="non_numeric")}.get(
        suffix, stored.write_ipc
    )(path)
    parts = list(read_event_parts(path, ["item", "price"], rows_per_part=rows_per_part))
    whole = read_events(Path("data/shop-split2.parquet"), ["item", "price"], expected_hashes=None)
    ids = [id for part in parts for id in part.sequence_ids]
    assert ids == whole.sequence_ids.tolist()
    for column in ("item", "price"):
        joined = pl.concat(pl.Series(part.columns[column]) for part in parts)
        assert joined.to_list() == pytest.approx(whole.columns[column].tolist())
    assert sum(int(part.n_context.sum()) for part in parts) == int(whole.n_context.sum())
    if rows_per_part == 50 and suffix == "parquet":
        assert len(parts) > 3


@pytest.mark.parametrize("write_format", ["csv", "parquet"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"sampler": {"temperature": 1.3}},
        {"autoregression": True, "autoregression_extra_steps": 2, "sampler": {"top_p": 0.9}},
        {"evaluation_context": "full"},
    ],
    ids=["split", "sampled", "generated", "full"],
)
def test_a_file_read_in_parts_gives_the_same(trained: Path, values: dict[str, Any], write_format: str) -> None:
    options = {"output_probabilities": True, "write_format": write_format, **values}
    read = pl.read_csv if write_format == "csv" else pl.read_parquet
    results = {}
    for rows_per_part in (1_000_000, 40):
        result = infer_in_parts(model("one"), rows_per_part, **options)
        results[rows_per_part] = (read(result.predictions), read(result.probabilities[0]), result.evaluation)
    (predictions, probabilities, evaluation), (in_parts, wide, evaluated) = results.values()
    assert_frame_equal(in_parts, predictions, rel_tol=1e-5)
    assert_frame_equal(wide, probabilities, rel_tol=1e-4)
    for target in evaluation:
        assert evaluated[target] == pytest.approx(evaluation[target], rel=1e-5)
    assert not [path for path in Path("outputs").rglob("*") if path.name.startswith(".") or "piece" in path.name]


def test_a_split_that_is_not_what_the_metadata_says_leaves_nothing(trained: Path) -> None:
    stored = pl.read_parquet("data/shop-split2.parquet")
    stored.with_columns(pl.col("item").reverse()).write_parquet("data/shop-split2.parquet")
    with pytest.raises(DataError, match="differs from the metadata"):
        infer_in_parts(model("one"), 40)
    assert not [path for path in Path("outputs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_folder_of_shards_gives_a_folder(trained: Path, suffix: str) -> None:
    (whole,) = infer(model("one"), data_path="data/shop-split2.parquet", output_probabilities=True)
    expected, wide = pl.read_csv(whole.predictions), pl.read_csv(whole.probabilities[0])
    paths = shards("data/shards", 2, per_shard=3, suffix=suffix)
    assert len(paths) > 10, "so that the order of the names is not that of the numbers"
    (result,) = infer(model("one"), data_path="data/shards", output_probabilities=True)
    assert result.predictions == Path("outputs/predictions/sequifier-one-best-1-shards-predictions")
    names = [f"sequifier-one-best-1-{k}-predictions.csv" for k in range(len(paths))]
    assert sorted(path.name for path in result.predictions.iterdir()) == sorted(names)
    parts = [pl.read_csv(result.predictions / name) for name in names]
    assert_frame_equal(pl.concat(parts), expected, rel_tol=1e-5)
    assert result.evaluation["item"] == pytest.approx(whole.evaluation["item"], rel=1e-5)
    folder = Path("outputs/probabilities/sequifier-one-best-1-shards-item-probabilities")
    assert result.probabilities == [folder]
    parts = [pl.read_csv(folder / f"sequifier-one-best-1-{k}-probabilities.csv") for k in range(len(paths))]
    assert_frame_equal(pl.concat(parts), wide, rel_tol=1e-4)
    (embedded,) = infer(model("one", "best-embedding"), model_type="embedding", data_path="data/shards")
    assert len(list(embedded.predictions.glob("sequifier-one-best-embedding-1-*-embeddings.csv"))) == len(paths)


@pytest.mark.parametrize("values", [{}, {"evaluation_context": "full"}, {"autoregression": True}])
def test_pt_shards_are_predicted_like_the_file_of_the_same_split(trained: Path, values: dict[str, Any]) -> None:
    (whole,) = infer(model("one"), **values)
    expected = pl.read_csv(whole.predictions)
    preprocess_shop(trained, write_format="pt", merge_output=False, batches_per_file=3)
    (result,) = infer(model("one"), **values)  # split 2 of the metadata, compared with its hashes
    assert result.predictions == Path("outputs/predictions/sequifier-one-best-1-predictions")
    n_shards = len(list(Path("data/shop-split2").glob("shop-split2-*.pt")))
    assert n_shards > 10
    names = [f"sequifier-one-best-1-{k}-predictions.csv" for k in range(n_shards)]
    assert sorted(path.name for path in result.predictions.iterdir()) == sorted(names)
    assert_frame_equal(pl.concat(pl.read_csv(result.predictions / name) for name in names), expected, rel_tol=1e-5)
    assert result.evaluation["item"] == pytest.approx(whole.evaluation["item"], rel=1e-5)
    (again,) = infer(model("one"), data_path="data/shop-split2", read_format="pt", **values)
    assert again.evaluation == result.evaluation
    (one,) = infer(model("one"), data_path="data/shop-split2/shop-split2-0.pt", **values)
    assert one.predictions.name == "sequifier-one-best-1-shop-split2-0-predictions.csv"


def test_a_pt_shard_that_is_damaged_leaves_nothing(trained: Path) -> None:
    preprocess_shop(trained, write_format="pt", merge_output=False, batches_per_file=3)
    shard = Path("data/shop-split2/shop-split2-4.pt")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cannot read shop-split2-4\.pt as pt"):
        infer(model("one"))
    shard.unlink()
    with pytest.raises(DataError, match="1 of 14 shards are missing"):
        infer(model("one"))
    assert not [path for path in Path("outputs").rglob("*") if path.is_file()]


def test_a_shard_without_predictions_has_an_empty_file_and_old_shards_go(trained: Path) -> None:
    paths = shards("data/shards", 2, per_shard=3)
    (first,) = infer(model("one"), data_path="data/shards", write_format="parquet")
    schema = pl.read_parquet_schema(first.predictions / "sequifier-one-best-1-0-predictions.parquet")
    for path in paths[2:]:
        path.unlink()
    own = pl.read_parquet(paths[0]).filter(~pl.col("isContext"))
    own.group_by("sequenceId", maintain_order=True).head(1).write_parquet(paths[0])
    (result,) = infer(model("one"), data_path="data/shards", write_format="parquet")
    names = [f"sequifier-one-best-1-{k}-predictions.parquet" for k in range(2)]
    assert sorted(path.name for path in result.predictions.iterdir()) == names
    empty = pl.read_parquet(result.predictions / names[0])
    assert empty.is_empty()
    assert empty.schema == schema


def test_a_shard_of_which_nothing_is_generated_has_an_empty_file(trained: Path) -> None:
    paths = shards("data/shards", 2, per_shard=3)
    own = pl.read_parquet(paths[0]).filter(~pl.col("isContext"))
    own.group_by("sequenceId", maintain_order=True).head(1).write_parquet(paths[0])
    (result,) = infer(model("one"), data_path="data/shards", autoregression=True, output_probabilities=True)
    assert pl.read_csv(result.predictions / "sequifier-one-best-1-0-predictions.csv").is_empty()
    assert pl.read_csv(result.predictions / "sequifier-one-best-1-1-predictions.csv").height
    assert pl.read_csv(result.probabilities[0] / "sequifier-one-best-1-0-probabilities.csv").is_empty()


def test_unreadable_folders_are_reported(trained: Path) -> None:
    Path("data/none").mkdir()
    with pytest.raises(DataError, match=r"no file with the suffix \.parquet, \.csv, \.arrow, \.pt"):
        infer(model("one"), data_path="data/none")
    shards("data/both", 2)
    pl.read_parquet("data/both/shop-split2-0.parquet").write_csv("data/both/x.csv")
    with pytest.raises(DataError, match=r"several formats: \.csv, \.parquet"):
        infer(model("one"), data_path="data/both")
    (result,) = infer(model("one"), data_path="data/both", read_format="parquet")
    assert result.predictions.is_dir()
