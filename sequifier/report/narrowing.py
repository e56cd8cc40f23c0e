"""Narrow the values of one search field to where the best configurations are.

- A list keeps the values that are at least half as common in the best quarter as among all configurations; the lists of
  a linked group keep the same places.
- A range becomes the middle of the best quarter with a tenth of the old range on each side. At an end that the best
  quarter reached it extends beyond the old range by a quarter of it; a list of numbers gets one more value there.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sequifier.report.groups import BestRange
from sequifier.results.ranking import Configuration
from sequifier.results.settings import Setting, shown, text_of
from sequifier.results.trials import is_number

MARGIN = 0.1
BEYOND = 0.25
FEW = 8
"""Configurations in the best quarter below which one of them is enough to keep a value."""


class Evidence(NamedTuple):
    """The configurations that decide.

    Attributes:
        ranked: all with a result, from best to worst.
        best: the best quarter of them, or the best one alone for a setting that matters little.
    """

    ranked: Sequence[Configuration]
    best: Sequence[Configuration]

    def keeps(self, has_it: Callable[[Configuration], bool]) -> bool:
        """Whether a value is at least half as common among the best as among all; among few, whether one has it."""
        n_best, n_ranked = sum(map(has_it, self.best)), sum(map(has_it, self.ranked))
        is_enough = len(self.best) < FEW or 2 * n_best / len(self.best) >= n_ranked / max(1, len(self.ranked))
        return n_best > 0 and is_enough


def narrow_group(lists: Mapping[str, Any], evidence: Evidence) -> dict[str, Any]:
    """Narrow the lists of a linked group, which keep the same places; empty where nothing is to be narrowed."""
    length = max((n_values(values) for values in lists.values()), default=1)
    lists = {name: values for name, values in lists.items() if n_values(values) == length}
    if length < 2 or any(isinstance(values, Mapping) for values in lists.values()):
        return {}

    def has_place(place: int) -> Callable[[Configuration], bool]:
        return lambda row: all(_has_value(row, name, values[place]) for name, values in lists.items())

    winner = evidence.ranked[0]
    kept = [place for place in range(length) if evidence.keeps(has_place(place)) or has_place(place)(winner)]
    return {name: [values[place] for place in kept] for name, values in lists.items()} if kept else {}


def narrow_field(name: str, values: Any, found: BestRange | None, evidence: Evidence, *, may_grow: bool) -> Any:
    """Narrow the values of a field.

    Args:
        name: of the field.
        values: list, range or fixed value in the config of the search.
        found: the best quarter in this setting; None where the setting did not differ.
        evidence: the configurations.
        may_grow: whether a list of numbers may get a value beyond an end that the best quarter reached.
    """
    if isinstance(values, Mapping):
        if found is None or found.best is None:
            return values
        is_settled = len(evidence.best) == 1 < len(evidence.ranked) // 4
        return [found.best] if is_settled else _narrow_range(values, found)
    if not isinstance(values, list):
        return values
    if name in ("optimizer", "scheduler"):
        entries = [entry for entry in values if evidence.keeps(partial(_uses, name=name, entry=entry))]
        return [_narrow_entry(name, entry, evidence.best) for entry in entries] or values
    winner = evidence.ranked[0]
    kept = [
        value
        for value in values
        if evidence.keeps(partial(_has_value, name=name, value=value)) or _has_value(winner, name, value)
    ]
    if len(values) < 2 or not kept:
        return values
    return _grown(values, kept, found) if may_grow and found is not None else kept


def n_values(values: Any) -> int:
    """Number of values of a field."""
    return len(values) if isinstance(values, list) else 1


def rounded(value: float) -> float:
    """Round to three digits."""
    return float(f"{value:.3g}")


def without_none(value: Any) -> Any:
    """Maps without their empty keys: a range written `{low, high, step: null}` is `{low, high}`."""
    if isinstance(value, Mapping):
        return {key: without_none(below) for key, below in value.items() if below is not None}
    return [without_none(below) for below in value] if isinstance(value, list) else value


def _narrow_range(old: Mapping[str, Any], found: BestRange) -> Any:
    """Narrow a range `{low, high, step, log}`; a list of one value where only one is left."""
    low, high = found.core_low, found.core_high
    if low is None or high is None:
        return dict(old)
    step = old.get("step")
    there, back = (math.log, math.exp) if old.get("log") else (float, float)
    width = there(old["high"]) - there(old["low"])
    new_low = back(there(low) - (BEYOND if found.at_low else MARGIN) * width)
    new_high = back(there(high) + (BEYOND if found.at_high else MARGIN) * width)
    if not found.at_low:
        new_low = max(new_low, old["low"])
    if not found.at_high:
        new_high = min(new_high, old["high"])
    if step:
        new_low = old["low"] + math.floor((new_low - old["low"]) / step + 1e-9) * step
        new_high = old["low"] + math.ceil((new_high - old["low"]) / step - 1e-9) * step
    is_whole = all(isinstance(old[end], int) for end in ("low", "high"))
    ends = [math.floor(new_low), math.ceil(new_high)] if is_whole else [rounded(new_low), rounded(new_high)]
    if not found.at_low:
        ends[0] = max(ends[0], old["low"])
    if not found.at_high:
        ends[1] = min(ends[1], old["high"])
    if ends[0] >= ends[1]:
        return [ends[0]]
    return {**old, "low": ends[0], "high": ends[1]}


def _narrow_entry(name: str, entry: Any, best: Sequence[Configuration]) -> Any:
    """Narrow the lists and ranges of one optimizer or scheduler."""
    if not isinstance(entry, Mapping):
        return entry
    narrowed = dict(entry)
    users = [row for row in best if row.first.settings.get(name) == entry.get("name")]
    for option, values in entry.items():
        good = [row.first.settings[f"{name}.{option}"] for row in users if f"{name}.{option}" in row.first.settings]
        numbers = [value for value in good if is_number(value)]
        if isinstance(values, Mapping) and {"low", "high"} <= values.keys() and numbers:
            narrowed[option] = without_none(_narrow_range(values, _range_of(numbers)))
            if isinstance(narrowed[option], list):
                narrowed[option] = narrowed[option][0]
        elif isinstance(values, list) and good:
            kept = [value for value in values if any(text_of(value) == text_of(other) for other in good)]
            narrowed[option] = (kept or values)[0] if len(kept) == 1 else kept or values
    return narrowed


def _range_of(numbers: Sequence[float]) -> BestRange:
    low, high = min(numbers), max(numbers)
    return BestRange("", (), True, low, high, low, high, None, None, False, False, {}, None, len(numbers))


def _uses(row: Configuration, name: str, entry: Any) -> bool:
    """Whether a configuration uses this optimizer or scheduler."""
    return bool(row.first.settings.get(name) == (entry.get("name") if isinstance(entry, Mapping) else entry))


def _grown(values: Sequence[Any], kept: list[Any], found: BestRange) -> list[Any]:
    """The kept numbers, with one more beyond an end that the best quarter reached."""
    numbers = sorted(value for value in values if is_number(value))
    if len(numbers) != len(values) or len(numbers) < 2:
        return kept
    if found.at_high:
        return [*kept, _beyond(numbers[-2], numbers[-1])]
    if found.at_low and (below := _beyond(numbers[1], numbers[0])) > 0:
        return [below, *kept]
    return kept


def _beyond(inner: float, end: float) -> float:
    """The value that continues a list: by its factor where that is two or more, else by its step."""
    factor = end / inner if inner > 0 and end > 0 else 1.0
    value = end * factor if factor >= 2 or factor <= 0.5 else end + (end - inner)
    return round(value) if isinstance(end, int) else rounded(value)


def _has_value(row: Configuration, name: str, value: Any) -> bool:
    """Whether a configuration has this value of a searched field; null matches any, as it follows from other fields."""
    settings = row.first.settings
    if value is None:
        return True
    if isinstance(value, Mapping) and "name" in value:
        return bool(settings.get(name) == value["name"])
    if name not in settings:
        return name == "column_types"
    own: Setting = settings[name]
    text = shown(value) if isinstance(value, Mapping | list) else value
    return own == text or text_of(own) == text_of(text)
