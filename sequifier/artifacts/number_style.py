"""How the numbers of one text column are written: `1,234.50`, `1.234,50 €`, `5 %`."""

from typing import Literal

from sequifier.config.base import StrictModel


class NumberStyle(StrictModel):
    """One way to write numbers. The default is the plain one, which every program reads.

    What preprocessing decided from all values of a column is stored in the metadata, because a few new values often
    fit several styles: `1,234` is a thousand in one country and a little more than one in another.
    """

    thousands: Literal["", ",", ".", "'", " "] = ""  # between groups of digits; groups may be left out
    decimal: Literal[".", ","] = "."
    percent: bool = False  # a % behind each number; `5 %` is read as 5
    currency: str = ""  # before or behind numbers

    @property
    def example(self) -> str:
        """A number in this style, for messages."""
        number = f"1{self.thousands}234{self.decimal}50"
        return number + (" %" if self.percent else "") + (f" {self.currency}" if self.currency else "")
