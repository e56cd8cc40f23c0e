"""`time_features`: the columns that `preprocess` computes from dates, their values, and the units of time."""

import zoneinfo
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator

from sequifier.config.base import each_once
from sequifier.errors import did_you_mean

TimeFeature = Literal["gap", "since_first", "since_start", "remaining", "until", "hour", "weekday", "day", "month"]
TimeUnit = Literal["seconds", "minutes", "hours", "days", "none"]

SPANS: Mapping[TimeFeature, Literal["log1p", "asinh"]] = {
    "gap": "log1p",
    "since_first": "log1p",
    "since_start": "log1p",
    "remaining": "log1p",
    "until": "asinh",
}
"""Features that are a number of seconds, with their transform; asinh where they may be negative."""

CALENDAR: Mapping[TimeFeature, range] = {
    "hour": range(24),
    "weekday": range(7),  # Monday is 0
    "day": range(1, 32),
    "month": range(1, 13),
}
"""Features of the local calendar, with all their categories."""

SECONDS: Mapping[TimeUnit, int] = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "none": 1}


TimeFeatures = Annotated[list[TimeFeature], AfterValidator(each_once)]


def _is_known(name: str) -> str:
    known = zoneinfo.available_timezones()
    # Some systems have no list of time zones; polars, which has its own, then refuses an unknown one.
    if known and name not in known:
        raise ValueError(f"{name!r} is not a time zone; {did_you_mean(name, known)}")
    return name


TimeZone = Annotated[str, AfterValidator(_is_known)]
"""Name of a time zone in the IANA database: Europe/Berlin."""
