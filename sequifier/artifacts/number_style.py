"""The format of the numbers of a text column: `1,234.50`, `1.234,50 €`, `5 %`."""

from typing import Literal

from sequifier.config.base import StrictModel


class NumberStyle(StrictModel):
    """A format of numbers. The default is the plain format, which every program reads.

    Preprocessing decides on it from all values of a column and stores it in the metadata, because a few new values
    often fit several formats: `1,234` is 1234 in one country and 1.234 in another.
    """

    thousands: Literal["", ",", ".", "'", " "] = ""  # separator of groups of digits; groups are optional
    decimal: Literal[".", ","] = "."
    percent: bool = False  # a % after each number; `5 %` is read as 5
    currency: str = ""  # before or after numbers

    @property
    def example(self) -> str:
        """A number in this format, for messages."""
        number = f"1{self.thousands}234{self.decimal}50"
        return number + (" %" if self.percent else "") + (f" {self.currency}" if self.currency else "")
