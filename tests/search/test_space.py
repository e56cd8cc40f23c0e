"""The space of a search: what it contains, in which order, how often."""

import math
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.config.base import Named
from sequifier.config.ranges import Range
from sequifier.results.settings import shown
from sequifier.search.build_space import build_space
from sequifier.search.ranges import Continuous, Steps, numbers
from sequifier.search.space import Alternative, Axis, Dimension, Space
from tests.support.searches import search


def cells(space: Space) -> list[dict[str, Any]]:
    return [space.values(cell) for cell in space]


def test_a_grid_of_linked_widths_and_three_free_fields_in_its_documented_order() -> None:
    config = search(
        model={"dim_model": [16, 32, 64], "n_head": [1, 2, 4], "num_layers": [1, 2]},
        training={"dropout": [0.0, 0.1]},
        seq_length=[4, 8],
    )
    space = build_space(config)
    assert len(space) == 24
    keys = ("seq_length", "training_spec.dropout", "model_spec.dim_model", "model_spec.n_head", "model_spec.num_layers")
    assert [tuple(values[key] for key in keys) for values in cells(space)] == [
        (4, 0.0, 16, 1, 1),
        (4, 0.0, 16, 1, 2),
        (4, 0.0, 32, 2, 1),
        (4, 0.0, 32, 2, 2),
        (4, 0.0, 64, 4, 1),
        (4, 0.0, 64, 4, 2),
        (4, 0.1, 16, 1, 1),
        (4, 0.1, 16, 1, 2),
        (4, 0.1, 32, 2, 1),
        (4, 0.1, 32, 2, 2),
        (4, 0.1, 64, 4, 1),
        (4, 0.1, 64, 4, 2),
        (8, 0.0, 16, 1, 1),
        (8, 0.0, 16, 1, 2),
        (8, 0.0, 32, 2, 1),
        (8, 0.0, 32, 2, 2),
        (8, 0.0, 64, 4, 1),
        (8, 0.0, 64, 4, 2),
        (8, 0.1, 16, 1, 1),
        (8, 0.1, 16, 1, 2),
        (8, 0.1, 32, 2, 1),
        (8, 0.1, 32, 2, 2),
        (8, 0.1, 64, 4, 1),
        (8, 0.1, 64, 4, 2),
    ]


def test_every_dimension_has_its_documented_place() -> None:
    config = search(
        model={
            "rope_theta": [1.0, 2.0],
            "n_kv_heads": [None, 2],
            "norm_first": [True, False],
            "num_layers": [1, 2],
            "attention_type": ["mha", "gqa"],
            "positional_encoding": ["learned", "rope"],
            "normalization": ["rmsnorm", "layer_norm"],
            "activation_fn": ["swiglu", "relu"],
            "dim_feedforward": [8, 16],
            "dim_model": [64, 128],
        },
        training={
            "decay_all": [False, True],
            "warmup_steps": [0, 5],
            "gradient_clip": [None, 1.0],
            "early_stopping_epochs": [1, 2],
            "optimizer": ["Adam", "SGD"],
            "batch_size": [8, 16],
            "max_steps": [8, 9],
            "epochs": [2, 3],
            "accumulation_steps": [1, 2],
            "scheduler_step_on": ["epoch", "batch"],
            "dropout": [0.0, 0.1],
        },
        input_columns=[["kind"], ["kind", "length"]],
        seq_length=[4, 8],
        window_stride=[1, 2],
        links=[["dropout", "decay_all"]],
    )
    assert [dimension.name for dimension in build_space(config).dimensions] == [
        *("data", "seq_length", "window_stride", "schedule", "batch_size", "optimizer", "accumulation_steps"),
        *("max_steps", "scheduler_step_on", "warmup_steps", "gradient_clip", "early_stopping_epochs", "backbone"),
        *("dim_feedforward", "num_layers", "activation_fn", "normalization", "positional_encoding", "attention_type"),
        *("norm_first", "n_kv_heads", "rope_theta", "links[0]"),
    ]


def test_linked_values_always_occur_together_and_single_ones_with_each() -> None:
    config = search(
        training={"learning_rate": [1e-3, 1e-4], "epochs": [2, 3], "batch_size": [8, 16], "dropout": [0.1, 0.2]},
        links=[["batch_size", "dropout"]],
    )
    space = build_space(config)
    names = ("learning_rate", "epochs", "batch_size", "dropout")
    found = [tuple(values[f"training_spec.{name}"] for name in names) for values in cells(space)]
    assert found == [(1e-3, 2, 8, 0.1), (1e-3, 2, 16, 0.2), (1e-4, 3, 8, 0.1), (1e-4, 3, 16, 0.2)]
    assert all(values["training_spec.scheduler"].name == "StepLR" for values in cells(space))
    assert space.notes == ("scheduler is its default StepLR(step_size=1, gamma=0.99) with every learning_rate",)


def test_single_values_of_a_linked_group_are_noted() -> None:
    notes = build_space(search(model={"dim_model": [64, 128, 256], "n_head": 4})).notes
    assert notes == (
        "n_head is 4 with every dim_model",
        "initial_embedding_dim is not given: it is dim_model",
    )
    notes = build_space(search(model={"dim_model": {"low": 8, "high": 12, "step": 4}, "n_head": [2, 4]})).notes
    assert notes[-1] == "initial_embedding_dim is not given: it is dim_model", "whatever the list beside it"
    notes = build_space(search(model={"num_layers": [1, 2]}, links=[["num_layers", "dim_feedforward"]])).notes
    assert notes == ("dim_feedforward is not given: it is 4 x dim_model",)


def test_options_belong_to_their_entry_alone() -> None:
    optimizers = [
        {"name": "AdamW", "weight_decay": [0.1, 0.2]},
        {"name": "SGD", "momentum": [0, 0.9], "nesterov": [False]},
    ]
    space = build_space(search(training={"optimizer": optimizers}))
    assert [values["training_spec.optimizer"] for values in cells(space)] == [
        Named(name="AdamW", weight_decay=0.1),
        Named(name="AdamW", weight_decay=0.2),
        Named(name="SGD", momentum=0, nesterov=False),
        Named(name="SGD", momentum=0.9, nesterov=False),
    ]


def test_options_of_a_scheduler_multiply_its_index_of_the_schedule() -> None:
    schedulers = [{"name": "ExponentialLR", "gamma": [0.9, 0.8]}, {"name": "StepLR", "step_size": 1}]
    space = build_space(search(training={"learning_rate": [1e-3, 1e-4], "scheduler": schedulers}))
    found = [(each["training_spec.learning_rate"], shown(each["training_spec.scheduler"])) for each in cells(space)]
    assert found == [
        (1e-3, "ExponentialLR(gamma=0.9)"),
        (1e-3, "ExponentialLR(gamma=0.8)"),
        (1e-4, "StepLR(step_size=1)"),
    ]


def test_ranges_step_in_exact_decimals() -> None:
    assert list(numbers(Range(low=0.1, high=0.3, step=0.1), whole=False)) == [0.1, 0.2, 0.3]  # type: ignore[arg-type]
    assert list(numbers(Range(low=0, high=0.35, step=0.1), whole=False)) == [0.0, 0.1, 0.2, 0.3]  # type: ignore[arg-type]
    whole = numbers(Range(low=2, high=9, step=3), whole=True)
    assert isinstance(whole, Steps)
    assert list(whole) == [2, 5, 8]
    assert all(type(number) is int for number in whole)
    assert list(numbers(Range(low=2, high=4), whole=True)) == [2, 3, 4]  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        whole[3]


def test_a_stepped_range_multiplies_its_linked_group() -> None:
    space = build_space(search(training={"learning_rate": {"low": 0.1, "high": 0.3, "step": 0.1}, "epochs": [2]}))
    found = [(each["training_spec.learning_rate"], each["training_spec.epochs"]) for each in cells(space)]
    assert found == [(0.1, 2), (0.2, 2), (0.3, 2)]


@given(st.floats(0, 1, exclude_max=True))
def test_a_number_of_a_continuous_range_is_inside_and_short(share: float) -> None:
    for bounds in (Range(low=1e-4, high=1e-1, log=True), Range(low=0.05, high=0.3)):
        drawn = numbers(bounds, whole=False)
        assert isinstance(drawn, Continuous)
        assert bounds.low <= drawn.at(share) <= bounds.high
        assert float(f"{drawn.at(share):.6g}") == drawn.at(share)
    count = numbers(Range(low=1, high=8, log=True), whole=True)
    assert isinstance(count, Continuous)
    assert count.at(share) in range(1, 9)


def test_the_ends_and_the_middle_of_a_range_are_where_they_should_be() -> None:
    logarithmic = Continuous(1e-4, 1e-2, log=True, whole=False)
    assert (logarithmic.at(0.0), logarithmic.at(0.5)) == (1e-4, 1e-3)
    assert Continuous(0.0, 2.0, log=False, whole=False).at(0.25) == 0.5
    # Every whole number has the same share of a linear range, the ends too.
    assert [Continuous(1, 2, log=False, whole=True).at(share) for share in (0.0, 0.49, 0.51, 0.99)] == [1, 1, 2, 2]


def test_a_space_with_a_range_without_end_has_no_cell_at_an_index() -> None:
    space = build_space(
        search(search_strategy="sample", n_samples=1, training={"learning_rate": {"low": 1e-4, "high": 1e-2}})
    )
    assert not space.is_finite
    with pytest.raises(ValueError, match="no cell at an index"):
        space[0]
    assert space.values(space.draw(0, lambda: 0.5)) == {
        "training_spec.learning_rate": pytest.approx(0.00505),
        "training_spec.epochs": 10,
        "training_spec.scheduler": space.values(space.draw(0, lambda: 0.5))["training_spec.scheduler"],
    }


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Spaces of up to three dimensions, some linked, some with axes inside their alternatives."""
    dimensions = []
    for number in range(draw(st.integers(0, 3))):
        alternatives = []
        for index in range(draw(st.integers(1, 3))):
            axes = [Axis(f"{number}.axis{axis}", "", tuple(range(draw(st.integers(1, 3))))) for axis in range(2)]
            linked = {f"{number}.a": index, f"{number}.b": index}
            alternatives.append(Alternative(linked, tuple(axes[: draw(st.integers(0, 2))])))
        dimensions.append(Dimension(str(number), tuple(alternatives)))
    return Space(tuple(dimensions))


@settings(deadline=None)
@given(spaces())
def test_every_cell_of_the_product_occurs_exactly_once(space: Space) -> None:
    found = [frozenset(values.items()) for values in cells(space)]
    expected = []
    for combination in product(*(dimension.alternatives for dimension in space.dimensions)):
        axes = [axis for alternative in combination for axis in alternative.axes]
        fixed = [item for alternative in combination for item in alternative.fixed.items()]
        for values in product(*(axis.values for axis in axes)):  # type: ignore[arg-type]
            expected.append(frozenset([*fixed, *zip((axis.key for axis in axes), values, strict=True)]))
    assert len(found) == space.size == len(expected)
    assert set(found) == set(expected)
    assert len(set(found)) == len(found)


@settings(deadline=None)
@given(spaces())
def test_linked_values_never_part(space: Space) -> None:
    for values in cells(space):
        for dimension in space.dimensions:
            assert values[f"{dimension.name}.a"] == values[f"{dimension.name}.b"]


@settings(deadline=None)
@given(spaces(), st.integers(min_value=0))
def test_an_index_gives_the_cell_that_listing_gives(space: Space, index: int) -> None:
    index %= space.size
    assert space[index] == list(space)[index]
    for outside in (-1, space.size):
        with pytest.raises(IndexError):
            space[outside]


def test_a_space_of_10_to_the_12_is_decoded_without_being_listed() -> None:
    fields = ["batch_size", "warmup_steps", "max_steps", "accumulation_steps"]
    values = {"low": 1, "high": 1000}
    space = build_space(search(training=dict.fromkeys(fields, values)))
    assert space.size == 10**12
    last = space.values(space[10**12 - 1])
    assert all(last[f"training_spec.{field}"] == 1000 for field in fields)
    assert space.values(space[123_456_789_012]) == {
        "training_spec.batch_size": 124,
        "training_spec.accumulation_steps": 457,
        "training_spec.max_steps": 790,
        "training_spec.warmup_steps": 13,
    }


def test_values_are_shown_as_people_write_them() -> None:
    assert shown(Named(name="SGD", momentum=0.9)) == "SGD(momentum=0.9)"
    assert shown(["kind", "length"]) == "[kind, length]"
    assert [shown(value) for value in (None, True, 3e-5, "rope", {"a": 1})] == [
        "null",
        "true",
        "3.0e-05",
        "rope",
        "{a: 1}",
    ]


def test_a_stepped_number_is_found_without_looking_at_those_before_it() -> None:
    steps = numbers(Range(low=0.1, high=1e6, step=0.1), whole=False)
    assert isinstance(steps, Steps)
    assert steps.index(0.3) == 2
    assert steps.index(99999.9) == 999_998
    for missing in (0.35, 0.0, 1e6 + 0.1, math.nan, "0.3", None):
        with pytest.raises(ValueError, match="is not one of the numbers"):
            steps.index(missing)


def test_whole_numbers_written_with_a_point_stay_whole() -> None:
    drawn = numbers(Range(low=1.0, high=8.0, log=True), whole=True)
    assert isinstance(drawn, Continuous)
    assert [type(drawn.at(share)) for share in (0.0, 0.5, 1.0)] == [int, int, int]


@given(st.floats(0, 1))
def test_the_share_of_a_number_gives_that_number(share: float) -> None:
    for bounds in (
        Continuous(1e-5, 1e-1, log=True, whole=False),
        Continuous(-3.0, 7.5, log=False, whole=False),
        Continuous(1, 900, log=True, whole=True),
    ):
        value = bounds.at(share)
        assert bounds.at(bounds.share_of(value)) == value


def test_a_choice_and_its_parts_are_one_thing() -> None:
    optimizers = [{"name": "AdamW", "weight_decay": [0.1, 0.2], "amsgrad": [True, False]}, "SGD"]
    (dimension,) = build_space(search(training={"optimizer": optimizers})).dimensions
    assert [dimension.parts(digit) for digit in range(dimension.size)] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    assert [dimension.digit(*dimension.parts(digit)) for digit in range(dimension.size)] == list(range(dimension.size))
    adamw = dimension.alternatives[0]
    assert [adamw.places(index) for index in range(4)] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [adamw.index(adamw.places(index)) for index in range(4)] == [0, 1, 2, 3]


def test_around_what_is_given_are_the_first_values_of_lists_and_the_middle_of_ranges() -> None:
    space = build_space(
        search(
            search_strategy="sample",
            n_samples=1,
            model={"dim_model": [16, 32, 64], "n_head": [1, 2, 4], "num_layers": {"low": 1, "high": 5}},
            training={"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "dropout": [0.2, 0.1]},
        )
    )

    def shown_around(**given: Any) -> tuple[Any, ...]:
        values = space.around({key.replace("__", "."): value for key, value in given.items()})
        keys = ("dim_model", "n_head", "num_layers")
        training = [values[f"training_spec.{name}"] for name in ("learning_rate", "dropout")]
        return (*(values[f"model_spec.{name}"] for name in keys), *training)

    assert shown_around() == (16, 1, 3, 1e-3, 0.2)
    # The heads that belong to a width come with it.
    assert shown_around(model_spec__dim_model=64, training_spec__dropout=0.7) == (64, 4, 3, 1e-3, 0.7)
    assert shown_around(model_spec__dim_model=48, training_spec__learning_rate=0.5) == (48, 1, 3, 0.5, 0.2)


def test_one_value_of_a_linked_group_may_be_a_range_beside_single_ones() -> None:
    training = {"learning_rate": {"low": 0.1, "high": 0.3, "step": 0.1}, "epochs": 4, "batch_size": [8, 16]}
    found = [
        (each["training_spec.learning_rate"], each["training_spec.epochs"], each["training_spec.batch_size"])
        for each in cells(build_space(search(training=training)))
    ]
    assert found == [(0.1, 4, 8), (0.1, 4, 16), (0.2, 4, 8), (0.2, 4, 16), (0.3, 4, 8), (0.3, 4, 16)]


def test_a_user_named_link_pairs_fields_of_both_sections() -> None:
    config = search(model={"num_layers": [1, 2]}, training={"dropout": [0.0, 0.1]}, links=[["num_layers", "dropout"]])
    found = [(each["model_spec.num_layers"], each["training_spec.dropout"]) for each in cells(build_space(config))]
    assert found == [(1, 0.0), (2, 0.1)]


def test_two_ranges_of_one_linked_group_are_combined() -> None:
    steps = {"low": 1, "high": 2}
    config = search(training={"batch_size": steps, "warmup_steps": steps}, links=[["batch_size", "warmup_steps"]])
    found = [
        (each["training_spec.batch_size"], each["training_spec.warmup_steps"]) for each in cells(build_space(config))
    ]
    assert found == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_ranges_of_options_step_exactly_and_belong_to_one_entry() -> None:
    schedulers = {"name": "StepLR", "step_size": {"low": 1, "high": 3}, "gamma": {"low": 0.1, "high": 0.3, "step": 0.1}}
    found = [
        shown(each["training_spec.scheduler"])
        for each in cells(build_space(search(training={"scheduler": schedulers})))
    ]
    assert len(found) == 9
    assert found[2:4] == ["StepLR(step_size=1, gamma=0.3)", "StepLR(step_size=2, gamma=0.1)"]


def test_the_largest_cell_is_that_of_the_whole_grid_where_each_field_adds_to_its_size() -> None:
    config = search(
        model={"dim_model": [64, 16, 32], "n_head": 2, "num_layers": [2, 8, 1]},
        training={"batch_size": [8, 256, 64], "dropout": [0.1, 0.0]},
    )
    space = build_space(config)

    def size(values: dict[str, Any]) -> float:
        width, layers = values["model_spec.dim_model"], values["model_spec.num_layers"]
        return float(width * layers * values["training_spec.batch_size"] + values["training_spec.dropout"])

    assert space.values(space.largest(lambda cell: size(space.values(cell)))) == max(cells(space), key=size)
    assert space.values(space.largest(lambda cell: -size(space.values(cell)))) == min(cells(space), key=size)


def test_the_largest_cell_of_a_continuous_space_is_at_an_end_of_its_ranges() -> None:
    space = build_space(search(training={"dropout": {"low": 0.1, "high": 0.4}}, search_strategy="sample", n_samples=1))
    assert space.values(space.largest(lambda cell: space.values(cell)["training_spec.dropout"])) == {
        "training_spec.dropout": pytest.approx(0.4)
    }
