"""Shares as a person reads them."""

import pytest

from sequifier.shares import percent


@pytest.mark.parametrize(
    ("share", "signed", "text"),
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
def test_a_share_far_beyond_the_whole_is_no_number_of_seven_digits(share: float, signed: bool, text: str) -> None:
    assert percent(share, signed=signed) == text
