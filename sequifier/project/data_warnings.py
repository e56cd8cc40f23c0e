"""What in a user's table is probably a mistake, or not for a model to read: with its number, and what to do."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from sequifier.artifacts.instants import FIRST_YEAR, LAST_YEAR
from sequifier.percent import counted
from sequifier.printable import shown_text
from sequifier.project.column_choice import Choice
from sequifier.project.column_facts import EXACT_VALUES, Facts
from sequifier.project.keys import Keys
from sequifier.project.time_choice import UNIX_SECONDS, has_usual_years

if TYPE_CHECKING:
    import polars as pl

_FRACTIONS = {"milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}


def data_warnings(
    rows: "pl.LazyFrame", facts: Mapping[str, Facts], keys: Keys, choices: Sequence[Choice]
) -> Iterator[str]:
    """Yield what to look at.

    Args:
        rows: the rows with the types of their values.
        facts: statistics of each column.
        keys: the sequence and the order column.
        choices: the use of each other column.
    """
    if keys.order is not None and (unit := _fraction_of_seconds(facts[keys.order])):
        yield (
            f"`{keys.order}` looks like {unit} since 1970; write them as dates (2013-01-31 17:05:00.123) to use times "
            "between events, hours and weekdays"
        )
    if keys.order is not None and isinstance((order := facts[keys.order]).lowest, date) and not has_usual_years(order):
        years = f"{order.lowest.year} to {order.highest.year}"
        yield (
            f"`{keys.order}` has the years {years}; times between events, hours and weekdays need years from "
            f"{FIRST_YEAR} to {LAST_YEAR}: to use them, shift all dates by the same number of weeks"
        )
    if keys.order is not None and facts[keys.order].kind == "integer" and _are_days(rows, keys.order):
        yield (
            f"`{keys.order}` looks like dates (`{facts[keys.order].lowest}`), but is read as integers; write them like "
            "2013-01-31 to use times between events and weekdays, or to split at a date"
        )
    used = [choice for choice in choices if choice.use == "categorical"]
    for choice in used:
        if what := choice.facts.free_text:
            yield (
                f"`{choice.column}` looks like {what}; a model learns each as a class of its own: derive categories "
                "from it, or remove it from selected_columns"
            )
    for choice in choices:
        if choice.facts.kind == "text" and choice.facts.n_distinct <= EXACT_VALUES:
            yield from _units(rows, choice.column)
    columns = [choice.column for choice in used]
    for column in columns if keys.sequence is None else [keys.sequence, *columns]:
        if facts[column].kind == "text" and facts[column].n_distinct <= EXACT_VALUES:
            yield from _spellings(rows, column)


def _fraction_of_seconds(order: Facts) -> str:
    """Return the unit of integers that look like times since 1970 in less than seconds; empty where they do not."""
    if order.kind != "integer":
        return ""
    first, last = UNIX_SECONDS
    units = (name for name, n in _FRACTIONS.items() if first * n <= order.lowest <= order.highest < last * n)
    return next(units, "")


def _are_days(rows: "pl.LazyFrame", order: str) -> bool:
    """Whether integers are dates like 20240131, of several months."""
    import polars as pl

    days = pl.col(order).drop_nulls().cast(pl.String).str.to_date("%Y%m%d", strict=False)
    is_day = days.dt.year().is_between(1900, 2099).fill_null(False).all()
    found = rows.select(is_day=is_day, months=days.dt.month().n_unique()).collect(engine="streaming")
    return bool(found["is_day"].item()) and found["months"].item() > 1


def _units(rows: "pl.LazyFrame", column: str) -> Iterator[str]:
    """Categories that are numbers with a unit."""
    import polars as pl

    from sequifier.preprocess.numbers import unit_of

    values = rows.select(pl.col(column).drop_nulls().unique().sort()).collect(engine="streaming")[column]
    if unit := unit_of(values):
        yield (
            f"`{column}` looks like numbers with the unit `{unit}` (`{shown_text(values[0])}`), which are not read as "
            "numbers; to use them, write them without it"
        )


def _spellings(rows: "pl.LazyFrame", column: str) -> Iterator[str]:
    """Values that differ in upper and lower case or in blanks only."""
    import polars as pl

    value = pl.col(column)
    plain = value.str.strip_chars().str.replace_all(r"\s+", " ").str.to_lowercase()
    values = rows.select(value=value, plain=plain).drop_nulls()
    spellings = values.group_by("plain").agg(pl.col("value").unique().sort())
    several = spellings.filter(pl.col("value").list.len() > 1).sort("plain").collect(engine="streaming")
    if several.height:
        example = " and ".join(f"`{shown_text(text)}`" for text in several["value"][0].to_list()[:3])
        yield (
            f"`{column}` has {counted(several.height, 'value')} in several spellings, which differ only in case or "
            f"blanks and count as different ones ({example}); correct them if they mean the same"
        )
