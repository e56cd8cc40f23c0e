"""The forecasts that a run stores for pictures."""

import numpy as np
import pytest
import torch

from sequifier.training.forecasts import MOST, some_forecasts
from tests.support.tiny_training import events_of, model_of, objective_of, split_of

H, T = 5, 24


def test_forecasts_are_those_of_the_model_beside_truth_and_season_in_original_units() -> None:
    train, valid = events_of([400], seed=1), events_of([60, 3, 50], seed=2, context=2)
    for events in (train, valid):
        events.columns["size"] += 3 * np.sin(np.arange(len(events.positions)) * np.pi / 4).astype(np.float32)
    split, model = split_of(valid, seq_length=T, evaluation=True, horizon=H), model_of(T, horizon=H)
    found = [*some_forecasts(model.train(), train, split, objective_of(n_steps=H))]
    assert model.training and 1 < len(found) <= MOST and {each.target for each in found} == {"size"}
    size, kind = valid.columns["size"].astype(np.float64), valid.columns["kind"]
    for each in found:
        sequence = valid.sequence_ids.astype(str).tolist().index(each.sequence)
        begin = int(valid.offsets[sequence])
        row = begin + int(np.flatnonzero(valid.positions[begin:].astype(str) == each.origin)[0])  # the origin
        shown = slice(max(begin, row + 1 - T), row + 1)
        assert each.before == pytest.approx(2.0 * size[shown])  # the scale of `size` in `objective_of`
        assert each.truth == pytest.approx(2.0 * size[row + 1 : row + 1 + H])
        with torch.no_grad():
            hidden = model.eval()(torch.from_numpy(kind[shown])[None, :, None], _real(size[shown]))
            expected = model.predict(hidden[:, -1])["size"][0]
        assert each.predicted == pytest.approx(2.0 * expected.double().numpy(), rel=1e-5, abs=1e-5)
        assert each.seasonal is not None and each.low is None
        if row - begin + 1 >= T:  # the window shows three periods of 8
            rows = row + 1 + np.arange(H)
            season = np.mean([size[rows - 8], size[rows - 16], size[rows - 24]], axis=0)
            assert each.seasonal == pytest.approx(2.0 * season)
    assert len({each.sequence for each in found}) == 2, "they are spread over the split"


def _real(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))[None, :, None]


def test_a_split_of_few_origins_has_as_many_forecasts() -> None:
    valid = events_of([H + 2], seed=2)
    split = split_of(valid, seq_length=T, evaluation=True, horizon=H)
    found = [*some_forecasts(model_of(T, horizon=H), events_of([30]), split, objective_of(n_steps=H))]
    assert len(found) == len(split) == 1
    assert found[0].seasonal is None, "noise has no period"
