"""Fractions as percentages."""

import pytest

from sequifier.percent import percent


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
