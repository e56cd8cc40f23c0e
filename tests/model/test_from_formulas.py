"""Every architecture against the formulas of its papers, with any padding and anything written into it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sequifier.config.architecture import Architecture
from tests.support.from_formulas import predictions
from tests.support.shapes import NORMALIZED, TIED, describe, lively, pairwise, windows

N_EVENTS = st.lists(st.integers(1, 8), min_size=1, max_size=4)
# float32 against float64, through two layers with weights of about 0.3: sums of 24 products, some units of 1e-7 each.
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.mark.parametrize("shape", [*pairwise(), *TIED, *NORMALIZED], ids=describe)
@settings(max_examples=5, deadline=None)
@given(n_events=N_EVENTS, seed=st.integers(0, 2**16), in_padding=st.sampled_from([0.0, 1.0, -1e4]))
@torch.no_grad()
def test_predictions_match_the_formulas_whatever_the_padding(
    shape: Architecture, n_events: list[int], seed: int, in_padding: float
) -> None:
    model, T = lively(shape, seed), shape.seq_length
    weights = {name: weight.double() for name, weight in model.state_dict().items()}
    categories, reals = windows(shape, len(n_events), seed)
    is_event = torch.arange(T, 0, -1) <= torch.tensor(n_events)[:, None]
    reals[~is_event] = in_padding
    shown = None if bool(is_event.all()) else is_event
    found = model.predict(model(categories, reals, shown), scales=model.window_scales(reals, shown))
    for place, n in enumerate(n_events):
        expected = predictions(weights, shape, categories[place, T - n :], reals[place, T - n :])
        for target, values in expected.items():
            torch.testing.assert_close(found[target][place, T - n :].double(), values, **CLOSE)
