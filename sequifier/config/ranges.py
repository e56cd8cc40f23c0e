"""Several values of a field: a list, or a range of numbers."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from sequifier.config.base import StrictModel, about


class Range(StrictModel):
    """All numbers between two bounds, both included: `{low: 1e-4, high: 1e-2, log: true}`."""

    low: int | float = Field(
        description="Smallest value.",
        json_schema_extra=about(
            unit="the unit of the field",
            interacts="high, which must be larger; log, which needs a value above 0; the bounds of the field",
            change="when the best runs are at this end",
            synonyms="min minimum lower",
        ),
    )
    high: int | float = Field(
        description="Largest value.",
        json_schema_extra=about(
            unit="the unit of the field",
            interacts="low, which must be smaller; the bounds of the field",
            change="when the best runs are at this end",
            synonyms="max maximum upper",
        ),
    )
    step: int | float | None = Field(
        None,
        gt=0,
        description="Distance of neighbouring values; null: 1 for integers, else any value between.",
        json_schema_extra=about(
            unit="the unit of the field",
            interacts="log, which excludes it; grid needs one, except for integers",
            change="when values in between make no difference worth testing",
        ),
    )
    log: bool = Field(
        False,
        description="Whether values are drawn evenly on a logarithmic scale.",
        json_schema_extra=about(
            interacts="step, which excludes it; low, which must be above 0",
            change="to true when the values span powers of ten, as of a learning rate",
            synonyms="log_uniform loguniform logarithmic",
        ),
    )

    @field_validator("low", "high", "step", mode="before")
    @classmethod
    def _no_boolean(cls, value: Any) -> Any:
        # Pydantic reads true as 1; a person who wrote it meant something else.
        if isinstance(value, bool):
            raise ValueError(f"should be a number, got {str(value).lower()}")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low: {self.low} must be below high: {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low: {self.low} must be above 0 on a logarithmic scale")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other; write the values as a list instead")
        return self

    @classmethod
    def described_by(cls, value: Any) -> bool:
        """Whether a raw value is a range: a map with `low` and `high` and nothing but a range's keys."""
        return isinstance(value, cls) or (
            isinstance(value, Mapping) and {"low", "high"} <= set(value) <= set(cls.model_fields)
        )

    @property
    def has_whole_step(self) -> bool:
        """Whether a field of integers can have this range: it has no step, or an integer one."""
        return self.step is None or self.step == int(self.step)

    def is_listable(self, *, whole: bool) -> bool:
        """Whether the values can be listed: integers, or numbers at steps.

        Args:
            whole: whether the field takes integers only.
        """
        return not self.log and (whole or self.step is not None)


Searched = Sequence[Any] | Range
"""The validated values of a field, or a range of them."""


def some_values(values: Searched) -> Sequence[Any]:
    """Every value of a list, or both ends of a range."""
    return [values.low, values.high] if isinstance(values, Range) else values


def exact(number: int | float) -> Decimal:
    """A number as it is written: 0.1 is one tenth."""
    return Decimal(repr(number))
