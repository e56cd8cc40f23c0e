"""Numbers in messages and reports: a fraction as a percentage, a loss, a number with its noun."""

import math

_LARGEST = 10
"""A larger fraction is shown as "over 1000 %": relative to an almost perfect baseline it could be millions."""
_SMALLEST = 1e-6
"""A smaller metric has an exponent."""


def percent(fraction: float, *, signed: bool = False) -> str:
    """Return a fraction as a percentage: `12.3 %`, or `over 1000 %`.

    Args:
        fraction: 1 is 100 %.
        signed: with + or -; otherwise the absolute value.
    """
    sign = ("+" if fraction >= 0 else "-") if signed else ""
    if abs(fraction) > _LARGEST:
        return f"{'> +' if fraction > 0 else '< -'}1000 %" if signed else "over 1000 %"
    return f"{sign}{abs(100 * fraction):.1f} %"


def decimals(value: float) -> int:
    """Return the decimals with which a loss has four significant digits, at least four: 0.5012, 2.5160, 0.0003123."""
    return 4 if value == 0 or not math.isfinite(value) else max(4, 3 - math.floor(math.log10(abs(value))))


def loss_text(value: float, *, like: float | None = None, sign: str = "") -> str:
    """Return a loss or another metric for people.

    Args:
        value: the metric.
        like: the value whose decimals it has, so that values beside each other can be compared; None: itself.
        sign: `+` for a difference.
    """
    like = value if like is None else like
    return f"{value:{sign}.3e}" if 0 < abs(like) < _SMALLEST else f"{value:{sign}.{decimals(like)}f}"


def counted(number: int, what: str) -> str:
    """Return a number with its noun: `1 run`, `2,000 runs`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
