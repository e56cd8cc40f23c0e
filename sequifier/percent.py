"""Numbers in messages and reports: a fraction as a percentage, a number with its noun."""

_LARGEST = 10
"""A larger fraction is shown as "over 1000 %": relative to an almost perfect baseline it could be millions."""


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


def counted(number: int, what: str) -> str:
    """Return a number with its noun: `1 run`, `2,000 runs`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
