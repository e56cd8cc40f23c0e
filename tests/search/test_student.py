"""Student's t against SciPy and printed tables."""

import math
from itertools import product

import pytest

from sequifier.results.student import half_width, t_quantile, t_tail


@pytest.mark.parametrize(
    ("tail", "degrees", "expected"),
    [
        (0.025, 1, 12.7062047),
        (0.025, 4, 2.7764451),
        (0.05 / 19, 9, 3.6566115),  # R = 20 runs on ten sequences of one length
        (0.025, 19, 2.0930241),
        (0.005, 30, 2.7499957),
        (0.025, 1e9, 1.9599640),
    ],
)
def test_quantiles_match_the_tables(tail: float, degrees: float, expected: float) -> None:
    assert t_quantile(tail, degrees) == pytest.approx(expected, rel=1e-5)
    assert t_tail(expected, degrees) == pytest.approx(tail, rel=1e-4)


def test_it_is_scipys_distribution_for_fractions_of_degrees_too() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in (0.3, 0.7, 1.0, 1.5, 3.2, 4.0, 9.0, 19.4, 57.0, 300.5, 1e4):
        for tail in (0.4, 0.1, 0.025, 0.05 / 19, 0.025 / 20, 1e-5, 0.05 / 19999):
            expected = stats.t.isf(tail, degrees)
            assert t_quantile(tail, degrees) == pytest.approx(expected, rel=1e-9)
            assert t_tail(expected, degrees) == pytest.approx(tail, rel=1e-9)
    for degrees, t in product((0.5, 2.0, 7.7, 40.0, 199.0, 201.0, 5000.0, 1e7), (0.0, 1e-3, 0.5, 2.0, 5.0, 9.0)):
        assert t_tail(t, degrees) == pytest.approx(stats.t.sf(t, degrees), rel=2e-9), (degrees, t)


def test_without_degrees_nothing_follows() -> None:
    assert t_quantile(0.025, 0.0) == t_quantile(0.025, -1.0) == t_quantile(1e-9, 0.01) == math.inf
    assert (t_tail(1.0, 0.0), t_tail(1e300, -1.0), t_tail(0.0, 5.0)) == (0.5, 0.5, 0.5)
    assert half_width(1.0, 0.0) is None and half_width(None, 3.0) is None and half_width(1.0, None) is None
    assert half_width(2.0, 4.0) == pytest.approx(2 * 2.7764451)
