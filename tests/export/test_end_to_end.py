"""The graph that takes raw values, against the encoding of `preprocess` and the graph that takes numbers."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.artifacts.metadata import RawValueRules
from sequifier.artifacts.model_file import model_properties, read_model_file
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Architecture, Target
from sequifier.config.preprocess_fields import Transform
from sequifier.errors import ModelError
from sequifier.export.end_to_end import build_end_to_end_graph, export_end_to_end
from sequifier.export.onnx import build_graph
from sequifier.export.parity import TOLERANCE, check, open_session
from sequifier.export.raw_columns import RawColumn, raw_columns
from sequifier.preprocess.encode import encode_categories, encode_reals
from tests.support.graphs import Arrays, run_graph
from tests.support.rounding import rounding
from tests.support.shapes import HORIZONS, NORMALIZED, TIED, describe, lively, pairwise, small

COLUMNS = {
    "kind": RawColumn(np.str_, ("a b", "for", "größer", "in", "", "事")),
    "place": RawColumn(np.int64, (-5, 3, 2**40, 2**62)),
    "flag": RawColumn(np.bool_, (False, True)),
    "length": RawColumn(np.float32, (), Scale(10.0, 2.5)),
    "depth": RawColumn(np.float64, (), Scale(1.7e9, 10.0)),
}
SHAPE = small(
    categorical=(("kind", 7), ("place", 5), ("flag", 3)),
    embedding_widths=(4, 4, 2, 5, 1),
    targets=(
        *(Target("kind", "categorical", 7), Target("place", "categorical", 5), Target("flag", "categorical", 3)),
        *(Target("length", "real", 0), Target("depth", "real", 0)),
    ),
    prediction_length=2,
)


def graph(shape: Architecture = SHAPE, columns: dict[str, RawColumn] = COLUMNS) -> onnx.ModelProto:
    return build_end_to_end_graph(shape, lively(shape).state_dict(), columns, metadata_props={})


def raw_windows(n_windows: int, seed: int = 0) -> Arrays:
    """Values as in a raw table, some of them in no vocabulary."""
    draw, size = np.random.default_rng(seed), (n_windows, SHAPE.seq_length)
    kinds = np.array([*COLUMNS["kind"].categories, "unheard of", "FOR"], object)
    places = np.array([*COLUMNS["place"].categories, 0, -(2**63)], np.int64)
    return {
        "kind": kinds[draw.integers(0, len(kinds), size)],
        "place": places[draw.integers(0, len(places), size)],
        "flag": draw.integers(0, 2, size).astype(np.bool_),
        "length": draw.normal(10, 2.5, size).astype(np.float32),
        "depth": draw.normal(1.7e9, 10, size),
    }


def encoded(values: Arrays) -> Arrays:
    """What `preprocess` makes of them."""
    found = {}
    for name, array in values.items():
        column = COLUMNS[name]
        if column.is_real:
            numbers = encode_reals(array.astype(np.float64), column.scale)
        else:
            series = pl.Series(array.ravel().tolist()), pl.Series(column.categories)
            numbers = encode_categories(*series).astype(np.int64)
        found[name] = numbers.reshape(array.shape)
    return found


@pytest.mark.parametrize("n_events", [[8, 8, 8], [2, 3, 5, 8], [3]], ids=["full", "padded", "single-row"])
def test_raw_values_give_what_encoding_and_the_first_graph_give(n_events: list[int]) -> None:
    values, count = raw_windows(len(n_events)), {"n_events": np.array(n_events)}
    ours = run_graph(graph(), values | count)
    first = build_graph(SHAPE, lively(SHAPE).state_dict(), metadata_props={})
    expected = run_graph(first, encoded(values) | count)
    assert list(ours) == [name for target in SHAPE.targets for name in target.end_to_end_names]
    for target in SHAPE.targets:
        column = COLUMNS[target.name]
        if target.kind == "categorical":
            labels = [None, *column.categories]
            ids = expected[f"{target.name}_id"]
            assert ours[f"{target.name}_label"].tolist() == [[labels[number] for number in row] for row in ids]
            probabilities = f"{target.name}_probabilities"
            np.testing.assert_allclose(ours[probabilities], expected[probabilities], rtol=1e-5, atol=rounding(64))
        else:
            value = f"{target.name}_value"
            assert ours[value].dtype == column.kind
            units = column.scale.original(expected[value].astype(np.float64))
            np.testing.assert_allclose(ours[value], units, rtol=rounding(16), atol=rounding(256) * column.scale.std)


@pytest.mark.parametrize("shape", [*pairwise(), *TIED, *NORMALIZED, *HORIZONS], ids=describe)
def test_every_option_passes_the_checker_and_the_comparison(shape: Architecture, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    parity = export_end_to_end(path, shape, lively(shape), COLUMNS, properties={}, seed=0)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert parity.largest_difference < TOLERANCE / 10
    stored = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert json.loads(stored["parity"])["largest_difference"] == parity.largest_difference


def test_values_in_padding_do_not_matter() -> None:
    session = open_session(graph().SerializeToString())
    values, count = raw_windows(3), {"n_events": np.array([2, 3, 7])}
    expected = session.run(None, values | count)
    padding = np.arange(SHAPE.seq_length, 0, -1) > count["n_events"][:, None]
    for junk in ("", 0, np.nan), ("?", -(2**63), np.inf), ("for", 3, -np.inf):
        changed = {name: array.copy() for name, array in values.items()}
        for name, value in zip(("kind", "place", "length"), junk, strict=True):
            changed[name][padding] = value
        changed["depth"][padding] = junk[-1]
        for ours, theirs in zip(session.run(None, changed | count), expected, strict=True):
            assert np.array_equal(ours, theirs)


def test_a_missing_number_is_the_mean_and_unknown_categories_are_one() -> None:
    session = open_session(graph().SerializeToString())
    values, count = raw_windows(2), {"n_events": np.array([8, 8])}

    def outputs(**changes: Any) -> list[np.ndarray[Any, Any]]:
        changed = {name: array.copy() for name, array in values.items()}
        for name, value in changes.items():
            changed[name][:, -1] = value
        return session.run(None, changed | count)

    same = [
        ({"length": np.nan}, {"length": 10}),
        ({"kind": "?"}, {"kind": "For"}),
        ({"place": 2**40 + 1}, {"place": 0}),
    ]
    for one, other in same:
        assert all(np.array_equal(*pair) for pair in zip(outputs(**one), outputs(**other), strict=True))


def test_inputs_and_outputs_have_the_types_of_the_raw_columns() -> None:
    model = graph()
    session = open_session(model.SerializeToString())
    assert [(value.name, value.type, value.shape) for value in session.get_inputs()] == [
        ("kind", "tensor(string)", ["batch", 8]),
        ("place", "tensor(int64)", ["batch", 8]),
        ("flag", "tensor(bool)", ["batch", 8]),
        ("length", "tensor(float)", ["batch", 8]),
        ("depth", "tensor(double)", ["batch", 8]),
        ("n_events", "tensor(int64)", ["batch"]),
    ]
    assert [(value.name, value.type, value.shape) for value in session.get_outputs()] == [
        ("kind_label", "tensor(string)", ["batch", 2]),
        ("kind_probabilities", "tensor(float)", ["batch", 2, 7]),
        ("place_label", "tensor(int64)", ["batch", 2]),
        ("place_probabilities", "tensor(float)", ["batch", 2, 5]),
        ("flag_label", "tensor(bool)", ["batch", 2]),
        ("flag_probabilities", "tensor(float)", ["batch", 2, 3]),
        ("length_value", "tensor(float)", ["batch", 2]),
        ("depth_value", "tensor(double)", ["batch", 2]),
    ]
    assert {(opset.domain, opset.version) for opset in model.opset_import} == {("", 20), ("ai.onnx.ml", 3)}


def test_initializers_are_the_weights() -> None:
    stored = {initializer.name for initializer in graph().graph.initializer}
    assert stored == set(lively(SHAPE).state_dict())


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@settings(max_examples=25, deadline=None)
@given(st.lists(text, min_size=1, max_size=6, unique=True), st.lists(text, min_size=1, max_size=4))
def test_any_text_is_encoded_as_preprocess_does(vocabulary: list[str], others: list[str]) -> None:
    size = len(vocabulary) + 1
    shape = small(
        categorical=(("t", size),), real=(), embedding_widths=(16,), targets=(Target("t", "categorical", size),)
    )
    weights = lively(shape).state_dict()
    values = np.array([(vocabulary + others * 8)[:8], (others + vocabulary * 8)[:8]], object)
    count = {"n_events": np.array([8, 5])}
    ids = encode_categories(pl.Series(values.ravel().tolist()), pl.Series(vocabulary)).reshape(2, 8).astype(np.int64)
    ours = run_graph(
        build_end_to_end_graph(shape, weights, {"t": RawColumn(np.str_, tuple(vocabulary))}, metadata_props={}),
        {"t": values} | count,
    )
    expected = run_graph(build_graph(shape, weights, metadata_props={}), {"t": ids} | count)
    np.testing.assert_allclose(ours["t_probabilities"], expected["t_probabilities"], rtol=1e-5, atol=rounding(64))
    assert ours["t_label"].ravel().tolist() == [vocabulary[number - 1] for number in expected["t_id"].ravel()]


def test_a_column_without_a_known_category_is_unknown_throughout() -> None:
    shape = small(categorical=(("kind", 7), ("none", 1)))
    columns = COLUMNS | {"none": RawColumn(np.str_)}
    model = graph(shape, columns)
    check(model, shape, lively(shape).state_dict(), seed=0, raw=columns)
    values = {name: array for name, array in raw_windows(2).items() if name in ("kind", "length", "depth")}
    outputs = [
        run_graph(model, values | {"none": np.full((2, 8), word, object), "n_events": np.array([8, 3])})
        for word in ("", "x")
    ]
    assert np.array_equal(outputs[0]["kind_probabilities"], outputs[1]["kind_probabilities"])


def test_a_boolean_that_was_never_true_in_training_is_unknown_when_it_is() -> None:
    never = RawColumn(np.bool_, (False,))
    assert never.encoded(np.array([[True, False]])).tolist() == [[0, 1]]
    assert never.decoded(np.array([0, 1])).tolist() == [True, False]
    shape = small(categorical=(("kind", 7), ("flag", 2)))
    check(
        graph(shape, COLUMNS | {"flag": never}),
        shape,
        lively(shape).state_dict(),
        seed=0,
        raw=COLUMNS | {"flag": never},
    )


@pytest.mark.parametrize("wrong", ["vocabulary", "mean", "nan"])
def test_a_wrong_encoding_is_found(wrong: str) -> None:
    kind = COLUMNS["kind"]
    wrongly = {
        "vocabulary": COLUMNS | {"kind": RawColumn(np.str_, kind.categories[::-1])},
        "mean": COLUMNS | {"length": RawColumn(np.float32, (), Scale(11.0, 2.5))},
        "nan": COLUMNS | {"length": RawColumn(np.float32, (), Scale(np.nan, 2.5))},
    }
    with pytest.raises(ModelError, match="differs from torch"):
        check(graph(SHAPE, wrongly[wrong]), SHAPE, lively(SHAPE).state_dict(), seed=0, raw=COLUMNS)


def test_an_input_called_like_an_output_is_refused() -> None:
    shape = small(real=("length", "kind_label"))
    with pytest.raises(ModelError, match="column `kind_label` has the name of an output"):
        graph(shape, COLUMNS | {"kind_label": COLUMNS["length"]})


def test_a_model_file_says_that_it_takes_raw_values(tmp_path: Path) -> None:
    properties = model_properties(
        SHAPE,
        vocabularies={name: column.categories for name, column in COLUMNS.items() if not column.is_real},
        statistics={name: {"mean": column.scale.mean, "std": column.scale.std} for name, column in COLUMNS.items()},
        data={},
        config={},
        metrics={},
    )
    export_end_to_end(tmp_path / "model.onnx", SHAPE, lively(SHAPE), COLUMNS, properties=properties, seed=0)
    assert read_model_file(tmp_path / "model.onnx").end_to_end


@pytest.mark.parametrize(
    ("mean", "std", "transform", "kind"),
    [
        (0.0, 1.0, None, np.float32),
        (-999.0, 1.0, None, np.float32),
        (1001.0, 1.0, None, np.float64),
        (1e18, 1.0, None, np.float64),  # constant: nothing of a deviation is left
        (0.0, 1e35, None, np.float64),
        (0.0, 1e-35, None, np.float64),
        (12.0, 2.0, "log1p", np.float32),  # durations in seconds
        (21.2, 1e-4, "log1p", np.float64),  # Unix times
        (70.0, 2.0, "log1p", np.float64),
        (-3.0, 4.0, "asinh", np.float32),
        (0.0, 30.0, "asinh", np.float64),
    ],
)
def test_a_column_is_as_exact_as_its_values_need(
    mean: float, std: float, transform: Transform | None, kind: type[np.generic]
) -> None:
    metadata = SimpleNamespace(
        id_maps={},
        scale=lambda column: Scale(mean, std, transform),
        sequifier=SimpleNamespace(reading=RawValueRules()),
    )
    shape = small(categorical=(), real=("length",), embedding_widths=(16,), targets=(Target("length", "real", 0),))
    columns = raw_columns(shape, metadata)  # type: ignore[arg-type]
    assert columns["length"].kind == kind
    check(graph(shape, columns), shape, lively(shape).state_dict(), seed=0, raw=columns)


def carried(values: list[Any], column: RawColumn, n_events: int) -> list[float]:
    """What a column becomes, event by event, as `preprocess` does it."""
    last, found = 0.0, []
    for step, value in enumerate(values):
        is_missing = value == column.missing or (column.is_real and not np.isfinite(value))
        if len(values) - step <= n_events and not is_missing:
            last = float(column.encoded(np.array([[value]], column.numpy_type))[0, 0])
        found.append(last)
    return found


def test_values_are_carried_forward_from_events_of_the_window_alone() -> None:
    shape = small(categorical=(("kind", 7),), real=("length",), embedding_widths=(8, 8), prediction_length=1)
    kind, length = (dataclasses.replace(COLUMNS[name], fill="forward") for name in ("kind", "length"))
    kind = dataclasses.replace(kind, categories=tuple(label or "empty" for label in kind.categories))
    columns = COLUMNS | {"kind": kind, "length": length}
    model = graph(shape, columns)
    kinds = [["for", "", "in", "", "", "unheard of", "", "a b"], ["for", "in", "", "", "", "for", "", ""]]
    lengths = [[np.nan, 9, np.inf, 12, np.nan, 4, np.nan, np.nan], [7, 8, np.nan, -np.inf, np.nan, np.nan, 11, np.nan]]
    count = [8, 6]  # in the second row, the first two are padding and no value to carry
    feed: Arrays = {
        "kind": np.array(kinds, object),
        "length": np.array(lengths, np.float32),
        "n_events": np.array(count),
    }
    numbers = {
        "kind": np.array([carried(row, kind, n) for row, n in zip(kinds, count, strict=True)], np.int64),
        "length": np.array([carried(row, length, n) for row, n in zip(lengths, count, strict=True)], np.float32),
    }
    assert numbers["kind"][0].tolist() == [2, 2, 4, 4, 4, 0, 0, 1], "an unknown label is a value"
    assert numbers["kind"][1, 2:].tolist() == [0, 0, 0, 2, 2, 2]
    first = build_graph(shape, lively(shape).state_dict(), metadata_props={})
    expected = run_graph(first, numbers | {"n_events": np.array(count)})["kind_probabilities"]
    np.testing.assert_allclose(run_graph(model, feed)["kind_probabilities"], expected, rtol=1e-5, atol=1e-6)


def test_a_marker_of_missing_values_that_is_a_known_category_is_that_category() -> None:
    empty = RawColumn(np.str_, ("", "x"), fill="forward")
    lowest = RawColumn(np.int64, (-(2**63), 4), fill=4)
    assert empty.encoded(np.array([["x", "", "?"]], object)).tolist() == [[2, 1, 0]]
    assert lowest.encoded(np.array([[4, -(2**63), 5]])).tolist() == [[2, 1, 0]]
    assert RawColumn(np.int64, (3, 4), fill=4).encoded(np.array([[-(2**63), 3]])).tolist() == [[2, 1]]
    assert RawColumn(np.int64, (3, 4), fill=9).encoded(np.array([[-(2**63), 3]])).tolist() == [[0, 1]]


def test_a_boolean_with_a_fill_rule_is_read_as_text() -> None:
    shape = small(categorical=(("kind", 7), ("flag", 3)), targets=(Target("flag", "categorical", 3),))
    columns = COLUMNS | {"flag": dataclasses.replace(COLUMNS["flag"], fill="forward")}
    model = graph(shape, columns)
    session = open_session(model.SerializeToString())
    assert {value.name: value.type for value in session.get_inputs()}["flag"] == "tensor(string)"
    assert session.get_outputs()[0].type == "tensor(bool)", "labels are what is in the table"
    check(model, shape, lively(shape).state_dict(), seed=0, raw=columns)
