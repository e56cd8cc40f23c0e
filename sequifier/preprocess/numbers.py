"""Numbers in text: which values of a column are numbers, in which format, and their values.

A number may have a sign (`-` or the Unicode minus, after the number as in SAP, or parentheses as in accounting), a
currency, a percent sign, groups of three digits, and a decimal point or comma. All values of a column together decide
whether `1,234` is 1234 or 1.234. Where they do not decide it, nothing is guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import polars as pl

from sequifier.artifacts.number_style import NumberStyle

MARKS = (
    *("", "na", "n/a", "#n/a", "#n/a n/a", "#na", "#nv", "n.a.", "<na>", "nat", "null", "(null)", "none", "missing"),
    *("-", "--", "–", "—", "?", ".", "\\n", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
)
"""Texts in lower case that mark a missing value in a column of numbers or dates, from R, pandas, SQL, Excel, SAS and C.
`nan` is not among them: every program reads it as a number."""

PLAIN = NumberStyle()

_CURRENCY = (
    r"(?:US\$|A\$|C\$|R\$|\p{Sc}|USD|EUR|GBP|JPY|CHF|CNY|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|SGD|HKD|KRW"
    r"|Fr\.|kr\.?|zł|Kč|Ft|Rs\.?)"
)
_SIGN, _MINUS = r"[+\-\x{2212}]", r"[\-\x{2212}]"
_DIGITS = r"(?:[0-9][0-9.,'’\s]*|[.,][0-9]+)(?:[eE][+\-]?[0-9]+)?"
_LIKE = (
    rf"^(?:{_SIGN}?\s*(?:{_CURRENCY}\s*{_SIGN}?\s*)?{_DIGITS}\s*(?:%|{_CURRENCY})?"
    rf"|(?:{_CURRENCY}\s*)?{_DIGITS}\s*(?:%|{_CURRENCY})?\s*{_MINUS}(?:\s*(?:%|{_CURRENCY}))?"
    rf"|\(\s*(?:{_CURRENCY}\s*)?{_DIGITS}\s*(?:%|{_CURRENCY})?\s*\)"
    rf"|\(\s*{_DIGITS}\s*\)\s*(?:%|{_CURRENCY}))$"
)
_BEFORE = rf"^[(\s]*{_SIGN}?\s*(?:{_CURRENCY}\s*)?{_SIGN}?\s*"
_BEHIND = rf"[\s)]*(?:%|{_CURRENCY})?\s*[)\-\x{{2212}}]?\s*(?:%|{_CURRENCY})?$"

_STYLES = tuple(
    NumberStyle(thousands=thousands, decimal=decimal)
    for thousands, decimal in (
        ("", "."),
        ("", ","),
        (",", "."),
        (".", ","),
        ("'", "."),
        ("'", ","),
        (" ", "."),
        (" ", ","),
    )
)

Kind = Literal["empty", "integer", "large integer", "code", "number", "boolean", "text", "ambiguous"]

MANY_GROUPS = 100
NEARLY_ALL = 0.9
"""Fraction of numbers above which a column of text probably should be numbers."""

_WITH_UNIT = r"^[+\-\x{2212}]?[0-9]+(?:[.,][0-9]+)*\s*([°µ\p{L}][°µ\p{L}0-9/²³^*.]{0,9})$"
_LEAST_WITH_UNIT = 10


@dataclass(frozen=True)
class NumberFindings:
    """What the values of a text column are.

    Attributes:
        kind: the kind of all values except missing ones. Codes are integers with leading zeros, or with + in front of
            all: their digits are a name. Ambiguous numbers fit several formats.
        n_known: number of values that are not null.
        n_marks: number of these that mark missing values.
        style: format of the numbers.
        n_odd: number of texts that are not numbers, where nearly all others are, or where numbers are declared.
        fits: the formats that fit equally well but give different numbers.
        why: why the column is not numbers, where the reason is not a single value.
    """

    kind: Kind
    n_known: int
    n_marks: int
    style: NumberStyle = PLAIN
    n_odd: int = 0
    fits: tuple[NumberStyle, ...] = ()
    why: str = ""


_Text = TypeVar("_Text", pl.Expr, pl.Series)


def stripped(text: _Text) -> _Text:
    """Return text without Unicode whitespace around it."""
    return text.str.strip_chars()


def is_mark(text: pl.Expr) -> pl.Expr:
    """Whether a text marks a missing value among numbers or dates."""
    return stripped(text).str.to_lowercase().is_in(MARKS)


def number_counts(text: pl.Expr) -> dict[str, pl.Expr]:
    """Return counts that show whether a column may have numbers."""
    value = stripped(text)
    plain = value.cast(pl.Float64, strict=False)
    is_plain = plain.is_not_null()
    return {
        "known": text.count(),
        "marks": is_mark(text).sum(),
        "plain": is_plain.sum(),
        "finite": plain.is_finite().sum(),
        "digits": value.str.contains(r"^[+-]?[0-9]+$").sum(),
        "integers": value.cast(pl.Int64, strict=False).is_not_null().sum(),
        "padded": value.str.contains(r"^[+-]?0[0-9]+$").sum(),
        "plus": value.str.starts_with("+").sum(),
        "booleans": value.str.to_lowercase().is_in(["true", "false"]).sum(),
        "like": (is_plain | value.str.contains(_LIKE)).sum(),
    }


def needs_style_counts(counts: Mapping[str, Any], known: NumberStyle | None = None) -> bool:
    """Whether the format of the numbers is still open."""
    n_values = counts["known"] - counts["marks"]
    is_unusual = known is not None and known.decimal == ","  # in which 1.5 is not a plain number
    return bool((is_unusual or n_values > counts["plain"]) and counts["like"] >= NEARLY_ALL * n_values > 0)


def style_counts(text: pl.Expr) -> dict[str, pl.Expr]:
    """Return counts that show the format of numbers."""
    value = stripped(text)
    body, is_like = _body(value), value.str.contains(_LIKE)
    is_percent = value.str.contains("%", literal=True)
    currency = pl.when(is_like).then(value.str.extract(f"({_CURRENCY})", 1))
    counts = {}
    for number, style in enumerate(_STYLES):
        fits = is_like & body.str.contains(_pattern(style))
        counts[f"style {number}"] = (fits & is_percent.not_()).sum()
        counts[f"percent {number}"] = (fits & is_percent).sum()
    in_any = pl.any_horizontal(is_like & body.str.contains(_pattern(style)) for style in _STYLES)
    size = pl.when(is_like).then(body.str.len_bytes())
    return counts | {
        "min currency": currency.min(),
        "max currency": currency.max(),
        "in any style": in_any.sum(),
        "whole": value.str.contains(rf"^{_SIGN}?[0-9]+$").sum(),
        "min size": size.min(),
        "max size": size.max(),
    }


def decide_numbers(
    counts: Mapping[str, Any], *, is_declared: bool = False, known: NumberStyle | None = None
) -> NumberFindings:
    """Decide what a column is from `number_counts`, and `style_counts` where they are needed.

    Args:
        counts: counts over all its values.
        is_declared: whether numbers are declared: then digits with leading zeros are not codes, and any number of odd
            texts is counted.
        known: the stored format, which decides between formats that fit equally well.
    """
    n_known, n_marks = counts["known"], counts["marks"]
    n_values = n_known - n_marks

    def look(kind: Kind, style: NumberStyle = PLAIN, **more: Any) -> NumberFindings:
        return NumberFindings(kind, n_known, n_marks, style, **more)

    if not n_values:
        return look("empty")
    if counts["booleans"] == n_known:
        return look("boolean")
    found = _style(counts, known) if "style 0" in counts else _Found(PLAIN, counts["plain"], (PLAIN,))
    why = _unit_error(counts, found, known)
    if why:
        return look("text", known or found.style, n_odd=n_values if is_declared else 0, why=why)
    if found.n < n_values:
        is_nearly = is_declared or found.n >= NEARLY_ALL * n_values
        if counts.get("in any style") == n_values:
            why = f"{found.n:,} have the format {found.style.example}, the others do not"
            return look("text", found.style, n_odd=n_values - found.n, why=why)
        return look("text", found.style, n_odd=n_values - found.n if is_nearly else 0)
    is_phone = found.style.thousands == " " and found.is_whole and counts["min size"] == counts["max size"]
    if not is_declared and (counts["plus"] == n_values or is_phone):
        return look("code")
    if not is_declared and counts["digits"] == n_values and counts["padded"]:
        return look("code")
    if len(found.fits) > 1:
        return look("ambiguous", found.style, fits=found.fits)
    if counts.get("whole", counts["digits"]) == n_values:
        return look("integer" if counts["integers"] == counts["digits"] else "large integer")
    if not counts["finite"] and "style 0" not in counts and not is_declared:
        return look("text")  # only `nan` or `inf`
    return look("number", found.style)


@dataclass(frozen=True)
class _Found:
    """The format that most values fit, the number of these values, and all formats that fit equally well."""

    style: NumberStyle
    n: int
    fits: tuple[NumberStyle, ...]
    is_whole: bool = False  # no value has a fraction


def _style(counts: Mapping[str, Any], known: NumberStyle | None) -> _Found:
    best = {what: max(counts[f"{what} {i}"] for i in range(len(_STYLES))) for what in ("style", "percent")}
    what = "percent" if best["percent"] > best["style"] else "style"
    fitting = [style for i, style in enumerate(_STYLES) if counts[f"{what} {i}"] == best[what]]
    unit = {"percent": what == "percent", "currency": counts["min currency"] or ""}
    is_whole = {style.decimal for style in fitting if style.thousands == fitting[-1].thousands} == {".", ","}
    for style in fitting:
        if known and (style.thousands, style.decimal) == (known.thousands, known.decimal):
            return _Found(style.model_copy(update=unit), best[what], (style,), is_whole)
    fitting = _simplest(fitting)
    if fitting[0] == PLAIN and not any(unit.values()):
        fitting = fitting[:1]  # 1.234 is a plain number
    elif len(fitting) > 1 and (unit["currency"] or _has_round_thousands(counts, what, best[what])):
        fitting = [style for style in fitting if style.thousands]
    fits = tuple(style.model_copy(update=unit) for style in fitting)
    return _Found(fits[0], best[what], fits, is_whole)


def _simplest(fitting: Sequence[NumberStyle]) -> list[NumberStyle]:
    """Return formats without those that differ from others only in signs that no value has: the numbers are equal."""
    without_groups = {style.decimal for style in fitting if not style.thousands}
    fitting = [style for style in fitting if not style.thousands or style.decimal not in without_groups]
    with_point = {style.thousands for style in fitting if style.decimal == "."}
    return [style for style in fitting if style.decimal == "." or style.thousands not in with_point]


def _has_round_thousands(counts: Mapping[str, Any], what: str, n: int) -> bool:
    """Whether digits have groups: 999 beside many 1,234. Of fractions, one in ten would end in 0 and be shorter."""
    n_without_mark = counts[f"{what} {_STYLES.index(PLAIN)}"]
    return bool(n_without_mark) and n - n_without_mark >= MANY_GROUPS


def _unit_error(counts: Mapping[str, Any], found: _Found, known: NumberStyle | None) -> str:
    low, high = counts.get("min currency"), counts.get("max currency")
    if low != high:
        return f"amounts are in {low} and {high}"
    if known and known.percent != found.style.percent:
        return f"earlier values had the format {known.example}" + ("" if known.percent else ", without %")
    if known and known.currency and low and low != known.currency:
        return f"amounts were in {known.currency} before"
    return ""


def number(text: pl.Expr, style: NumberStyle) -> pl.Expr:
    """Return text as Float64; null where it is not a number in this format."""
    value = stripped(text)
    body = _body(value)
    currency = value.str.extract(f"({_CURRENCY})", 1)
    fits = value.str.contains(_LIKE) & body.str.contains(_pattern(style))
    fits &= value.str.contains("%", literal=True) == style.percent
    fits &= currency.is_null() | (currency == style.currency)
    if style.thousands:
        body = body.str.replace_all(style.thousands, "", literal=True)
    if style.decimal == ",":
        body = body.str.replace(",", ".", literal=True)
    is_negative = value.str.contains(rf"^\(|^[^0-9]*{_MINUS}|{_MINUS}[^0-9]*$")
    size = body.cast(pl.Float64, strict=False)
    styled = pl.when(fits).then(pl.when(is_negative).then(-size).otherwise(size))
    if style.decimal == "." and not style.percent:
        return pl.coalesce(value.cast(pl.Float64, strict=False), styled)  # also nan and inf
    return styled


def integer(text: pl.Expr) -> pl.Expr:
    """Return text as Int64; null where it is not an integer."""
    return stripped(text).str.replace(r"^\x{2212}", "-").cast(pl.Int64, strict=False)


def boolean(text: pl.Expr) -> pl.Expr:
    """Return true and false in any case as Boolean; null for other texts."""
    value = stripped(text).str.to_lowercase()
    return pl.when(value.is_in(["true", "false"])).then(value == "true")


def unit_of(categories: pl.Series) -> str:
    """Return the unit of categories that nearly all are numbers with the same unit, `kg` for `5 kg`; empty for others.

    A few categories with letters behind a number may be names, like the seats 12A and 14A.
    """
    units = stripped(categories).str.extract(_WITH_UNIT, 1).drop_nulls()
    if len(units) < max(_LEAST_WITH_UNIT, NEARLY_ALL * len(categories)):
        return ""
    unit, n = units.value_counts(sort=True).row(0)
    return str(unit) if n >= NEARLY_ALL * len(categories) else ""


def _body(value: pl.Expr) -> pl.Expr:
    """Return digits and separators, without sign, currency and percent; whitespace and apostrophes are unified."""
    body = value.str.replace(_BEFORE, "").str.replace(_BEHIND, "")
    return body.str.replace_all(r"\s", " ").str.replace_all("’", "'", literal=True)


def _pattern(style: NumberStyle) -> str:
    whole = "[0-9]+"
    if style.thousands:
        mark = f"[{style.thousands}]"
        whole = f"(?:[0-9]+|[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{3}})+"
        whole += "|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3})" if style.thousands == "," else ")"  # India: 12,34,567
    return f"^(?:{whole}(?:[{style.decimal}][0-9]*)?|[{style.decimal}][0-9]+)(?:[eE][+-]?[0-9]+)?$"
