"""Which events are predicted or embedded, and from what."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sequifier.inference.windows import continuations, full_windows, last_windows, split_windows
from tests.support.trained_shop import infer, model

L = 8
sequences = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)).filter(lambda pair: pair[0] > 0), min_size=1)
"""(own rows, context rows)"""


def laid_out(pairs: list[tuple[int, int]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    n_context = np.array([context for _, context in pairs])
    return np.append(0, np.cumsum([own + context for own, context in pairs])), n_context


@given(sequences, st.integers(1, 5), st.booleans())
def test_full_windows_show_each_own_event_once(pairs: list[tuple[int, int]], length: int, embedding: bool) -> None:
    offsets, n_context = laid_out(pairs)
    windows = full_windows(offsets, n_context, prediction_length=length, embedding=embedding)
    shown = [
        (int(sequence), int(end) - 1 - step + (not embedding))
        for sequence, end, wanted in zip(windows.sequence, windows.end, windows.n_predicted, strict=True)
        for step in reversed(range(wanted))
    ]
    expected = [
        (number, int(offsets[number]) + context + row)
        for number, (own, context) in enumerate(pairs)
        for row in range(own)
        if embedding or context + row > 0
    ]
    assert shown == expected
    assert (windows.n_predicted <= length).all()
    assert (windows.end - windows.n_predicted >= windows.first).all(), "each output rests on an event"


@given(sequences, st.integers(1, 6), st.integers(0, 4), st.sampled_from(["split", "full", "last"]))
def test_continuations_begin_with_a_history_and_end_behind_the_sequence(
    pairs: list[tuple[int, int]], seq_length: int, extra: int, start: Any
) -> None:
    offsets, n_context = laid_out(pairs)
    found = continuations(offsets, n_context, seq_length=seq_length, extra_steps=extra, start=start)
    assert (found.end > found.first).all()
    assert (found.end + found.n_steps == offsets[1:] + extra).all()
    assert (found.n_steps >= extra).all()
    if start == "split":
        assert (found.first == offsets[:-1] + n_context).all()
        assert (found.end - found.first <= seq_length).all()


@given(sequences, st.integers(1, 5), st.booleans())
def test_last_windows_end_with_the_last_event(pairs: list[tuple[int, int]], length: int, embedding: bool) -> None:
    offsets, _ = laid_out(pairs)
    windows = last_windows(offsets, prediction_length=length, embedding=embedding)
    assert (windows.end == offsets[1:]).all()
    assert (windows.n_predicted >= 1).all()
    assert (windows.n_predicted <= (length if embedding else 1)).all()
    assert (windows.end - windows.n_predicted >= windows.first).all()


@given(sequences, st.integers(1, 5), st.integers(1, 4))
def test_windows_are_numbered_in_their_sequence(pairs: list[tuple[int, int]], stride: int, length: int) -> None:
    offsets, n_context = laid_out(pairs)
    windows = split_windows(
        offsets, n_context, seq_length=4, stride=stride, mode="distribute", prediction_length=length
    )
    for number in set(windows.sequence.tolist()):
        of_sequence = windows.numbers()[windows.sequence == number]
        assert of_sequence.tolist() == list(range(len(of_sequence)))
    assert (windows.end - windows.n_predicted >= windows.first).all()


@pytest.mark.parametrize("name", ["one", "three"])
def test_with_its_history_each_event_of_the_split_is_predicted_once(trained: Path, name: str) -> None:
    (result,) = infer(model(name), evaluation_context="full")
    found = pl.read_csv(result.predictions)
    stored = pl.read_parquet("data/shop-split2.parquet")
    own = stored.filter(~pl.col("isContext"))
    assert_frame_equal(found[["sequenceId", "itemPosition"]], own[["sequenceId", "itemPosition"]])
    assert result.evaluation["item"]["n"] == own.height
    session = onnxruntime.InferenceSession(model(name))
    steps = session.get_outputs()[0].shape[1]
    statistics = pl.read_json("configs/metadata_configs/shop.json")["selected_columns_statistics"][0]["price"]
    for sequence in stored.partition_by("sequenceId", maintain_order=True)[:5]:
        first = int(sequence["isContext"].sum())
        # The first window ends on the P-th own event, or on the last one.
        last = min(first + steps, sequence.height) - 1
        seen = sequence[max(0, last - L) : last]
        feed = {
            "item": np.array([[0] * (L - seen.height) + seen["item"].to_list()]),
            "price": np.array([[0.0] * (L - seen.height) + seen["price"].to_list()], dtype=np.float32),
            "n_events": np.array([seen.height]),
        }
        (value,) = session.run(["price_value"], feed)
        expected = value[0, -(last - first + 1) :] * statistics["std"] + statistics["mean"]
        of_sequence = found.filter(pl.col("sequenceId") == sequence["sequenceId"][0])["price"].to_numpy()
        np.testing.assert_allclose(of_sequence[: len(expected)], expected, rtol=1e-5)


def test_embeddings_have_the_position_of_their_last_event(trained: Path) -> None:
    (result,) = infer(model("one", "best-embedding"), model_type="embedding", data_path="data/shop-split0.parquet")
    found = pl.read_csv(result.predictions)
    assert result.predictions == Path("outputs/embeddings/sequifier-one-best-embedding-1-shop-split0-embeddings.csv")
    assert found.columns == ["sequenceId", "subsequenceId", "itemPosition", *(str(d) for d in range(8))]
    predicted = pl.read_csv(infer(model("one"), data_path="data/shop-split0.parquet")[0].predictions)
    assert (found["itemPosition"] == predicted["itemPosition"] - 1).all()
    numbers = found.group_by("sequenceId", maintain_order=True).agg("subsequenceId")["subsequenceId"].to_list()
    assert all(list(of_sequence) == list(range(len(of_sequence))) for of_sequence in numbers)

    session = onnxruntime.InferenceSession(model("one", "best-embedding"))
    stored = pl.read_parquet("data/shop-split0.parquet")
    for row in (0, 1, found.height - 1):
        sequence, _, position, *vector = found.row(row)
        seen = stored.filter((pl.col("sequenceId") == sequence) & (pl.col("itemPosition") <= position)).tail(L)
        feed = {
            "item": np.array([[0] * (L - seen.height) + seen["item"].to_list()]),
            "price": np.array([[0.0] * (L - seen.height) + seen["price"].to_list()], dtype=np.float32),
            "n_events": np.array([seen.height]),
        }
        np.testing.assert_allclose(session.run(None, feed)[0][0, -1], vector, rtol=1e-4, atol=1e-5)


def test_every_own_event_is_embedded_with_its_history(trained: Path) -> None:
    (result,) = infer(model("one", "best-embedding"), model_type="embedding", evaluation_context="full")
    own = pl.read_parquet("data/shop-split2.parquet").filter(~pl.col("isContext"))
    found = pl.read_csv(result.predictions)
    assert_frame_equal(found[["sequenceId", "itemPosition"]], own[["sequenceId", "itemPosition"]])


def test_the_last_event_of_each_raw_sequence_is_embedded(trained: Path) -> None:
    options = {"model_type": "embedding", "read_format": "raw", "data_path": "data/shop.csv"}
    (result,) = infer(model("one", "best-embedding"), **options)
    last = pl.read_csv("data/shop.csv").group_by("customer", maintain_order=True).agg(pl.col("visit").max())
    found = pl.read_csv(result.predictions)
    assert found["sequenceId"].to_list() == last["customer"].to_list()
    assert found["itemPosition"].to_list() == last["visit"].to_list()


@given(sequences, st.integers(1, 5), st.integers(1, 4))
def test_a_slice_of_few_events_loses_none_where_another_event_is_before_it(
    pairs: list[tuple[int, int]], seq_length: int, length: int
) -> None:
    length = min(length, seq_length)
    offsets, n_context = laid_out(pairs)
    windows = split_windows(
        offsets, n_context, seq_length=seq_length, stride=1, mode="distribute", prediction_length=length
    )
    for number, (own, context) in enumerate(pairs):
        of_sequence = windows.sequence == number
        begin = int(offsets[number]) + context
        shown = {
            int(end) - step
            for end, wanted in zip(windows.end[of_sequence], windows.n_predicted[of_sequence], strict=True)
            for step in range(wanted)
        }
        assert all(begin <= row < offsets[number + 1] for row in shown), "own events alone"
        expected = min(own, length) if context else min(own - 1, length)
        assert len(shown) >= expected
        assert (windows.first[of_sequence] >= begin - (context > 0)).all()
