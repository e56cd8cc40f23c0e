"""The scale of mase against loops over the events of each sequence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.artifacts.transforms import Scale
from sequifier.dataset import naive
from sequifier.dataset.naive import naive_errors
from sequifier.dataset.seasons import find_period
from tests.support.events import make_events


def by_hand(values: list[np.ndarray], period: int) -> list[float]:
    """The mean error of each sequence when each event is forecast by the one a period before; NaN without any."""
    errors = [[abs(row[t] - row[t - period]) for t in range(period, len(row))] for row in values]
    return [float(np.mean(row)) if row and sum(row) > 0 else np.nan for row in errors]


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    seed=st.integers(0, 2**16),
    rows_at_a_time=st.integers(1, 40),
    context=st.integers(0, 3),
)
def test_each_sequence_has_the_error_of_its_own_training_events(
    sizes: list[int], seed: int, rows_at_a_time: int, context: int
) -> None:
    draw = np.random.default_rng(seed)
    price = (10 * draw.normal(size=sum(sizes))).astype(np.float32)
    price[np.cumsum(sizes) - 1] = np.nan  # each ends with an END
    events = make_events(sizes, {"price": price}, n_context=context)
    period = find_period(events, "price", 400) or 1
    own = [
        price[begin + skipped : end - 1].astype(np.float64)
        for begin, end, skipped in zip(events.offsets[:-1], events.offsets[1:], events.n_context, strict=True)
    ]
    expected = by_hand(own, period)
    pooled = np.concatenate([[0.0], *(np.abs(row[period:] - row[:-period]) for row in own if len(row) > period)])[1:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naive, "_ROWS", rows_at_a_time)
        ids = np.arange(len(sizes))
        errors = naive_errors(events, "price", Scale(), ids)
    if not pooled.sum() > 0:
        assert errors is None
        return
    assert errors is not None
    wanted = np.append(expected[::-1], np.nan)  # a sequence that training does not have takes the mean over all
    found = errors.of(np.append(ids[::-1], 99))
    np.testing.assert_allclose(found, np.where(np.isnan(wanted), pooled.mean(), wanted), rtol=1e-9)


def test_the_forecast_is_the_same_season_one_period_before() -> None:
    season = np.tile([0.0, 3.0, 9.0, 4.0], 30) + np.arange(120) * 0.5
    events = make_events([120], {"price": season.astype(np.float32)})
    found = naive_errors(events, "price", Scale(), np.array(["a"], object))
    assert found is not None and found.errors == pytest.approx([4 * 0.5]), "the trend over one period"


def test_errors_of_a_transformed_column_are_in_original_units() -> None:
    scale = Scale(mean=1.0, std=2.0, transform="log1p", unit=60.0)
    raw = np.array([10.0, 30.0, 90.0, 40.0])
    events = make_events([4], {"price": scale.standardised(raw).astype(np.float32)})
    found = naive_errors(events, "price", scale, np.array([0]))
    assert found is not None and found.errors == pytest.approx([np.abs(np.diff(raw)).mean() / 60], rel=1e-5)


def test_values_that_do_not_change_have_no_scale() -> None:
    events = make_events([5, 1], {"price": np.ones(6, np.float32)})
    assert naive_errors(events, "price", Scale(), np.array([0, 1])) is None
