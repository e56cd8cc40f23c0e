"""The use of each column of a user's table (a category, a real number, or none), with the reason.

The rules use the statistics of a column and the words in its name.
"""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sequifier.config.preprocess_fields import FillNull, Transform, TypeName
from sequifier.project.column_facts import Facts, shown_value
from sequifier.project.inspect_columns import InspectedColumn

if TYPE_CHECKING:
    import polars as pl

Use = Literal["categorical", "real", "left out"]

FEW_VALUES = 20
MANY_VALUES = 1000
"""Number of categories above which a column whose rows mostly have rare ones is left out."""

ALL_KEPT = 50_000
"""Number of categories of a column up to which its rare ones are kept too."""

RARE = 5
"""Number of rows below which a category is rare: a model cannot learn it."""

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
    "cents bytes pressure power load usage consumption profit tax discount rpm voltage current "
    "humidity vibration torque frequency altitude"
)


@dataclass(frozen=True)
class Choice:
    """The use of one column.

    Attributes:
        column: its name.
        facts: its statistics.
        use: its use.
        why: the reason, for the config and the user; empty where none is needed.
        declared: its entry in column_types, where its values alone would give another type.
        fill: its entry in fill_null.
        min_count: its entry in min_count.
        rare: the treatment of rare categories, in words.
        n_kept: number of categories that are not rare.
        transform: its entry in transforms.
        skewed: the reason for the transform.
    """

    column: str
    facts: Facts
    use: Use
    why: str = ""
    declared: TypeName | None = None
    fill: FillNull | None = None
    min_count: int | None = None
    rare: str = ""
    n_kept: int | None = None
    transform: Transform | None = None
    skewed: str = ""

    @property
    def n_categories(self) -> int:
        """Number of outputs of a model that predicts the column; 1 for a real column."""
        return 1 if self.use == "real" else self.n_kept or self.facts.n_distinct

    @property
    def summary(self) -> str:
        """Its values, in a few words."""
        facts = self.facts
        if facts.kind in ("integer", "number", "date", "datetime") and self.use != "categorical":
            return f"{shown_value(facts.lowest)} to {shown_value(facts.highest)}"
        return f"{facts.distinct_text} values"


def choose(column: str, facts: Facts, content: InspectedColumn, *, is_target: bool) -> Choice:
    """Choose the use of a column; rare categories are treated later, see `without_rare`.

    A target is left out only where it cannot be predicted at all, which the caller reports as an error.
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
            why = "its digits are kept as text: they have leading zeros, or do not fit in 64 bits"
            choice = Choice(column, facts, "categorical", why, declared="String")
        case _:
            choice = Choice(column, facts, "categorical")
    if facts.n_missing:
        fill: FillNull = "mean" if choice.use == "real" else "unknown"
        return replace(choice, fill=fill)
    return choice


def without_rare(choice: Choice, rows: "pl.LazyFrame", *, is_target: bool) -> Choice:
    """Leave out the rare categories of a column with many; or the whole column where most rows have rare ones."""
    facts = choice.facts
    if choice.use != "categorical" or facts.n_distinct <= MANY_VALUES:
        return choice
    import polars as pl

    counts = rows.select(pl.col(choice.column).drop_nulls().alias("value")).group_by("value").agg(n=pl.len())
    kept = counts.filter(pl.col("n") >= RARE)
    n_kept, rows_kept = kept.select(pl.len(), pl.col("n").sum()).collect(engine="streaming").row(0)
    fraction = (rows_kept or 0) / max(facts.n_known, 1)
    if fraction < 0.5 and not is_target:
        what = facts.free_text or f"{facts.distinct_text} values"
        why = f"{what}, most of them fewer than {RARE} times: too rare to learn from"
        return Choice(choice.column, facts, "left out", why)
    if not n_kept or fraction == 1 or facts.n_distinct <= ALL_KEPT:
        return choice
    what = f"the {n_kept:,} values that occur {RARE} times or more cover {percent(fraction)} of the rows"
    return replace(choice, min_count=RARE, n_kept=n_kept, rare=f"{what}; the others become `unknown`")


def percent(fraction: float) -> str:
    """Return a fraction as a percentage that is 0 or 100 only where the fraction is exactly 0 or 1."""
    if fraction in (0.0, 1.0):
        return f"{fraction:.0%}"
    return f"{min(max(100 * fraction, 0.1), 99.9):.1f} %"


def words_of(column: str) -> set[str]:
    """Return the words in a column name: `unitPrice_EUR` has unit, price and eur."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", column)}


def is_id_like(column: str, facts: Facts) -> bool:
    """Whether nearly every row has another value, and integers by name or values only count the rows."""
    fraction = _NEARLY_ALL_ESTIMATED if facts.is_estimated else _NEARLY_ALL
    if facts.n_known < FEW_VALUES or facts.n_distinct < fraction * facts.n_known:
        return False
    if facts.kind == "text":
        return True
    words = words_of(column)
    if facts.kind != "integer" or words & _MEASURE_WORDS:
        return False
    is_dense = facts.highest - facts.lowest < 1.1 * facts.n_distinct
    return bool(words & _ID_WORDS) or is_dense


def _useless(column: str, facts: Facts, *, is_target: bool) -> str:
    """Return why a column cannot be used; empty where it can."""
    if facts.kind == "other":
        return "its values are lists, times or another type that cannot be encoded"
    if facts.kind == "empty" or not facts.n_known:
        return "it has no values"
    if facts.n_distinct == 1:
        only = shown_value(facts.lowest)
        also = f"; {facts.n_missing:,} rows have no value" if facts.n_missing else ""
        return f"it is always {only[:40]}{also}"
    if facts.kind in ("date", "datetime"):
        return "dates are no features themselves; time_features computes their weekday, or the time until them"
    if is_target:
        return ""
    if is_id_like(column, facts):
        if facts.free_text:
            return f"{facts.free_text}; derive categories or numbers from it to use it"
        return f"nearly every row has another value ({facts.distinct_text} in {facts.n_known:,} rows), like an id"
    if facts.n_missing > _NEARLY_ALL * facts.n_rows:
        return f"{percent(facts.n_missing / facts.n_rows)} of its values are missing"
    if column in ("sequenceId", "itemPosition", "isContext"):
        return "every split has a column of this name already; rename it to use it"
    return ""


def _integer(column: str, facts: Facts) -> Choice:
    words, n, rows = words_of(column), facts.n_distinct, facts.n_known
    if facts.highest > _LARGEST_INTEGER:
        return Choice(column, facts, "categorical", "its integers do not fit in 64 bits", declared="String")
    if n <= FEW_VALUES or (words & _CODE_WORDS and not words & _MEASURE_WORDS):
        return Choice(column, facts, "categorical")
    reasons = (
        (facts.lowest < 0, "it has negative values"),
        (bool(words & _MEASURE_WORDS), "its name is that of a measurement"),
        (n > MANY_VALUES, f"it has {n:,} distinct values"),
        (n * RARE > rows, f"its {n:,} values occur {rows / n:.1f} times each on average"),
    )
    why = next((reason for applies, reason in reasons if applies), "")
    if not why:
        return Choice(column, facts, "categorical")
    return Choice(column, facts, "real", f"integers, treated as a measurement because {why}", declared="real")


def _number(column: str, facts: Facts) -> Choice:
    if facts.is_whole and facts.n_distinct <= FEW_VALUES and facts.n_known >= 5 * FEW_VALUES:
        why = f"treated as categories, because it has only {facts.n_distinct} distinct integers"
        return Choice(column, facts, "categorical", why, declared="categorical")
    return Choice(column, facts, "real")
