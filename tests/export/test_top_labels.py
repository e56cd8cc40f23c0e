"""`export_top_k`: the most probable labels in the end-to-end graph, against a sort of its probabilities."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Target, architecture
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, ModelError
from sequifier.export.end_to_end import build_end_to_end_graph
from sequifier.export.parity import check
from sequifier.export.raw_columns import RawColumn
from sequifier.export.top_labels import NO_TOP, Top
from tests.support.graphs import Arrays, run_graph
from tests.support.searches import metadata
from tests.support.shapes import lively, small

COLUMNS = {
    "kind": RawColumn(np.str_, ("a", "b", "c", "d", "e", "f")),
    "code": RawColumn(np.int64, (7, -3, 2**40)),
    "length": RawColumn(np.float32, (), Scale(10.0, 2.5)),
}
SHAPE = small(
    categorical=(("kind", 7), ("code", 4)),
    real=("length",),
    embedding_widths=(6, 6, 4),
    targets=(Target("kind", "categorical", 7), Target("code", "categorical", 4), Target("length", "real", 0)),
    prediction_length=3,
)
COUNTS = [8, 5, 1]


def outputs(top: Top, feed: Arrays) -> Arrays:
    weights = lively(SHAPE).state_dict()
    graph = build_end_to_end_graph(SHAPE, weights, COLUMNS, metadata_props={}, top=top)
    check(graph, SHAPE, weights, seed=0, raw=COLUMNS, top=top)
    return run_graph(graph, feed)


def windows(seed: int = 0) -> Arrays:
    draw, size = np.random.default_rng(seed), (len(COUNTS), SHAPE.seq_length)
    return {
        "kind": np.array([*COLUMNS["kind"].categories, "unheard of"], object)[draw.integers(0, 7, size)],
        "code": np.array([*COLUMNS["code"].categories, 0], np.int64)[draw.integers(0, 4, size)],
        "length": draw.normal(10, 2.5, size).astype(np.float32),
        "n_events": np.array(COUNTS),
    }


def by_hand(feed: Arrays, found: Arrays, target: str, k: int, *, is_unseen: bool) -> list[list[tuple[Any, float]]]:
    """The classes of each prediction at a real event, with their probabilities; those that are left out at the end."""
    T, P, result = SHAPE.seq_length, SHAPE.prediction_length, []
    for row, n_events in enumerate(COUNTS):
        for place in range(P):
            step = T - P + place
            if step < T - n_events:
                continue
            seen = set(feed[target][row, T - n_events : step + 1].tolist()) if is_unseen else set()
            labels = COLUMNS[target].categories
            shares = dict(zip(labels, found[f"{target}_probabilities"][row, place, 1:].tolist(), strict=True))
            best = sorted((label for label in labels if label not in seen), key=lambda label: -shares[label])
            result.append([(label, shares[label]) for label in best[:k]])
    return result


def returned(found: Arrays, target: str) -> list[list[tuple[Any, float]]]:
    """The same as the graph returns it, without places of probability 0."""
    T, P, result = SHAPE.seq_length, SHAPE.prediction_length, []
    for row, n_events in enumerate(COUNTS):
        for place in range(max(0, P - n_events), P):
            assert T - P + place >= T - n_events
            pairs = zip(
                found[f"{target}_top_labels"][row, place].tolist(),
                found[f"{target}_top_probabilities"][row, place].tolist(),
                strict=True,
            )
            result.append([(label, share) for label, share in pairs if share > 0])
    return result


@pytest.mark.parametrize("unseen", [(), ("kind",), ("kind", "code")])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_the_most_probable_labels_are_those_of_a_sort(k: int, unseen: tuple[str, ...]) -> None:
    for seed in range(3):
        feed = windows(seed)
        found = outputs(Top(k, frozenset(unseen)), feed)
        for target in ("kind", "code"):
            expected = by_hand(feed, found, target, k, is_unseen=target in unseen)
            assert returned(found, target) == expected
            assert found[f"{target}_top_labels"].shape == (3, 3, min(k, len(COLUMNS[target].categories)))
        if "kind" not in unseen:
            assert np.array_equal(found["kind_top_labels"][..., 0], found["kind_label"])
        assert any(len(row) < min(k, 3) for row in returned(found, "code")) == ("code" in unseen)


def test_padding_is_not_seen() -> None:
    feed, top = windows(), Top(6, frozenset(["kind"]))
    expected = outputs(top, feed)
    for value in (*COLUMNS["kind"].categories, "?"):
        changed = {**feed, "kind": feed["kind"].copy()}
        changed["kind"][np.arange(8, 0, -1) > np.array(COUNTS)[:, None]] = value
        found = outputs(top, changed)
        assert np.array_equal(found["kind_top_labels"][:, -1], expected["kind_top_labels"][:, -1])


def test_of_equal_logits_the_smaller_id_is_first() -> None:
    weights = {name: value * 0 for name, value in lively(SHAPE).state_dict().items()}
    graph = build_end_to_end_graph(SHAPE, weights, COLUMNS, metadata_props={}, top=Top(4))
    found = run_graph(graph, windows())
    assert found["kind_top_labels"][0].tolist() == [["a", "b", "c", "d"]] * 3
    assert found["code_top_labels"][0].tolist() == [[7, -3, 2**40]] * 3


def test_wrong_labels_are_found() -> None:
    weights, right = lively(SHAPE).state_dict(), Top(3, frozenset(["kind"]))
    graph = build_end_to_end_graph(SHAPE, weights, COLUMNS, metadata_props={}, top=Top(3))
    with pytest.raises(ModelError, match=r"`kind_top_(labels|probabilities)`"):
        check(graph, SHAPE, weights, seed=0, raw=COLUMNS, top=right)


def test_the_file_says_what_is_left_out() -> None:
    weights, top = lively(SHAPE).state_dict(), Top(3, frozenset(["kind"]))
    graph = build_end_to_end_graph(SHAPE, weights, COLUMNS, metadata_props={}, top=top)
    stored = {prop.key: prop.value for prop in graph.metadata_props}
    expected = {"k": 3, "left_out": {"kind": "classes of the window's events"}}
    assert json.loads(stored["top_labels"]) == expected
    plain = build_end_to_end_graph(SHAPE, weights, COLUMNS, metadata_props={}, top=NO_TOP)
    assert "top_labels" not in {prop.key for prop in plain.metadata_props}


RUN = {"metadata_config_path": "m.json", "model_name": "m", "target_columns": ["kind", "length"]}
ASKED = RUN | {"export_end_to_end": True, "export_top_k": 2}
SEEN = {"ranking": {"kind": {"k": [1], "exclude_seen": True}}}


def test_a_config_requests_them() -> None:
    config = TrainConfig.model_validate(ASKED | SEEN)
    architecture(config, metadata())
    assert Top.of(config) == Top(2, frozenset(["kind"]))
    assert Top.of(TrainConfig.model_validate(RUN)) == NO_TOP


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"export_top_k": 4}, "4 exceeds the 3 classes of `kind`"),
        ({"target_columns": ["length"]}, r"no target has classes \(`length` is real\)"),
        (
            {**SEEN, "input_columns": ["length"]},
            "ranking leaves out the seen classes of `kind`, which the model does not read",
        ),
    ],
)
def test_what_has_no_most_probable_labels_is_one_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        architecture(TrainConfig.model_validate(ASKED | values), metadata())
    assert [problem.key for problem in raised.value.problems] == ["export_top_k"]


def test_two_outputs_of_one_name_are_refused() -> None:
    columns = ["kind", "kind_top"]
    data: Any = SimpleNamespace(
        columns=columns,
        input_columns=columns,
        n_classes=dict.fromkeys(columns, 4),
        kind=lambda column: "categorical",
        sequifier=SimpleNamespace(seq_length=8),
    )
    with pytest.raises(ConfigError, match="two outputs of the model would have the name `kind_top_probabilities`"):
        architecture(TrainConfig.model_validate(ASKED | {"target_columns": columns}), data)


def test_they_need_the_end_to_end_model() -> None:
    with pytest.raises(ValidationError, match="set export_end_to_end: true"):
        TrainConfig.model_validate(RUN | {"export_top_k": 2})
