"""Strings from a command line, converted to the type of a default: `param_scope("lr=5e-4").lr | 0.1` is a float."""

from typing import Any

TRUE_WORDS = frozenset({"y", "yes", "t", "true", "on", "1"})
FALSE_WORDS = frozenset({"n", "no", "f", "false", "off", "0"})

_MAX_DIGITS = 4300
"""Largest number of digits of an integer written with an exponent: Python's own limit for strings."""


def convert(text: str, default: Any) -> Any:
    """Return a string as the type of a default.

    Args:
        text: the string.
        default: a bool accepts the words above in any case, an int accepts integers, also `1e3` and `2.0`, a float
            accepts what `float` accepts. For a default of any other type the string is not converted.

    Returns:
        The value, or the string itself where it cannot be converted.
    """
    if isinstance(default, bool):
        word = text.strip().lower()
        return True if word in TRUE_WORDS else False if word in FALSE_WORDS else text
    if isinstance(default, int):
        return _integer(text)
    if isinstance(default, float):
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _integer(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        pass
    from decimal import Decimal, InvalidOperation  # exact, where a float would round 1e23

    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite() or abs(number.adjusted()) >= _MAX_DIGITS:
        return text
    integer = int(number)
    return integer if integer == number else text
