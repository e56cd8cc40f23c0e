"""How much better or worse a result is, as a person reads it."""

MOST = 10
"""A share above it says no more than "much": a baseline that is almost perfect makes it millions."""


def percent(share: float, *, signed: bool = False) -> str:
    """A share in percent: `12.3 %`, and `over 1000 %` for what is far beyond.

    Args:
        share: 1 is the whole.
        signed: with + or -; without it, the absolute value.
    """
    sign = ("+" if share >= 0 else "-") if signed else ""
    if abs(share) > MOST:
        return f"{'> +' if share > 0 else '< -'}1000 %" if signed else "over 1000 %"
    return f"{sign}{abs(100 * share):.1f} %"
