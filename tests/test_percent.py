"""Fractions as percentages."""

import pytest

from sequifier.percent import loss_text, percent


@pytest.mark.parametrize(
    ("fraction", "signed", "text"),
    [
        (0.123, False, "12.3 %"),
        (-0.123, False, "12.3 %"),
        (0.5, True, "+50.0 %"),
        (-1.02, True, "-102.0 %"),
        (0.0, True, "+0.0 %"),
        (-217181.2, True, "< -1000 %"),
        (217181.2, True, "> +1000 %"),
        (-217181.2, False, "over 1000 %"),
    ],
)
def test_a_fraction_as_a_percentage(fraction: float, signed: bool, text: str) -> None:
    assert percent(fraction, signed=signed) == text


@pytest.mark.parametrize(
    ("value", "like", "expected"),
    [
        (2.51604, None, "2.5160"),
        (0.50123456, None, "0.5012"),
        (0.050123456, None, "0.05012"),
        (0.00031234567, None, "0.0003123"),
        (0.0004, 0.00031234567, "0.0004000"),
        (2.345e-8, None, "2.345e-08"),
        (0.0, None, "0.0000"),
        (float("inf"), None, "inf"),
        (-0.0123, None, "-0.01230"),
        (123.4, None, "123.4000"),
    ],
)
def test_a_small_loss_has_four_significant_digits(value: float, like: float | None, expected: str) -> None:
    assert loss_text(value, like=like) == expected
