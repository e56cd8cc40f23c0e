"""What each column of a stranger's table is good for: a category, a number, or nothing, and why.

Facts are counted once over the typed rows; the decisions are made from them and from the words in the name of a column.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from sequifier.config.preprocess import FillNull, TypeName
from sequifier.project.inspect_columns import InspectedColumn, Kind
from sequifier.project.raw_table import RawTable, unreadable

if TYPE_CHECKING:
    import polars as pl

Use = Literal["categorical", "real", "left out"]

EXACT_ROWS = 2_000_000
"""Rows up to which distinct values are counted at once. In larger tables their number is estimated first (HyperLogLog,
off by 10 % at times), and counted where it is at most EXACT_VALUES."""

EXACT_VALUES = 200_000

COLUMNS_AT_ONCE = 100
"""Columns that are counted in one pass: its memory grows with the square of their number."""

FEW_VALUES = 20
MANY_VALUES = 1000
"""Categories above which the rare ones are left out."""

MOST_CATEGORIES = 10_000
RARE = 5
"""A category seen less often cannot be learnt."""

_NEARLY_ALL = 0.95
_NEARLY_ALL_ESTIMATED = 0.8
_LARGEST_INTEGER = 2**63 - 1


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ID_WORDS = _words("id ids uuid guid key hash index idx row rowid number no nr unnamed")
_CODE_WORDS = _ID_WORDS | _words(
    "code type kind class category group zip postcode status label flag level month weekday day hour year minute week "
    "quarter sku item product store shop"
)
_MEASURE_WORDS = _words(
    "price amount cost total sum value qty quantity count duration seconds minutes ms age weight height length width "
    "distance size temp temperature score rate balance income salary revenue sales volume speed delay pct percent "
    "cents bytes pressure power load usage consumption profit tax discount"
)


@dataclass(frozen=True)
class Facts:
    """Numbers about one column.

    Attributes:
        kind: what its values are.
        n_missing: nulls, NaN and infinities.
        n_distinct: values that differ.
        is_estimated: n_distinct is not exact.
        lowest: of the known values, also of text.
        highest: of the known values.
        is_whole: a number that never has a fraction.
    """

    kind: Kind
    n_rows: int
    n_missing: int
    n_distinct: int
    lowest: Any
    highest: Any
    is_whole: bool = False
    is_estimated: bool = False

    @property
    def n_known(self) -> int:
        """Rows that have a value."""
        return self.n_rows - self.n_missing

    @property
    def distinct_text(self) -> str:
        """How many values differ."""
        return f"about {self.n_distinct:,}" if self.is_estimated else f"{self.n_distinct:,}"


@dataclass(frozen=True)
class Choice:
    """What becomes of one column.

    Attributes:
        why: for the config and the user; empty where nothing needs to be said.
        declared: its entry in column_types, where the data alone would say something else.
        fill: its entry in fill_null.
        min_count: its entry there; max_categories too.
        rare: what becomes of rare categories.
        n_kept: categories that are not rare.
    """

    column: str
    facts: Facts
    use: Use
    why: str = ""
    declared: TypeName | None = None
    fill: FillNull | None = None
    min_count: int | None = None
    max_categories: int | None = None
    rare: str = ""
    n_kept: int | None = None

    @property
    def n_categories(self) -> int:
        """Outputs of a head that predicts it; 1 for a real column."""
        return 1 if self.use == "real" else self.n_kept or self.facts.n_distinct

    @property
    def summary(self) -> str:
        """Its values in a few words."""
        facts = self.facts
        if facts.kind in ("integer", "number", "date", "datetime") and self.use != "categorical":
            return f"{shown_value(facts.lowest)} to {shown_value(facts.highest)}"
        return f"{facts.distinct_text} values"


def shown_value(value: Any) -> str:
    """A value in few characters."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def look(table: RawTable, rows: "pl.LazyFrame", inspected: Mapping[str, InspectedColumn]) -> dict[str, Facts]:
    """Count what there is to know of every column.

    Args:
        table: for errors.
        rows: the rows as they are in the files.
        inspected: of each column.
    """
    import polars as pl

    try:
        n_rows = int(rows.select(pl.len()).collect(engine="streaming").item())
        counted: dict[str, dict[str, Any]] = {}
        names = list(inspected)
        for start in range(0, len(names), COLUMNS_AT_ONCE):
            some = {column: inspected[column] for column in names[start : start + COLUMNS_AT_ONCE]}
            counted |= _counted(typed(rows, some), some, n_rows)
        estimated = set(inspected) if n_rows > EXACT_ROWS else set()
        for column in inspected:
            if column in estimated and counted[column].get("n_distinct", EXACT_VALUES + 1) <= EXACT_VALUES:
                # Unlike n_unique(), this holds no more than the different values in memory.
                unique = typed(rows, {column: inspected[column]}).drop_nulls().unique().select(pl.len())
                counted[column]["n_distinct"] = unique.collect(engine="streaming").item()
                estimated.remove(column)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(table.path, error) from error
    return {
        column: Facts(
            content.kind,
            n_rows,
            counted[column]["n_missing"],
            min(counted[column].get("n_distinct", 0), n_rows - counted[column]["n_missing"]),
            counted[column].get("lowest"),
            counted[column].get("highest"),
            bool(counted[column].get("is_whole")),
            column in estimated,
        )
        for column, content in inspected.items()
    }


def typed(rows: "pl.LazyFrame", inspected: Mapping[str, InspectedColumn]) -> "pl.LazyFrame":
    """Some columns of the rows, with their types."""
    return rows.select(content.expression.alias(column) for column, content in inspected.items())


def _counted(rows: "pl.LazyFrame", inspected: Mapping[str, InspectedColumn], n_rows: int) -> dict[str, dict[str, Any]]:
    """What is counted of some columns in one pass."""
    import polars as pl

    expressions = []
    for number, (column, content) in enumerate(inspected.items()):
        values = pl.col(column)
        if content.kind == "number":
            values = pl.when(values.is_finite()).then(values)
            expressions.append((values == values.floor()).all().alias(f"{number} is_whole"))
        if content.kind == "other":
            expressions.append(values.is_null().sum().alias(f"{number} n_missing"))
            continue
        distinct = values.drop_nulls().n_unique() if n_rows <= EXACT_ROWS else values.approx_n_unique()
        named = {"n_missing": values.is_null().sum(), "n_distinct": distinct}
        named |= {"lowest": values.min(), "highest": values.max()}
        expressions += [expression.alias(f"{number} {what}") for what, expression in named.items()]
    found: dict[str, dict[str, Any]] = {column: {} for column in inspected}
    columns = list(inspected)
    for name, value in rows.select(expressions).collect(engine="streaming").row(0, named=True).items():
        number_text, what = name.split(" ", 1)
        found[columns[int(number_text)]][what] = value
    return found


def choose(column: str, facts: Facts, content: InspectedColumn, *, is_target: bool) -> Choice:
    """What a feature is good for; rare categories are looked at later, see `without_rare`.

    A target is never left out for what can be predicted nonetheless: that is for the caller to refuse.
    """
    reason = content.doubt or _useless(column, facts, is_target=is_target)
    if reason:
        return Choice(column, facts, "left out", reason)
    match facts.kind:
        case "integer":
            choice = _integer(column, facts)
        case "number":
            choice = _number(column, facts)
        case "text" if content.is_as_text:
            why = "its digits are kept as they are written: zeros in front, or more digits than a number holds"
            choice = Choice(column, facts, "categorical", why, declared="String")
        case _:
            choice = Choice(column, facts, "categorical")
    if facts.n_missing:
        fill: FillNull = "mean" if choice.use == "real" else "unknown"
        return replace(choice, fill=fill)
    return choice


def without_rare(choice: Choice, rows: "pl.LazyFrame", *, is_target: bool) -> Choice:
    """A column of very many categories, with its rare ones left out; or the whole column, where most are rare."""
    facts = choice.facts
    if choice.use != "categorical" or facts.n_distinct <= MANY_VALUES:
        return choice
    import polars as pl

    counts = rows.select(pl.col(choice.column).drop_nulls().alias("value")).group_by("value").agg(n=pl.len())
    kept = counts.filter(pl.col("n") >= RARE)
    n_kept, rows_kept = kept.select(pl.len(), pl.col("n").sum()).collect(engine="streaming").row(0)
    share = (rows_kept or 0) / max(facts.n_known, 1)
    if share < 0.5 and not is_target:
        why = f"{facts.distinct_text} values, most of them seen fewer than {RARE} times: too rare to learn from"
        return Choice(choice.column, facts, "left out", why)
    if not n_kept or (share == 1 and n_kept <= MOST_CATEGORIES):
        return choice
    limit = MOST_CATEGORIES if n_kept > MOST_CATEGORIES else None
    what = f"the {n_kept:,} seen {RARE} times or more cover {percent(share)} of the rows"
    what += f", and the {limit:,} most frequent are kept" if limit else ""
    return replace(
        choice,
        min_count=RARE,
        max_categories=limit,
        n_kept=min(n_kept, MOST_CATEGORIES),
        rare=f"{what}; the others become `unknown`",
    )


def percent(share: float) -> str:
    """A share, never rounded to all or nothing."""
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %"


def words_of(column: str) -> set[str]:
    """The words in the name of a column: `unitPrice_EUR` has unit, price and eur."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", column)}


def is_id_like(column: str, facts: Facts) -> bool:
    """Nearly every row has a value of its own, and for integers the name or the values say that it only counts."""
    share = _NEARLY_ALL_ESTIMATED if facts.is_estimated else _NEARLY_ALL
    if facts.n_known < FEW_VALUES or facts.n_distinct < share * facts.n_known:
        return False
    if facts.kind == "text":
        return True
    words = words_of(column)
    if facts.kind != "integer" or words & _MEASURE_WORDS:
        return False
    is_dense = facts.highest - facts.lowest < 1.1 * facts.n_distinct
    return bool(words & _ID_WORDS) or is_dense


def _useless(column: str, facts: Facts, *, is_target: bool) -> str:
    if facts.kind == "other":
        return "its values are lists, times or another type that cannot be encoded"
    if facts.kind == "empty" or not facts.n_known:
        return "it has no values"
    if facts.n_distinct == 1:
        only = shown_value(facts.lowest)
        also = f"; {facts.n_missing:,} rows have none" if facts.n_missing else ""
        return f"it is always {only[:40]}{also}"
    if facts.kind in ("date", "datetime"):
        return "dates cannot be encoded; what matters of them (hour, weekday, days since) can be columns of their own"
    if is_target:
        return ""
    if is_id_like(column, facts):
        return f"nearly every row has another value ({facts.distinct_text} in {facts.n_known:,} rows), like an id"
    if facts.n_missing > _NEARLY_ALL * facts.n_rows:
        return f"{percent(facts.n_missing / facts.n_rows)} of its values are missing"
    if column in ("sequenceId", "itemPosition", "isContext"):
        return "its name is taken by a column that every split has; rename it to use it"
    return ""


def _integer(column: str, facts: Facts) -> Choice:
    words, n, rows = words_of(column), facts.n_distinct, facts.n_known
    if facts.highest > _LARGEST_INTEGER:
        return Choice(column, facts, "categorical", "its integers do not fit in 64 bits", declared="String")
    if n <= FEW_VALUES or (words & _CODE_WORDS and not words & _MEASURE_WORDS):
        return Choice(column, facts, "categorical")
    reasons = (
        (facts.lowest < 0, "it has negative values"),
        (bool(words & _MEASURE_WORDS), "its name says that it measures something"),
        (n > MANY_VALUES, f"it has {n:,} different values"),
        (n * RARE > rows, f"its {n:,} values occur {rows / n:.1f} times each on average"),
    )
    why = next((reason for applies, reason in reasons if applies), "")
    if not why:
        return Choice(column, facts, "categorical")
    return Choice(column, facts, "real", f"integers, taken as a measurement because {why}", declared="real")


def _number(column: str, facts: Facts) -> Choice:
    if facts.is_whole and facts.n_distinct <= FEW_VALUES and facts.n_known >= 5 * FEW_VALUES:
        why = f"whole numbers, {facts.n_distinct} different ones: taken as codes"
        return Choice(column, facts, "categorical", why, declared="categorical")
    return Choice(column, facts, "real")


def lengths_text(quartiles: tuple[int, int, int], shortest: int, longest: int) -> str:
    """How long sequences are, in words."""
    lower, median, upper = quartiles
    if shortest == longest:
        return f"{shortest:,} events"
    return f"{shortest:,} to {longest:,} events, median {median:,}, half of them {lower:,} to {upper:,}"
