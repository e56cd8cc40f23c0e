"""Learning curves of further metrics, packed for the script of the page: two characters for each value.

A page has one drawn chart of curves, and the table above it has a list of metrics; the script draws the curves of the
chosen one. As decimals, those of ten metrics of 200 runs would be more than the rest of the page.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sequifier.report.page.charts import BOTTOM, HEIGHT, TOP, scale_pair
from sequifier.report.page.scale import Scale
from sequifier.results.trials import Curve

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-"
"""The script has the same ones."""

MISSING = ".."
_PAIRS = [first + second for first in DIGITS for second in DIGITS]
_CHARACTERS = 200_000
"""Of all further curves of a page."""


def packed_curves(runs: Mapping[str, Mapping[str, Curve]], maximized: Mapping[str, bool]) -> dict[str, Any]:
    """Return the scales and the values of each metric, for as many runs as there is room for.

    Args:
        runs: key of a run on the page -> metric -> values; the best run first.
        maximized: metric, in the order of the page -> whether higher is better.
    """
    known = [name for name in maximized if any(name in curves for curves in runs.values())]
    shown: dict[str, Mapping[str, Curve]] = {}
    left = _CHARACTERS
    for key, curves in runs.items():
        left -= sum(2 * len(curves[name]) for name in known if name in curves)
        if left < 0:
            break
        shown[key] = curves
    found: dict[str, Any] = {}
    for name in known:
        own = {
            key: curves[name]
            for key, curves in shown.items()
            if any(value is not None for value in curves.get(name, ()))  # without a value nothing can be drawn
        }
        if own:
            values = sorted(value for curve in own.values() for value in curve if value is not None)
            scale, scales = scale_pair(values, HEIGHT - BOTTOM, TOP, clip=-1 if maximized[name] else 1)
            found[name] = {"lines": {key: packed(curve, scale) for key, curve in own.items()}, "scales": scales}
    return found


def packed(curve: Curve, scale: Scale) -> str:
    """Return the values as places on a scale; a value outside is at its nearest end."""
    values = np.array(curve, dtype=np.float64)  # None becomes NaN
    inside = np.clip(np.nan_to_num(values, nan=scale.low), scale.low, scale.high)
    low, high = scale.low, scale.high
    if scale.is_log:
        inside, low, high = np.log(inside), np.log(low), np.log(high)
    places = np.rint((len(_PAIRS) - 1) * (inside - low) / (high - low)).astype(np.int64)
    return "".join(
        MISSING if is_missing else _PAIRS[place]
        for place, is_missing in zip(places.tolist(), np.isnan(values).tolist(), strict=True)
    )
