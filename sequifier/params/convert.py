"""Text from a command line as the type of a default: `param_scope("train.lr=5e-4").train.lr | 0.1` is a float."""

from typing import Any

TRUE_WORDS = frozenset({"y", "yes", "t", "true", "on", "1"})
FALSE_WORDS = frozenset({"n", "no", "f", "false", "off", "0"})

_MAX_DIGITS = 4300
"""Of a whole number written with an exponent: as many as Python itself takes from text by default."""


def convert(text: str, default: Any) -> Any:
    """Text as the type of a default.

    Args:
        text: what somebody wrote.
        default: a bool takes the words above in any case; an int whole numbers, `1e3` and `2.0` among them; a float
            all that `float` takes. For any other type text stays text.

    Returns:
        The value, or the text itself where it does not convert.
    """
    if isinstance(default, bool):
        word = text.strip().lower()
        return True if word in TRUE_WORDS else False if word in FALSE_WORDS else text
    if isinstance(default, int):
        return _whole_number(text)
    if isinstance(default, float):
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _whole_number(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        pass
    from decimal import Decimal, InvalidOperation  # exact, where a float would round 1e23

    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite() or abs(number.adjusted()) > _MAX_DIGITS:
        return text
    whole = int(number)
    return whole if whole == number else text
