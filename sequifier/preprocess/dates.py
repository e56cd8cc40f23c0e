"""Dates in text: the common format of all values of a column, and the instant of each value.

Years have four digits. All values of the column together decide whether 03/04/2013 is in March or April; where they do
not decide it, nothing is guessed. A time zone is an offset, or a name of UTC.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from sequifier.preprocess.numbers import is_mark, stripped

ISO_DATE = "%Y-%m-%d"
ISO_DATETIMES = tuple(
    f"%Y-%m-%d{between}{clock}"
    for between in ("T", " ")
    for clock in ("%H:%M:%S%.f", "%H:%M", "%H:%M:%S%.f%#z", "%H:%M%#z")
)
FIRST_YEAR, LAST_YEAR = 1000, 9999

DateKind = Literal["date", "datetime us", "datetime ns"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)
_WEEKDAY = (
    r"(?:(?:mon(?:day)?|tue(?:s(?:day)?)?|wed(?:nesday)?|thu(?:r(?:s(?:day)?)?)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)"
    r"\.?,?\s+)?"
)
_CLOCK = (
    r"(?P<H>[0-9]{1,2})[:.](?P<M>[0-9]{2})(?:[:.](?P<S>[0-9]{2})(?:[.,](?P<f>[0-9]{1,9}))?)?"
    r"(?:\s*(?P<half>[ap])\.?m\.?)?"
)
_NAMED = r"(?:\s+[a-z]{2,5}|\[[^\[\]]*\]|\s*\([^()]*\))?"  # after an offset, as in Go, Java and JavaScript
_OFFSET = rf"(?P<sign>[+-])(?P<oh>[0-9]{{2}})(?::?(?P<om>[0-9]{{2}}))?{_NAMED}"
_ZONE = rf"(?:\s*(?:(?P<utc>z|utc|gmt|ut)(?:\[[^\[\]]*\])?)?\s*(?:{_OFFSET})?)"
_TIME = rf"(?:(?:t|\s*,\s*|\s+(?:at\s+)?|_|:){_CLOCK}{_ZONE})?"


@dataclass(frozen=True)
class _Form:
    """A format of dates.

    Attributes:
        shown: the format in messages; `DateStyle` fills in DD and MM where their order is open.
        pattern: regular expression with groups y, m (or mon), d; or a, b, y where the order of day and month is open.
    """

    shown: str
    pattern: str

    @property
    def is_open(self) -> bool:
        return "(?P<a>" in self.pattern


def _numeric(sep: str) -> str:
    return rf"(?P<a>[0-9]{{1,2}})[{sep}](?P<b>[0-9]{{1,2}})[{sep}](?P<y>[0-9]{{4}})"


_FORMS: Mapping[str, _Form] = {
    form.shown: form
    for form in (
        *(
            _Form(
                f"YYYY{sep}MM{sep}DD",
                rf"(?P<y>[0-9]{{4}})[{sep}](?P<m>[0-9]{{1,2}})[{sep}](?P<d>[0-9]{{1,2}}){_TIME}",
            )
            for sep in "-/."
        ),
        _Form(
            "YYYYMMDDThhmmss",
            r"(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})[t\s_](?P<H>[0-9]{2}):?(?P<M>[0-9]{2})"
            rf"(?::?(?P<S>[0-9]{{2}})(?:[.,](?P<f>[0-9]{{1,9}}))?)?(?P<half>[ap]m)?{_ZONE}",
        ),
        *(_Form(f"?{sep}?{sep}YYYY", _numeric(sep) + _TIME) for sep in "/-."),
        _Form(
            "DD Mon YYYY",
            rf"{_WEEKDAY}(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?[\s./-]+(?P<mon>{_MONTH})\.?,?[\s./-]+(?P<y>[0-9]{{4}}){_TIME}",
        ),
        _Form(
            "Mon DD, YYYY",
            rf"{_WEEKDAY}(?P<mon>{_MONTH})[.\s/-]+(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?,?[\s/-]+(?P<y>[0-9]{{4}}){_TIME}",
        ),
        _Form("YYYY Mon DD", rf"(?P<y>[0-9]{{4}})[\s./-]+(?P<mon>{_MONTH})[\s./-]+(?P<d>[0-9]{{1,2}}){_TIME}"),
        _Form(
            "Mon DD hh:mm:ss YYYY",
            rf"{_WEEKDAY}(?P<mon>{_MONTH})\s+(?P<d>[0-9]{{1,2}})\s+{_CLOCK}{_ZONE}\s+(?P<y>[0-9]{{4}})",
        ),
    )
}


@dataclass(frozen=True)
class DateStyle:
    """The format of the dates of a column.

    Attributes:
        form: a key of `_FORMS`.
        day_first: the order of day and month, where the form leaves it open.
        kind: date where no value has a time of day; nanoseconds where a value has more than six decimals.
        iso: the format for polars, for ISO 8601.
    """

    form: str
    day_first: bool = True
    kind: DateKind = "datetime us"
    iso: str = ""

    @property
    def shown(self) -> str:
        """The format in letters: DD/MM/YYYY."""
        first, second = ("DD", "MM") if self.day_first else ("MM", "DD")
        return self.form.replace("?", first, 1).replace("?", second, 1)


@dataclass(frozen=True)
class DateFindings:
    """The dates of a text column.

    Attributes:
        style: their format; None where there are no dates, or where several formats fit.
        n_values: number of values except missing ones.
        n_odd: number of these that do not fit the format.
        why: why there is no format, though most of the values look like dates.
        note: how the order of day and month was decided.
        has_offsets: whether they have offsets from UTC, so that they are instants and not local times.
    """

    style: DateStyle | None
    n_values: int
    n_odd: int = 0
    why: str = ""
    note: str = ""
    has_offsets: bool = False


def iso_style(example: str) -> DateStyle | None:
    """Return the format of an ISO 8601 date that polars can parse; None for other texts."""
    shown = pl.Series([example])
    if not re.match(r"\d{4}-", example):
        return None
    if shown.str.to_date(ISO_DATE, strict=False).null_count() == 0:
        return DateStyle("YYYY-MM-DD", kind="date", iso=ISO_DATE)
    for format in ISO_DATETIMES:
        if shown.str.to_datetime(format, strict=False, time_unit="us").null_count() == 0:
            return DateStyle("YYYY-MM-DD", iso=format)
    return None


def date_counts(text: pl.Expr) -> dict[str, pl.Expr]:
    """Return counts of each form over a column; slow, so use it only where a value `is_like_a_date`."""
    value = stripped(text)
    counts: dict[str, pl.Expr] = {"known": text.count(), "marks": is_mark(text).sum()}
    for name, form in _FORMS.items():
        found = _groups(value, form)
        counts[f"{name} n"] = value.str.contains(_whole(form)).sum()
        counts[f"{name} times"] = found.struct.field("H").is_not_null().sum()
        zone = pl.coalesce(found.struct.field("utc"), found.struct.field("sign")).is_not_null()
        counts[f"{name} zones"] = zone.sum()
        counts[f"{name} max digits"] = found.struct.field("f").str.len_bytes().max()
        if form.is_open:
            for part in "ab":
                number = found.struct.field(part).cast(pl.Int64, strict=False)
                counts[f"{name} max {part}"] = number.max()
                counts[f"{name} above {part}"] = (number > 12).sum()
    return counts


def mixed_forms(counts: Mapping[str, Any], text: pl.Expr) -> dict[str, tuple[int, pl.Expr]]:
    """Return the formats of a column that has several: format -> number of its values, and which values they are.

    Args:
        counts: `date_counts` over all values.
        text: the column.
    """
    value = stripped(text)
    found: dict[str, tuple[int, pl.Expr]] = {}
    for name, form in _FORMS.items():
        if not (n := counts[f"{name} n"]):
            continue
        if not form.is_open or not (counts[f"{name} above a"] and counts[f"{name} above b"]):
            day_first = not form.is_open or not counts[f"{name} above b"]
            found[DateStyle(name, day_first).shown] = (n, value.str.contains(_whole(form)))
            continue
        for part, day_first in (("a", True), ("b", False)):
            is_day = (_groups(value, form).struct.field(part).cast(pl.Int64, strict=False) > 12).fill_null(False)
            found[DateStyle(name, day_first).shown] = (counts[f"{name} above {part}"], is_day)
    return found if len(found) > 1 else {}


def is_like_a_date(text: str) -> bool:
    """Whether a value has one of the forms, or is a date that is refused for a reason."""
    value = text.strip()
    return any(re.search(_whole(form).replace("(?i)", ""), value, re.IGNORECASE) for form in _FORMS.values()) or bool(
        why_not(value)
    )


def decide_dates(counts: Mapping[str, Any], known: str = "", zone: str | None = None) -> DateFindings:
    """Decide on the format of most values.

    Args:
        counts: `date_counts` over all values.
        known: the stored format (`DateStyle.shown`), which decides the order of day and month where the values do not.
        zone: the time zone of values without an offset from UTC; None: unknown.
    """
    n_values = counts["known"] - counts["marks"]
    name = max(_FORMS, key=lambda name: counts[f"{name} n"])
    n = counts[f"{name} n"]
    if not n:
        return DateFindings(None, n_values, n_values)
    kind: DateKind = "date"
    if counts[f"{name} times"]:
        kind = "datetime ns" if (counts[f"{name} max digits"] or 0) > 6 else "datetime us"
    zones = counts[f"{name} zones"]
    if 0 < zones < n and zone is None:
        why = f"{zones:,} of its dates have a time zone, {n - zones:,} have none (time_zone would be theirs)"
        return DateFindings(None, n_values, n_values - n, why)
    if not _FORMS[name].is_open:
        return DateFindings(DateStyle(name, kind=kind), n_values, n_values - n, has_offsets=zones > 0)
    day_first, month_first = DateStyle(name, True, kind), DateStyle(name, False, kind)
    both = f"{day_first.shown} and {month_first.shown}"
    a, b = counts[f"{name} max a"], counts[f"{name} max b"]
    if a > 12 and b > 12:
        return DateFindings(None, n_values, n_values - n, f"its dates have two formats, {both}: both parts exceed 12")
    if a <= 12 and b <= 12 and name != "?.?.YYYY" and known not in (day_first.shown, month_first.shown):
        return DateFindings(None, n_values, n_values - n, f"the dates fit several formats: {both}")
    style = month_first if b > 12 or (a <= 12 and known == month_first.shown) else day_first
    note = ""
    if a > 12 or b > 12:
        note = f"its {'first' if style.day_first else 'second'} part goes up to {max(a, b)}"
    return DateFindings(style, n_values, n_values - n, note=note, has_offsets=zones > 0)


def date(text: pl.Expr, style: DateStyle, zone: str | None = None) -> pl.Expr:
    """Return text as dates or datetimes (UTC); null where it has another format or the date does not exist.

    Args:
        text: the text.
        style: its format.
        zone: the time zone of times without an offset from UTC; None: UTC.
    """
    unit: Any = "ns" if style.kind == "datetime ns" else "us"
    if style.iso == ISO_DATE:
        parsed = text.str.to_date(ISO_DATE, strict=False)
    elif style.iso:
        parsed = text.str.to_datetime(style.iso, strict=False, time_unit=unit).dt.replace_time_zone(None)
        if "%#z" not in style.iso:
            parsed = in_utc(parsed, zone)
        # Polars truncates to microseconds.
        is_long = (
            text.str.contains(r"[.][0-9]{7}")
            if "%#z" in style.iso
            else text.str.len_bytes() > len("2024-03-28T10:00:00.123456")
        )
        parsed = pl.when(~is_long).then(parsed)
    else:
        parsed = _moment(
            _groups(stripped(text), _FORMS[style.form]), style, unit, zone if style.kind != "date" else None
        )
        if style.kind == "date":
            parsed = parsed.cast(pl.Date)
    return pl.when(parsed.dt.year().is_between(FIRST_YEAR, LAST_YEAR)).then(parsed)


def in_utc(local: pl.Expr, zone: str | None) -> pl.Expr:
    """Return local times of a zone in UTC; the earlier instant of two, null for a time that clocks skip."""
    if zone is None:
        return local
    return (
        local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        .dt.convert_time_zone("UTC")
        .dt.replace_time_zone(None)
    )


def why_not(text: str) -> str:
    """Return why a text that looks like a date is not read; empty where it does not look like one."""
    value = text.strip()
    number, name = r"\d{1,2}", rf"(?:{_MONTH})"
    end = r"(?:[T\s,:].*)?$"
    if re.match(rf"{number}([-/.])(?:{number}|{name})\1{number}{end}", value, re.IGNORECASE) or re.match(
        rf"{_WEEKDAY}(?:{number}[\s-]+{name},?|{name}\s+{number},?)[\s-]+'?\d\d(?:\s+\d.*)?$", value, re.IGNORECASE
    ):
        return "the year has two digits, and its place and century are unknown"
    if re.match(r"(?:\d{3}|0\d{3})[-/.]\d{1,2}[-/.]\d{1,2}(?!\d)", value):
        return f"the year is below {FIRST_YEAR}"
    zone = re.search(rf"(?:^\d|{_MONTH}).*:\d\d(?:[.,]\d+)?\s*([A-Z][A-Z/_]+)(?:\s+\d{{4}})?$", value, re.IGNORECASE)
    if zone and zone[1].upper() not in ("UTC", "GMT", "UT", "AM", "PM"):
        return f"its time zone `{zone[1]}` is not an offset from UTC like -05:00"
    if re.match(r"\d{4}-?W\d\d", value):
        return "it is a week of a year"
    if re.match(r"\d{4}[-/]\d{1,2}$", value):
        return "the day is missing"
    return ""


def year_last(rows: pl.LazyFrame, column: str) -> str:
    """Return the format of integers that are dates with the year last, DDMMYYYY for 28032024; empty for others.

    Their order as integers is by day or month. A counter has few different leading digits and many last ones; dates
    have many days and few years.
    """
    text = rows.select(pl.col(column).cast(pl.String)).drop_nulls()
    first = text.head(1).collect()
    if not first.height or not re.fullmatch("[0-9]{5,8}", first.item()):
        return ""
    size, year = (8, "%Y") if len(first.item()) > 6 else (6, "%y")
    digits = pl.when(pl.col(column).str.contains("^[0-9]{5,8}$")).then(pl.col(column).str.zfill(size))
    dates = {shown: digits.str.to_date(f"{format}{year}", strict=False) for shown, format in _YEAR_LAST.items()}
    is_date = {shown: dates[shown].dt.year().is_between(1900, 2099).fill_null(False) for shown in dates}
    if not any(first.select(is_date[shown]).item() for shown in dates):
        return ""
    is_year_first = digits.str.to_date(f"{year}%m%d", strict=False).is_not_null()
    every = {shown: is_date[shown].all() for shown in dates} | {"year first": is_year_first.all()}
    n_days, n_years = digits.str.slice(0, 4).n_unique(), digits.str.slice(4).n_unique()
    found = text.select(**every, n_days=n_days, n_years=n_years).collect(engine="streaming").row(0, named=True)
    if found["year first"] or found["n_days"] < max(_LEAST_DAYS, found["n_years"] + 1):
        return ""
    return next((shown + "Y" * (size - 4) for shown in dates if found[shown]), "")


_YEAR_LAST = {"DDMM": "%d%m", "MMDD": "%m%d"}
_LEAST_DAYS = 10
"""Number of distinct days from which integers that may be dates are treated as dates."""


def _whole(form: _Form) -> str:
    return rf"(?i)^(?:{form.pattern})$"


def _groups(value: pl.Expr, form: _Form) -> pl.Expr:
    return value.str.extract_groups(_whole(form))


def _moment(found: pl.Expr, style: DateStyle, unit: Any, zone: str | None) -> pl.Expr:
    """Return the groups of a form as an instant in UTC."""
    form = _FORMS[style.form]

    def part(name: str, default: str = "00") -> pl.Expr:
        return found.struct.field(name).fill_null(default)

    day, month = "d", "m"
    if form.is_open:
        day, month = ("a", "b") if style.day_first else ("b", "a")
    if "(?P<mon>" in form.pattern:
        short = found.struct.field("mon").str.to_lowercase().str.slice(0, 3)
        month_text = short.replace_strict(_MONTHS, [f"{number:02}" for number in range(1, 13)], default=None)
    else:
        month_text = found.struct.field(month)
    hour = part("H").cast(pl.Int64, strict=False)
    half = found.struct.field("half").str.to_lowercase()
    is_in_half = half.is_null() | hour.is_between(1, 12)
    hour = pl.when(half.is_null()).then(hour).otherwise(hour % 12 + pl.when(half == "p").then(12).otherwise(0))
    text = pl.concat_str(
        [
            *(found.struct.field("y"), pl.lit("-"), month_text, pl.lit("-"), found.struct.field(day), pl.lit(" ")),
            *(hour.cast(pl.String).str.zfill(2), pl.lit(":"), part("M"), pl.lit(":"), part("S")),
            *(pl.lit("."), part("f", "0")),
        ]
    )
    local = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit=unit)
    minutes = part("oh").cast(pl.Int64) * 60 + part("om").cast(pl.Int64)
    is_offset = (part("oh").cast(pl.Int64) <= 18) & (part("om").cast(pl.Int64) < 60)
    offset = pl.duration(minutes=pl.when(found.struct.field("sign") == "-").then(-minutes).otherwise(minutes))
    has_offset = pl.coalesce(found.struct.field("utc"), found.struct.field("sign")).is_not_null()
    moment = pl.when(has_offset).then(local - offset.cast(pl.Duration(unit))).otherwise(in_utc(local, zone))
    return pl.when(is_in_half & is_offset).then(moment)
