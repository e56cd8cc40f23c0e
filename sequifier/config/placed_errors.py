"""Validation errors at the place of one value, for checks that find several mistakes at once."""

from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from sequifier.config.base import KeyPath


def relocated(error: ValidationError, *, drop: int, prefix: KeyPath = ()) -> list[InitErrorDetails]:
    """The parts of a validation error, at another place.

    Args:
        drop: leading parts of each location to leave out.
        prefix: what to put in front instead.
    """
    return [
        InitErrorDetails(
            type=detail["type"],
            loc=(*prefix, *detail["loc"][drop:]),
            input=detail["input"],
            ctx=detail.get("ctx", {}),
        )
        for detail in error.errors(include_url=False)
    ]


def problem(place: KeyPath, message: str, value: Any = None) -> InitErrorDetails:
    """One part of a validation error."""
    return InitErrorDetails(type="value_error", loc=place, input=value, ctx={"error": ValueError(message)})
