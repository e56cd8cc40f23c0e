"""Numbers in text: which values are numbers, in which style a column writes them, and what they are.

A number may have a sign (`-`, the Unicode minus, behind the number as SAP writes it, or parentheses as accountants
do), a currency, a percent sign, groups of three digits, and a decimal point or comma. Whether `1,234` is a thousand
or a little more than one is decided by all values of a column together. Where they do not decide it, nothing is
guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from sequifier.artifacts.number_style import NumberStyle

MARKS = (
    *("", "na", "n/a", "#n/a", "#n/a n/a", "#na", "#nv", "n.a.", "<na>", "nat", "null", "(null)", "none", "missing"),
    *("-", "--", "–", "—", "?", ".", "\\n", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
)
"""Texts in lower case that stand for a missing value in a column of numbers or dates: those of R, pandas, SQL, Excel,
SAS and C. `nan` is none of them: it is a number to every program."""

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
"""Proportion of numbers above which a column of text is probably meant to be one of numbers."""


@dataclass(frozen=True)
class NumberLook:
    """What a text column turned out to be.

    Attributes:
        kind: what all values are, apart from missing ones. A code is an integer with zeros in front, or one of many
            that all begin with +: its digits name something. Ambiguous numbers fit several styles.
        style: of the numbers.
        n_known: values that are not null.
        n_marks: of those, texts that stand for a missing value.
        n_odd: of those, texts that are not numbers, where nearly all others are, or where numbers are declared.
        fits: the styles that fit equally well, where they give different numbers.
        why: what keeps all values from being numbers, where it is not the single value.
    """

    kind: Kind
    n_known: int
    n_marks: int
    style: NumberStyle = PLAIN
    n_odd: int = 0
    fits: tuple[NumberStyle, ...] = ()
    why: str = ""


def stripped(text: pl.Expr) -> pl.Expr:
    """Text without blanks around it, of any kind that Unicode knows."""
    return text.str.strip_chars()


def is_mark(text: pl.Expr) -> pl.Expr:
    """Whether a text stands for a missing value among numbers or dates."""
    return stripped(text).str.to_lowercase().is_in(MARKS)


def first_look(text: pl.Expr) -> dict[str, pl.Expr]:
    """Counts that say whether a column may hold numbers."""
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


def needs_second_look(counts: Mapping[str, Any], known: NumberStyle | None = None) -> bool:
    """Whether the first look leaves open how the numbers are written."""
    n_values = counts["known"] - counts["marks"]
    is_unusual = known is not None and known.decimal == ","  # to which 1.5 is not what it is to everybody else
    return bool((is_unusual or n_values > counts["plain"]) and counts["like"] >= NEARLY_ALL * n_values > 0)


def second_look(text: pl.Expr) -> dict[str, pl.Expr]:
    """Counts that say in which style numbers are written."""
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


def decide(counts: Mapping[str, Any], *, is_declared: bool = False, known: NumberStyle | None = None) -> NumberLook:
    """What a column is, from the counts of the first look, and of the second where it was needed.

    Args:
        counts: of all its values.
        is_declared: numbers are expected: digits with zeros in front are no codes, and odd texts are counted however
            many there are.
        known: the style that a metadata file or a model stored. It decides between styles that fit equally well.
    """
    n_known, n_marks = counts["known"], counts["marks"]
    n_values = n_known - n_marks

    def look(kind: Kind, style: NumberStyle = PLAIN, **more: Any) -> NumberLook:
        return NumberLook(kind, n_known, n_marks, style, **more)

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
            why = f"{found.n:,} are written like {found.style.example}, the others are not"
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
        return look("text")  # nothing but `nan` or `inf`
    return look("number", found.style)


@dataclass(frozen=True)
class _Found:
    """The style that most values fit, how many do, and the styles between which nothing decides."""

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
    stored = [
        style for style in fitting if known and (style.thousands, style.decimal) == (known.thousands, known.decimal)
    ]
    if stored:
        return _Found(stored[0].model_copy(update=unit), best[what], (stored[0],), is_whole)
    # Styles that differ in what no value has give the same numbers: the simplest stands for them.
    without_groups = {style.decimal for style in fitting if not style.thousands}
    fitting = [style for style in fitting if not style.thousands or style.decimal not in without_groups]
    with_point = {style.thousands for style in fitting if style.decimal == "."}
    fitting = [style for style in fitting if style.decimal == "." or style.thousands not in with_point]
    if fitting[0] == PLAIN and not any(unit.values()):
        fitting = fitting[:1]  # 1.234 is what every program takes it for
    elif len(fitting) > 1 and (unit["currency"] or _has_round_thousands(counts, what, best[what])):
        fitting = [style for style in fitting if style.thousands]
    fits = tuple(style.model_copy(update=unit) for style in fitting)
    return _Found(fits[0], best[what], fits, is_whole)


def _has_round_thousands(counts: Mapping[str, Any], what: str, n: int) -> bool:
    """Whether digits come in groups: 999 stands beside many 1,234. Of fractions, one in ten would end in a zero, which
    is left out, and so have fewer digits."""
    n_without_mark = counts[f"{what} {_STYLES.index(PLAIN)}"]
    return bool(n_without_mark) and n - n_without_mark >= MANY_GROUPS


def _unit_error(counts: Mapping[str, Any], found: _Found, known: NumberStyle | None) -> str:
    low, high = counts.get("min currency"), counts.get("max currency")
    if low != high:
        return f"amounts are in {low} and {high}"
    if known and known.percent != found.style.percent:
        return f"values were written like {known.example} before" + ("" if known.percent else ", without %")
    if known and known.currency and low and low != known.currency:
        return f"amounts were in {known.currency} before"
    return ""


def number(text: pl.Expr, style: NumberStyle) -> pl.Expr:
    """The numbers that text stands for, as Float64; null where it stands for none in this style."""
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
        return pl.coalesce(value.cast(pl.Float64, strict=False), styled)  # nan and inf are numbers, too
    return styled


def integer(text: pl.Expr) -> pl.Expr:
    """The integers that text stands for, as Int64; null where it stands for none."""
    return stripped(text).str.replace(r"^\x{2212}", "-").cast(pl.Int64, strict=False)


def boolean(text: pl.Expr) -> pl.Expr:
    """True and False in any case; null for other texts."""
    value = stripped(text).str.to_lowercase()
    return pl.when(value.is_in(["true", "false"])).then(value == "true")


def _body(value: pl.Expr) -> pl.Expr:
    """Digits and what is between them, without sign, currency and percent; all blanks and apostrophes alike."""
    body = value.str.replace(_BEFORE, "").str.replace(_BEHIND, "")
    return body.str.replace_all(r"\s", " ").str.replace_all("’", "'", literal=True)


def _pattern(style: NumberStyle) -> str:
    whole = "[0-9]+"
    if style.thousands:
        mark = f"[{style.thousands}]"
        whole = f"(?:[0-9]+|[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{3}})+"
        whole += "|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3})" if style.thousands == "," else ")"  # India: 12,34,567
    return f"^(?:{whole}(?:[{style.decimal}][0-9]*)?|[{style.decimal}][0-9]+)(?:[eE][+-]?[0-9]+)?$"
