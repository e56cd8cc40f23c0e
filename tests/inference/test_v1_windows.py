"""Window files that Sequifier 1.0.0.6 has written, predicted; what is recorded in tests/inference/v1 says how."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sequifier import api
from sequifier.config.inference import InferConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, DataError
from sequifier.inference import predict
from tests.support.quiet import quiet
from tests.support.shop import preprocess_shop, working_copy
from tests.support.trained_shop import infer, model, no_raw, train

RECORDED = Path(__file__).parent / "v1"
METADATA = "configs/metadata_configs/visits.json"
STEPS = [str(step) for step in range(8, -1, -1)]
V1: dict[str, Any] = {"data_path": "v1/visits-split2.csv", "metadata_config_path": "v1/visits.json"}


@pytest.fixture(scope="module")
def _visits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("visits") / "project"
    shutil.copytree(RECORDED, root / "v1")
    (root / "data").mkdir()
    shutil.copy(RECORDED / "visits.csv", root / "data")
    names = {"sequence_column": "sequenceId", "position_column": "itemPosition"}
    preprocess_shop(root, data_path=str(root / "data" / "visits.csv"), context_events=0, **names)
    targets = {"target_columns": ["item", "price"], "metadata_config_path": METADATA}
    train(root, model_name="both", export_embedding_model=True, **targets)
    train(root, model_name="three", model_spec={"prediction_length": 3}, **targets)
    return root


@pytest.fixture
def visits(_visits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with models of the raw table that the recorded windows were cut from."""
    return working_copy(_visits, tmp_path, monkeypatch)


def decoded(split: int) -> list[tuple[int, int, int, pl.DataFrame]]:
    """(sequenceId, subsequenceId, startItemPosition, raw events) of each window; padding is left out."""
    metadata = json.loads(Path("v1/visits.json").read_text())
    item_of = {id: int(text) for text, id in metadata["id_maps"]["item"].items()}
    price = metadata["selected_columns_statistics"]["price"]
    windows = []
    rows = pl.read_csv(f"v1/visits-split{split}.csv")
    for keys, both in rows.group_by("sequenceId", "subsequenceId", "startItemPosition", maintain_order=True):
        by_column = {row["inputCol"]: row for row in both.iter_rows(named=True)}
        events = [
            {"item": item_of[int(by_column["item"][step])], "price": by_column["price"][step]}
            for step in STEPS
            if by_column["item"][step] != 0
        ]
        frame = pl.DataFrame(events).with_columns(pl.col("price") * price["std"] + price["mean"])
        windows.append((*keys, frame))
    return windows


@pytest.mark.parametrize("split", [0, 1, 2])
def test_windows_are_predicted_like_the_raw_events_in_them(visits: Path, split: int) -> None:
    """v1 standardises by all splits and we by the first: the windows are recoded by what their metadata says."""
    (result,) = infer(model("both"), data_path=f"v1/visits-split{split}.csv", metadata_config_path="v1/visits.json")
    written = pl.read_csv(result.predictions)
    windows = [window for window in decoded(split) if window[3].height > 1]
    assert written["sequenceId"].to_list() == [sequence for sequence, *_ in windows]
    assert written["itemPosition"].to_list() == [start + 8 for _, _, start, _ in windows]
    raw = pl.concat(
        events.head(-1).with_columns(sequenceId=pl.lit(number), itemPosition=pl.int_range(events.height - 1))
        for number, (*_, events) in enumerate(windows)
    )
    raw.write_csv("data/inputs.csv")
    (expected,) = infer(model("both"), data_path="data/inputs.csv", read_format="raw")
    assert_frame_equal(
        written.select("item", "price"), pl.read_csv(expected.predictions).select("item", "price"), rel_tol=1e-4
    )
    truth = pl.concat(events.tail(1) for *_, events in windows)
    assert result.evaluation["item"]["n"] == len(windows)
    assert result.evaluation["item"]["accuracy"] == pytest.approx((written["item"] == truth["item"]).mean())
    assert result.evaluation["price"]["mae"] == pytest.approx(
        (written["price"] - truth["price"]).abs().mean(), rel=1e-4
    )


def test_csv_parquet_and_a_folder_give_the_same(visits: Path) -> None:
    (by_csv,) = infer(model("both"), output_probabilities=True, **V1)
    expected, wide = pl.read_csv(by_csv.predictions), pl.read_csv(by_csv.probabilities[0])
    (by_parquet,) = infer(model("both"), **(V1 | {"data_path": "v1/visits-split2.parquet"}))
    assert_frame_equal(pl.read_csv(by_parquet.predictions), expected, rel_tol=1e-5)
    Path("v1/shards").mkdir()
    for number, part in enumerate(pl.read_csv("v1/visits-split2.csv").partition_by("sequenceId", maintain_order=True)):
        part.write_csv(f"v1/shards/{number}.csv")
    lines: list[str] = []
    (by_folder,) = infer(model("both"), lines, output_probabilities=True, **(V1 | {"data_path": "v1/shards"}))
    parts = [pl.read_csv(path) for path in sorted(by_folder.predictions.iterdir())]
    assert len(parts) == 6
    assert_frame_equal(pl.concat(part for part in parts if part.height), expected, rel_tol=1e-5)
    parts = [pl.read_csv(path) for path in sorted(by_folder.probabilities[0].iterdir())]
    assert_frame_equal(pl.concat(part for part in parts if part.height), wide, rel_tol=1e-4)
    assert any("for 8 windows of v1/shards" in line for line in lines)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("values", [{}, {"autoregression": True}], ids=["windows", "generated"])
def test_a_window_file_read_in_parts_gives_the_same(visits: Path, suffix: str, values: dict[str, Any]) -> None:
    options = V1 | values | {"data_path": f"v1/visits-split2.{suffix}"}
    (whole,) = infer(model("both"), **options)
    expected, evaluation = pl.read_csv(whole.predictions), whole.evaluation
    config = InferConfig.model_validate({"model_path": model("both"), "device": "cpu"} | options)
    for rows_per_part in (1, 40):
        (parts,) = predict.infer(config, encode_raw=no_raw, log=quiet, rows_per_part=rows_per_part)
        assert_frame_equal(pl.read_csv(parts.predictions), expected, rel_tol=1e-5)
        assert parts.evaluation["item"] == pytest.approx(evaluation["item"], rel=1e-5)


def test_the_last_three_events_of_each_window_are_predicted(visits: Path) -> None:
    (result,) = infer(model("three"), **V1)
    n_inputs = [min(events.height - 1, 8) for *_, events in decoded(2) if events.height > 1]
    assert result.n_predictions == sum(min(3, n) for n in n_inputs)
    assert result.evaluation["item"]["n"] == result.n_predictions


def test_an_embedding_keeps_the_number_of_its_window(visits: Path) -> None:
    (result,) = infer(model("both", "best-embedding"), model_type="embedding", **V1)
    written = pl.read_csv(result.predictions)
    windows = [window for window in decoded(2) if window[3].height > 1]
    assert written["subsequenceId"].to_list() == [number for _, number, _, _ in windows]
    assert written["itemPosition"].to_list() == [start + 7 for _, _, start, _ in windows], "the last event seen"


def marked(by: float | None) -> pl.DataFrame:
    """Split 2 in the form of v1's own example: of the inputs those of the first window alone are known."""
    rows = pl.read_csv("v1/visits-split2.csv")
    number = pl.col("subsequenceId") - pl.col("subsequenceId").min().over("sequenceId")
    unknown = {
        step: pl.when(number >= int(step)).then(pl.lit(by, pl.Float64)).otherwise(pl.col(step))
        for step in STEPS
        if step != "0"
    }
    return rows.with_columns(**unknown)


@pytest.mark.parametrize("by", [-np.inf, np.inf, None], ids=["-inf", "inf", "null"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_marked_steps_are_generated_and_compared_with_the_truth(visits: Path, by: float | None, suffix: str) -> None:
    frame = marked(by)
    path = f"v1/marked.{suffix}"
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    with pytest.raises(DataError, match="set autoregression: true"):
        infer(model("both"), **(V1 | {"data_path": path}))
    options = {"autoregression": True, "autoregression_extra_steps": 2}
    (result,) = infer(model("both"), **(V1 | {"data_path": path}), **options)
    written = pl.read_csv(result.predictions)

    # The same as going on behind the first window's inputs, as raw events.
    first = {}
    last: dict[int, int] = {}
    for sequence, _, start, events in decoded(2):
        first.setdefault(sequence, (start + 8 - (events.height - 1), events))
        last[sequence] = start + 8
    histories = {s: (begin, events.head(-1)) for s, (begin, events) in first.items() if events.height > 1}
    raw = pl.concat(
        events.with_columns(sequenceId=pl.lit(s), itemPosition=pl.int_range(events.height) + begin)
        for s, (begin, events) in histories.items()
    )
    raw.write_csv("data/inputs.csv")
    longest = max(last[s] for s in histories)
    (continued,) = infer(
        model("both"), data_path="data/inputs.csv", read_format="raw", autoregression=True, autoregression_extra_steps=9
    )
    expected = pl.read_csv(continued.predictions).filter(
        pl.col("itemPosition") <= pl.col("sequenceId").replace_strict(last, default=longest) + 2
    )
    found = written.filter(pl.col("sequenceId").is_in(list(histories)))
    assert_frame_equal(found, expected, rel_tol=1e-3)
    assert result.evaluation["item"]["n"] == found.height - 2 * len(histories), "what is generated up to the end"


def test_without_marks_each_sequence_is_continued_from_its_first_window(visits: Path) -> None:
    marked(None).write_csv("v1/marked.csv")
    (by_marks,) = infer(model("both"), autoregression=True, **(V1 | {"data_path": "v1/marked.csv"}))
    expected, evaluation = pl.read_csv(by_marks.predictions), by_marks.evaluation
    (result,) = infer(model("both"), autoregression=True, **V1)
    assert_frame_equal(pl.read_csv(result.predictions), expected)
    assert result.evaluation == evaluation


def test_an_event_that_is_not_known_is_predicted_and_not_compared(visits: Path) -> None:
    rows = pl.read_csv("v1/visits-split2.csv")
    (known,) = infer(model("both"), **V1)
    expected, n = pl.read_csv(known.predictions), known.evaluation["item"]["n"]
    newest = pl.when(pl.col("sequenceId") == 5).then(None).otherwise(pl.col("0"))
    rows.with_columns(newest.alias("0")).write_csv("v1/ahead.csv")
    (result,) = infer(model("both"), **(V1 | {"data_path": "v1/ahead.csv"}))
    assert_frame_equal(pl.read_csv(result.predictions), expected, rel_tol=1e-5)
    assert result.evaluation["item"]["n"] == n - 4


def test_without_metadata_the_encoding_is_taken_to_be_the_model_s(visits: Path) -> None:
    lines: list[str] = []
    (result,) = infer(model("both"), lines, data_path="v1/visits-split2.csv")
    assert "note: no metadata describes v1/visits-split2.csv; its encoding is assumed to be the model's" in lines
    assert result.n_predictions == 8
    infer(model("both"), data_path="v1/visits-split2.csv", metadata_config_path=METADATA)


def change_step(value: float, step: str = "3", column: str = "item") -> Callable[[pl.DataFrame], pl.DataFrame]:
    is_it = (pl.col("inputCol") == column) & (pl.col("sequenceId") == 5)
    return lambda rows: rows.with_columns(pl.when(is_it).then(pl.lit(value)).otherwise(pl.col(step)).alias(step))


@pytest.mark.parametrize(
    ("change", "values", "expected"),
    [
        (lambda rows: rows.filter(pl.col("inputCol") != "price"), {}, "reads column `price`, of which bad.csv has no"),
        (
            lambda rows: rows.filter((pl.col("inputCol") != "price") | (pl.col("sequenceId") != 5)),
            {},
            "not every window",
        ),
        (lambda rows: rows.drop("4"), {}, "have the steps 8, 7, 6, 5, 3, 2, 1, 0; they must be L, ..., 1, 0"),
        (lambda rows: rows.clear(), {}, "bad.csv has no rows"),
        (change_step(2.5), {}, "column `item` has 2.5, which is not an id"),
        (change_step(1e300), {}, "column `item` has 1e+300, which is not an id"),
        (change_step(9.0), {}, "column `item` has id 9; the metadata has ids 0 to 6"),
        (change_step(9.0), {"metadata_config_path": None}, "column `item` has id 9; the model has ids 0 to 6"),
        (change_step(-np.inf), {}, "an input that is to be generated (infinite or null) is followed by a known one"),
        (change_step(-np.inf, "1"), {}, "4 of 9 windows have inputs that are to be generated"),
        (change_step(2.0), {"autoregression": True}, "the windows of a sequence cannot be joined"),
        (
            lambda rows: rows.with_columns(pl.lit(None, pl.Float64).alias(step) for step in STEPS),
            {"autoregression": True},
            "no known event before the first one to generate",
        ),
    ],
)
def test_windows_that_cannot_be_read_are_named_and_nothing_is_written(
    visits: Path, change: Callable[[pl.DataFrame], pl.DataFrame], values: dict[str, Any], expected: str
) -> None:
    change(pl.read_csv("v1/visits-split2.csv")).write_csv("v1/bad.csv")
    with pytest.raises(DataError) as caught:
        infer(model("both"), **(V1 | {"data_path": "v1/bad.csv"} | values))
    assert expected in str(caught.value)
    assert "v1/" in str(caught.value)
    assert caught.value.fix
    assert not Path("outputs").exists() or not [path for path in Path("outputs").rglob("*") if path.is_file()]


def test_windows_of_unknown_starts_cannot_be_joined(visits: Path) -> None:
    """`distribute` with stride 8: v1 stores the number of the window times the stride, which is not where it begins."""
    with pytest.raises(DataError, match="cannot be joined") as caught:
        infer(model("both"), autoregression=True, **(V1 | {"data_path": "v1/visits-split0.csv"}))
    assert "windows of stride 1" in caught.value.fix
    with pytest.raises(ConfigError, match="full requires events"):
        infer(model("both"), evaluation_context="full", **V1)


def test_metadata_of_v1_describes_no_events(visits: Path) -> None:
    with pytest.raises(DataError, match="was written by Sequifier v1"):
        infer(model("both"), metadata_config_path="v1/visits.json")
    content = json.loads(Path("v1/visits.json").read_text())
    content["selected_columns_statistics"] = {}
    Path("v1/visits.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="column `price` is real for the model, but not in this metadata"):
        infer(model("both"), **V1)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_training_on_windows_asks_to_preprocess_again(visits: Path, suffix: str) -> None:
    values = {
        "metadata_config_path": METADATA,
        "model_name": "old",
        "target_columns": ["item"],
        "training_data_path": f"v1/visits-split2.{suffix}",
        "training_spec": {"device": "cpu"},
    }
    with pytest.raises(DataError, match="has windows of Sequifier v1, not events") as caught:
        api.train(TrainConfig.model_validate(values), emit=quiet)
    assert caught.value.fix == "run `sequifier preprocess` on the raw data again"
    with pytest.raises(DataError, match="was written by Sequifier v1") as caught:
        config = TrainConfig.model_validate(values | {"metadata_config_path": "v1/visits.json"})
        api.train(config, emit=quiet)
    assert "sequifier preprocess" in caught.value.fix
