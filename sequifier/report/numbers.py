"""Numbers as text for people."""

import math

from sequifier.percent import decimals


def number(value: float | None) -> str:
    """Return a number for people: 0.6105, 1,234, 0.001234, 3.2e-5."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e6):
        return f"{int(value):,}"
    if not 1e-3 <= abs(value) < 1e6:
        mantissa, _, power = f"{value:.3e}".partition("e")
        return f"{float(mantissa):g}e{int(power)}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.1f}"
    # A standard error of 0.0335 has the decimals of its metric.
    return f"{value:.{4 if abs(value) >= 0.01 else decimals(value)}f}"


def seconds_text(seconds: float | None) -> str:
    """Return seconds for people: 3.2 s, 12 min, 1.5 h."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def in_percent(share: float) -> str:
    """Return a fraction in whole percent."""
    return f"{100 * share:.0f} %"
