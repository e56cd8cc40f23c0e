"""The next, narrower search: what was asked for, cut down to where the best quarter lies.

- A list keeps the values that the best quarter has at least half as often as all have; the lists of a linked group
  keep the same places.
- A range becomes that of the middle of the best quarter with a tenth of the old one on each side, and goes beyond an
  end that the best quarter reached by a quarter of it.
- What matters little for sure stays at the value of the best run.
- A list of numbers whose end the best quarter reached gets one more value there.
The best run is tried first, and the three best are trained again with further seeds when they cannot be told apart.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from sequifier.config.identity import plain
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.search import LINKED, SearchConfig
from sequifier.errors import RunError
from sequifier.report.analysis import Analysis
from sequifier.report.groups import BestRange, is_logarithmic, text_of, top_count
from sequifier.report.recommend import unimportant
from sequifier.results.ranking import Configuration
from sequifier.results.run_files import Setting
from sequifier.results.settings import shown
from sequifier.results.trials import is_number

SECTIONS = ("model_hyperparameter_sampling", "training_hyperparameter_sampling")
ROOT_FIELDS = ("input_columns", "column_types", "seq_length", "window_stride")
MARGIN = 0.1
BEYOND = 0.25
CONFIRMED = 3
FEW = 8
"""Configurations in the best quarter below which one of them is enough to keep a value."""

GRID_VALUES = 4
"""Values of each parameter in the grid that follows a sampler search."""


def next_search(analysis: Analysis) -> dict[str, Any]:
    """The config of the next search, as plain values in the order of the file.

    Raises:
        RunError: there is no result to go by, the search's config is gone, or several searches were analysed together.
    """
    table = analysis.table
    if analysis.overview.best is None:
        raise RunError("no run has a result, so there is nothing to narrow the search to", where=str(table.source))
    if analysis.comparison is not None:
        raise RunError(
            "the next search follows from one search, and several were given",
            fix=f"name one: sequifier search-analysis {analysis.comparison.searches[0].name}",
        )
    if not table.document:
        raise RunError(
            "what the search was asked for is not known any more: search.yaml is missing beside its ledger",
            where=str(table.folder),
            fix="start the search again with its config: finished runs are kept, and search.yaml is written",
        )
    return _next_samplers(analysis) if table.kind == "sampler" else _next_training(analysis)


def _next_training(analysis: Analysis) -> dict[str, Any]:
    table, document = analysis.table, analysis.table.document
    with_result = [row for row in analysis.rows if row.rank is not None]
    top = with_result[: top_count(len(with_result))]
    narrowed = _narrowed(document, analysis, with_result, top)
    values = {**document, **narrowed}
    name = str(document.get("hp_search_name", table.name))
    values |= {"hp_search_name": _next_name(name)}
    best = with_result[0].first
    values["start_with"] = [best.config_path] if best.config_path else []
    doubt = any(row.is_indistinguishable for row in with_result) and all(row.n_seeds == 1 for row in with_result)
    if doubt and not document.get("confirm_top"):
        values["confirm_top"] = CONFIRMED
    if document.get("search_strategy") != "grid" or _has_range(values):
        values["search_strategy"] = "bayesian"
        values["n_samples"] = document.get("n_samples") or len(analysis.rows)
    return _without_defaults(values)


def _narrowed(
    document: Mapping[str, Any], analysis: Analysis, every: Sequence[Configuration], top: Sequence[Configuration]
) -> dict[str, Any]:
    """The root fields and sections with what is searched cut down."""
    settled = {each.parameter for each in unimportant(analysis.importances)}
    place = {field: section for section in SECTIONS for field in document.get(section) or {}}
    place |= {field: "" for field in ROOT_FIELDS if document.get(field) is not None}
    asked = {field: document[section][field] if section else document[field] for field, section in place.items()}
    found = dict(asked)
    groups = [*LINKED.values(), *(tuple(fields) for fields in document.get("links") or [])]
    for fields in groups:
        varied = [name for name in fields if name in analysis.table.parameters]
        rows = every[:1] if varied and settled.issuperset(varied) else top
        found |= _narrow_group({name: asked[name] for name in fields if name in asked}, every, rows)
    linked = {name for fields in groups for name in fields if _n_values(asked.get(name)) > 1}
    ranges = {each.parameter: each for each in analysis.ranges}
    for name, values in found.items():
        if name not in linked or isinstance(values, Mapping):
            rows = every[:1] if name in settled else top
            found[name] = _narrow_field(name, values, ranges.get(name), every, rows, may_grow=name not in linked)
    accepted = dict(asked)
    for name, values in found.items():
        trial = {**accepted, name: values}
        # What grew beyond a bound of the field (a dropout below 0) stays as it was.
        if name in linked or values == asked[name] or _is_valid(document, _placed(document, place, trial)):
            accepted = trial
    return _placed(document, place, accepted)


def _placed(document: Mapping[str, Any], place: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {section: dict(document[section]) for section in SECTIONS if document.get(section)}
    for field, section in place.items():
        (result[section] if section else result)[field] = values[field]
    return result


def _is_valid(document: Mapping[str, Any], narrowed: Mapping[str, Any]) -> bool:
    try:
        SearchConfig.model_validate(_without_none({**document, **narrowed, "start_with": []}))
    except ValidationError:
        return False
    return True


def _is_kept(n_top: int, top: int, n_every: int, every: int) -> bool:
    """Whether a value is at least half as common among the best as among all; of few, whether it is there at all."""
    return n_top > 0 and (top < FEW or 2 * n_top / top >= n_every / max(1, every))


def _narrow_group(
    asked: Mapping[str, Any], every: Sequence[Configuration], top: Sequence[Configuration]
) -> dict[str, Any]:
    """The lists of a linked group at the places that the best quarter has."""
    length = max((_n_values(values) for values in asked.values()), default=1)
    lists = {name: values for name, values in asked.items() if _n_values(values) == length}
    if length < 2 or any(isinstance(values, Mapping) for values in lists.values()):
        return {}

    def count(rows: Sequence[Configuration], place: int) -> int:
        return sum(all(_is_value(row, name, values[place]) for name, values in lists.items()) for row in rows)

    kept = [
        place
        for place in range(length)
        if _is_kept(count(top, place), len(top), count(every, place), len(every)) or count(every[:1], place)
    ]
    return {name: [values[place] for place in kept] for name, values in lists.items()} if kept else {}


def _narrow_field(
    name: str,
    values: Any,
    found: BestRange | None,
    every: Sequence[Configuration],
    top: Sequence[Configuration],
    *,
    may_grow: bool,
) -> Any:
    if isinstance(values, Mapping):
        if found is None or found.best is None:
            return values
        return [found.best] if len(top) == 1 < len(every) // 4 else _narrow_range(values, found)
    if not isinstance(values, list):
        return values
    if name in ("optimizer", "scheduler"):
        entries = [
            entry
            for entry in values
            if _is_kept(_n_with(name, entry, top), len(top), _n_with(name, entry, every), len(every))
        ]
        return [_narrow_entry(name, entry, top) for entry in entries] or values
    kept = [
        value
        for value in values
        if _is_kept(
            sum(_is_value(row, name, value) for row in top),
            len(top),
            sum(_is_value(row, name, value) for row in every),
            len(every),
        )
        or _is_value(every[0], name, value)
    ]
    if len(values) < 2 or not kept:
        return values
    return _grown(values, kept, found) if may_grow and found is not None else kept


def _narrow_range(asked: Mapping[str, Any], found: BestRange) -> Any:
    """A range around the best quarter: `{low, high, step, log}`, or one value where only that is left."""
    low, high = found.core_low, found.core_high
    if low is None or high is None:
        return dict(asked)
    is_log, step = bool(asked.get("log")), asked.get("step")
    there, back = (math.log, math.exp) if is_log else (float, float)
    width = there(asked["high"]) - there(asked["low"])
    new_low = back(there(low) - (BEYOND if found.at_low else MARGIN) * width)
    new_high = back(there(high) + (BEYOND if found.at_high else MARGIN) * width)
    if not found.at_low:
        new_low = max(new_low, asked["low"])
    if not found.at_high:
        new_high = min(new_high, asked["high"])
    whole = all(isinstance(asked[end], int) for end in ("low", "high"))
    if step:
        new_low = asked["low"] + math.floor((new_low - asked["low"]) / step + 1e-9) * step
        new_high = asked["low"] + math.ceil((new_high - asked["low"]) / step - 1e-9) * step
    ends = [math.floor(new_low), math.ceil(new_high)] if whole else [_rounded(new_low), _rounded(new_high)]
    if not found.at_low:
        ends[0] = max(ends[0], asked["low"])
    if not found.at_high:
        ends[1] = min(ends[1], asked["high"])
    if ends[0] >= ends[1]:
        return [ends[0]]
    return {**asked, "low": ends[0], "high": ends[1]}


def _narrow_entry(name: str, entry: Any, top: Sequence[Configuration]) -> Any:
    """An optimizer or scheduler with its own lists and ranges cut down."""
    if not isinstance(entry, Mapping):
        return entry
    narrowed = dict(entry)
    mine = [row for row in top if row.first.settings.get(name) == entry.get("name")]
    for option, values in entry.items():
        good = [row.first.settings[f"{name}.{option}"] for row in mine if f"{name}.{option}" in row.first.settings]
        numbers = [value for value in good if is_number(value)]
        if isinstance(values, Mapping) and {"low", "high"} <= values.keys() and numbers:
            found = _range_of(numbers)
            narrowed[option] = _without_none(_narrow_range(values, found))
            if isinstance(narrowed[option], list):
                narrowed[option] = narrowed[option][0]
        elif isinstance(values, list) and good:
            kept = [value for value in values if any(text_of(value) == text_of(other) for other in good)]
            narrowed[option] = (kept or values)[0] if len(kept) == 1 else kept or values
    return narrowed


def _range_of(numbers: Sequence[float]) -> BestRange:
    low, high = min(numbers), max(numbers)
    return BestRange("", (), True, low, high, low, high, None, None, False, False, {}, None, len(numbers))


def _n_with(name: str, entry: Any, rows: Sequence[Configuration]) -> int:
    """Configurations with this optimizer or scheduler."""
    wanted = entry.get("name") if isinstance(entry, Mapping) else entry
    return sum(row.first.settings.get(name) == wanted for row in rows)


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
    return round(value) if isinstance(end, int) else _rounded(value)


def _is_value(row: Configuration, name: str, value: Any) -> bool:
    """Whether a configuration has this value of a searched field; null stands for whatever follows from others."""
    settings = row.first.settings
    if value is None:
        return True
    if isinstance(value, Mapping) and "name" in value:
        return bool(settings.get(name) == value["name"])
    if name not in settings:
        return name in ("column_types",)
    own: Setting = settings[name]
    text = shown(value) if isinstance(value, Mapping | list) else value
    return own == text or text_of(own) == text_of(text)


def _next_samplers(analysis: Analysis) -> dict[str, Any]:
    """A grid over the samplers of the best quarter, around where each has its best quarter."""
    table = analysis.table
    with_result = [row for row in analysis.rows if row.rank is not None]
    top = with_result[: top_count(len(with_result))]
    samplers = list(dict.fromkeys(row.first.group for row in top))
    ranges: dict[str, dict[str, Any]] = {}
    for group in analysis.in_groups:
        if group.name not in samplers:
            continue
        fixed = {
            name: value
            for trial in table.trials
            if trial.group == group.name
            for name, value in trial.settings.items()
            if name != "sampler"
        }
        ranges[group.name] = {name: [value] for name, value in fixed.items()}
        for each in group.ranges:
            if each.is_numeric and each.low is not None and each.high is not None:
                ranges[group.name][each.parameter] = _grid_of(each)
    document = {key: value for key, value in table.document.items() if key not in ("sections", "n_iterations")}
    defaults = plain(SamplerSearchConfig.model_construct())
    asked = {key: value for key, value in document.items() if value != defaults.get(key) and key != "n_samples"}
    narrowed: dict[str, Any] = _without_none(
        {
            "sampler_search_name": _next_name(str(document.get("sampler_search_name", table.name))),
            **{key: value for key, value in asked.items() if key != "sampler_search_name"},
            "search_strategy": "grid",
            "sampler_types": samplers,
            "parameter_ranges": ranges,
        }
    )
    return narrowed


def _grid_of(found: BestRange) -> list[float]:
    """Values from one end of the best quarter to the other, evenly on the scale on which they were tried."""
    assert found.low is not None and found.high is not None and found.tried_low is not None
    assert found.tried_high is not None
    low, high, tried = found.low, found.high, (found.tried_low, found.tried_high)
    is_log = tried[0] > 0 and (is_logarithmic(*tried) or tried[1] / tried[0] >= 10)
    there, back = (math.log, math.exp) if is_log else (float, float)
    step = (there(high) - there(low)) / (GRID_VALUES - 1)
    if isinstance(low, int) and isinstance(high, int):
        return sorted({round(back(there(low) + place * step)) for place in range(GRID_VALUES)})
    return sorted({_rounded(back(there(low) + place * step)) for place in range(GRID_VALUES)})


def _next_name(name: str) -> str:
    """`tune` -> `tune-2` -> `tune-3`."""
    match = re.fullmatch(r"(.+)-(\d+)", name)
    return f"{match[1]}-{int(match[2]) + 1}" if match else f"{name}-2"


def _n_values(values: Any) -> int:
    return len(values) if isinstance(values, list) else 1


def _has_range(values: Any) -> bool:
    if isinstance(values, Mapping):
        return {"low", "high"} <= values.keys() or any(_has_range(below) for below in values.values())
    return isinstance(values, list) and any(_has_range(below) for below in values)


def _rounded(value: float) -> float:
    """To three digits."""
    return float(f"{value:.3g}")


def _without_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from a search that says only what it must, so that a person can read it."""
    least = {name: values[name] for name in ("metadata_config_path", "hp_search_name", "target_columns")}
    defaults = plain(SearchConfig.model_validate({**least, "search_strategy": "grid"}))
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and name in SECTIONS:
            own = {
                key: _without_none(below)
                for key, below in value.items()
                if below not in (defaults[name].get(key), [None], None)
            }
            if own:
                kept[name] = own
        elif name in least or name == "search_strategy" or value not in (defaults.get(name), [None], None):
            kept[name] = _without_none(value)
    return kept


def _without_none(value: Any) -> Any:
    """Maps without their empty keys: a range written `{low, high, step: null}` is `{low, high}`."""
    if isinstance(value, Mapping):
        return {key: _without_none(below) for key, below in value.items() if below is not None}
    return [_without_none(below) for below in value] if isinstance(value, list) else value
