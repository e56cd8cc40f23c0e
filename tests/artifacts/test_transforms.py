"""Transforms and scales of real columns, against NumPy's definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.transforms import Scale, restored, transformed
from sequifier.config.preprocess_fields import Transform

ALL: list[Transform | None] = [None, "log1p", "asinh"]
AMOUNTS = st.lists(st.floats(0, 1e12), min_size=1, max_size=8)


@given(st.sampled_from(ALL), AMOUNTS, st.booleans())
def test_a_transform_is_undone(transform: Transform | None, amounts: list[float], negative: bool) -> None:
    values = np.array(amounts) * (-1 if negative and transform != "log1p" else 1)
    scale = Scale(1.5, 0.3, transform)
    np.testing.assert_allclose(restored(transformed(values, transform), transform), values, rtol=1e-13)
    np.testing.assert_allclose(scale.original(scale.standardised(values)), values, rtol=1e-12, atol=1e-12)


@given(st.sampled_from(ALL), AMOUNTS)
def test_torch_computes_what_numpy_computes(transform: Transform | None, amounts: list[float]) -> None:
    values, scale = np.array(amounts), Scale(1.5, 0.3, transform)
    z = scale.standardised(torch.from_numpy(values))
    np.testing.assert_allclose(z.numpy(), scale.standardised(values), rtol=1e-13)
    np.testing.assert_allclose(scale.original(z).numpy(), values, rtol=1e-12, atol=1e-12)


def test_transforms_are_the_functions_of_their_names() -> None:
    values = np.array([0.0, 0.5, 1e-9, 3e7])
    assert transformed(values, "log1p").tolist() == np.log1p(values).tolist()
    assert transformed(-values, "asinh").tolist() == (-np.arcsinh(values)).tolist()
    assert transformed(values, None) is values


@given(st.floats(-50, 50))
def test_a_log1p_value_is_never_negative(z: float) -> None:
    scale = Scale(2.0, 1.5, "log1p")
    value = scale.original(np.array([z]))[0]
    assert value >= 0
    if z <= scale.lowest:
        assert value == 0
    else:
        assert value == pytest.approx(math.expm1(z * 1.5 + 2.0), rel=1e-12, abs=1e-12)


def test_only_log1p_has_a_lowest_value() -> None:
    assert Scale(2.0, 4.0, "log1p").lowest == -0.5
    assert Scale(2.0, 4.0, "asinh").lowest == Scale(2.0, 4.0).lowest == -math.inf


def test_errors_have_original_units() -> None:
    truth, predicted = np.array([0.0, 1.0]), np.array([1.0, -1.0])
    plain, logarithmic = Scale(3.0, 2.0), Scale(3.0, 2.0, "log1p")
    assert (plain.error(predicted, truth) * plain.error_unit).tolist() == [2.0, -4.0]
    expected = [math.exp(5) - math.exp(3), math.exp(1) - math.exp(5)]
    assert logarithmic.error(predicted, truth) * logarithmic.error_unit == pytest.approx(expected)


def test_missing_values_stay_missing_and_hopeless_predictions_become_infinite() -> None:
    scale = Scale(2.0, 1.5, "log1p")
    assert np.isnan(scale.standardised(np.array([math.nan]))).all()
    assert np.isnan(scale.original(np.array([math.nan]))).all()
    assert scale.original(np.array([1e4])).tolist() == [math.inf]
