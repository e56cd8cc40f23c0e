"""Baselines that read what is known of the steps to come: dynamic regression.

A real target is the effect of the known columns at its event, and a rest that does not depend on them; the rest is
forecast from the rests of the window (`window_ridge`). It is the regression with autoregressive errors of ARIMAX. The
effects are linear in real columns, and a number for each category, the same at all steps. They are fitted by least
squares to events less rho times the event before, with the autocorrelation rho of the errors of a first fit: Cochrane
and Orcutt 1949, https://doi.org/10.1080/01621459.1949.10483290. A series that wanders would otherwise show effects by
chance.
Shapes: M targets, H steps of the horizon, N rows, F features.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sequifier.training.baselines.history import Column, Rows, Targets, TrainingData, read
from sequifier.training.baselines.ridge import Products
from sequifier.training.baselines.window_ridge import REGRESSED, WindowRidge

Floats = NDArray[np.float64]

_CATEGORIES = 64
"""Categories of a column with an effect: the most frequent ones."""
_AT_A_TIME = 1 << 22
"""Features that are in memory together."""


class Effects:
    """The effects of the known columns on a target.

    Args:
        train: the training data, with known columns.
        target: a real column.
        training: training targets that have a value.
    """

    def __init__(self, train: TrainingData, target: str, training: Targets) -> None:
        columns, rows = train.columns, training.rows[:: max(len(training) // REGRESSED, 1)]
        self._real = dict.fromkeys(train.known_real, 0.0)
        self._tables = {name: np.zeros(train.n_classes[name]) for name in train.known_categorical}
        self._kept: dict[str, NDArray[np.int64]] = {}
        for name, table in self._tables.items():
            count = np.bincount(read(columns[name], rows), minlength=len(table))
            order = np.argsort(-count, kind="stable")[:_CATEGORIES]
            self._kept[name] = order[count[order] > 0]
        value, before = (read(columns[target], at).astype(np.float64) for at in (rows, rows - 1))
        intercept = self._fit(columns, rows, value, before, 0.0)
        error = value - intercept - self.at(columns, rows)
        error_before = before - intercept - self.at(columns, rows - 1)
        squares = float(error_before @ error_before)
        rho = float(error @ error_before) / squares if squares > 0 else 0.0
        self._fit(columns, rows, value, before, min(max(rho, 0.0), 1.0))

    def at(self, columns: Mapping[str, Column], rows: Rows) -> Floats:
        """Return the effect at some rows, (N,)."""
        found = np.zeros(len(rows))
        for name, weight in self._real.items():
            found += weight * read(columns[name], rows)
        for name, table in self._tables.items():
            found += table[read(columns[name], rows)]
        return found

    def _fit(self, columns: Mapping[str, Column], rows: Rows, value: Floats, before: Floats, rho: float) -> float:
        """Fit to the events less rho times those before; returns the intercept."""
        n_features = len(self._real) + sum(map(len, self._kept.values()))
        products, size = Products(n_features), max(_AT_A_TIME // max(n_features, 1), 1)
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            features = self._features(columns, rows[part]) - rho * self._features(columns, rows[part] - 1)
            products.add(features, (value[part] - rho * before[part])[:, None])
        (weights,), (intercept,) = (each.T.tolist() for each in products.solve(n_features))
        self._real = dict(zip(self._real, weights, strict=False))
        begin = len(self._real)
        for name, kept in self._kept.items():
            self._tables[name][kept] = weights[begin : begin + len(kept)]
            begin += len(kept)
        return float(intercept)

    def _features(self, columns: Mapping[str, Column], rows: Rows) -> Floats:
        """Return the known columns, with an indicator for each category, (N, F)."""
        found = [read(columns[name], rows)[:, None] for name in self._real]
        found += [read(columns[name], rows)[:, None] == kept for name, kept in self._kept.items()]
        return np.concatenate(found, axis=1, dtype=np.float64)


class _Rest:
    """A column less the effects, computed where it is read."""

    def __init__(self, target: str, effects: Effects, columns: Mapping[str, Column]) -> None:
        self._column, self._effects, self._columns = columns[target], effects, columns

    def __getitem__(self, rows: Rows) -> Floats:
        low, high = (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 0)
        if 0 < high - low < len(rows):  # windows overlap: each row is computed once
            return self[np.arange(low, high)][rows - low]
        found: Floats = read(self._column, rows).astype(np.float64) - self._effects.at(self._columns, rows)
        return found


class DynamicRegression:
    """Forecasts of targets that are inputs: their effects, and one map of the window for the rests of all.

    Args:
        train: the training data, with known columns.
        targets: real columns that are inputs.
        training: training targets that have a value.
    """

    def __init__(self, train: TrainingData, targets: Sequence[str], training: Targets) -> None:
        self._effects = {target: Effects(train, target, training) for target in targets}
        rests = [_Rest(target, effects, train.columns) for target, effects in self._effects.items()]
        self._ridge = WindowRidge(rests, training, train.seq_length)

    def __call__(self, target: str, columns: Mapping[str, Column], targets: Targets) -> Floats:
        """Return predictions, (M, H)."""
        effects = self._effects[target]
        rest = self._ridge(_Rest(target, effects, columns), targets)
        return rest + effects.at(columns, targets.truth_rows).reshape(rest.shape)
