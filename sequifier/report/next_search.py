"""The config of the next search: the fields of this one, narrowed to where the best quarter is (`narrowing.py`).

A setting that certainly matters little is fixed at the value of the best run. Where the best runs stopped while still
improving, epochs are doubled. The best run is tried first, and the best three are trained with further seeds when
others are statistically indistinguishable from the best.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from sequifier.config.fields import SEARCH_SECTIONS, SEARCHED_AT_ROOT
from sequifier.config.identity import plain
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.search import SearchConfig
from sequifier.config.search_sections import LINKED
from sequifier.errors import RunError
from sequifier.printable import command_line
from sequifier.report.analysis import Analysis
from sequifier.report.groups import BestRange, is_logarithmic, top_count
from sequifier.report.narrowing import Evidence, n_values, narrow_field, narrow_group, rounded, without_none
from sequifier.report.setting_findings import unimportant

SECTIONS = tuple(SEARCH_SECTIONS.values())
TRAINING = SEARCH_SECTIONS["training_spec"]
CONFIRMED = 3
GRID_VALUES = 4
"""Values of each parameter in the grid that follows a sampler search."""


def next_search(analysis: Analysis) -> dict[str, Any]:
    """Return the config of the next search, as plain values in the order of the file.

    Raises:
        RunError: no run has a result, the config of the search is missing, or several searches were analysed together.
    """
    table = analysis.table
    if analysis.overview.best is None:
        raise RunError("no run has a result, so there is nothing to narrow the search to", where=str(table.source))
    if analysis.comparison is not None:
        raise RunError(
            "the next search continues one search, and several were named",
            fix=f"name one: {command_line('search-analysis', analysis.comparison.searches[0].name)}",
        )
    if not table.document:
        raise RunError(
            "the config of the search is not known: search.yaml is missing beside its ledger",
            where=str(table.folder),
            fix="start the search again with its config: finished runs are kept, and search.yaml is written",
        )
    return _next_samplers(analysis) if table.kind == "sampler" else _next_training(analysis)


def _evidence(analysis: Analysis) -> Evidence:
    ranked = [row for row in analysis.rows if row.rank is not None]
    return Evidence(ranked, ranked[: top_count(len(ranked))])


def _next_training(analysis: Analysis) -> dict[str, Any]:
    table, document, evidence = analysis.table, analysis.table.document, _evidence(analysis)
    ranked = evidence.ranked
    values = {**document, **_narrowed(document, analysis, evidence)}
    if analysis.curves.stopped_too_early:
        training = values[TRAINING]
        values[TRAINING] = {**training, "epochs": _doubled(training["epochs"])}
    values["hp_search_name"] = _next_name(str(document.get("hp_search_name", table.name)))
    best = ranked[0].first
    values["start_with"] = [best.config_path] if best.config_path else []
    is_uncertain = any(row.is_indistinguishable for row in ranked) and all(row.n_seeds == 1 for row in ranked)
    if is_uncertain and not document.get("confirm_top"):
        values["confirm_top"] = CONFIRMED
    if document.get("search_strategy") != "grid" or _has_range(values):
        values["search_strategy"] = "bayesian"
        values["n_samples"] = document.get("n_samples") or len(analysis.rows)
    return _without_defaults(values)


def _narrowed(document: Mapping[str, Any], analysis: Analysis, evidence: Evidence) -> dict[str, Any]:
    """Narrow the searched root fields and sections."""
    section_of = {field: section for section in SECTIONS for field in document.get(section) or {}}
    section_of |= {field: "" for field in SEARCHED_AT_ROOT if document.get(field) is not None}
    old = {field: document[section][field] if section else document[field] for field, section in section_of.items()}
    groups = [*LINKED.values(), *(tuple(fields) for fields in document.get("links") or [])]
    linked = {name for fields in groups for name in fields if n_values(old.get(name)) > 1}
    accepted = dict(old)
    for name, values in _proposed(old, groups, linked, analysis, evidence).items():
        trial = {**accepted, name: values}
        # A field that grew beyond its bound (a dropout below 0) keeps its old values.
        if name in linked or values == old[name] or _is_valid(document, _in_sections(document, section_of, trial)):
            accepted = trial
    return _in_sections(document, section_of, accepted)


def _proposed(
    old: Mapping[str, Any],
    groups: Sequence[Sequence[str]],
    linked: Collection[str],
    analysis: Analysis,
    evidence: Evidence,
) -> dict[str, Any]:
    """Return the narrowed values of fields, which may be beyond their bounds: linked fields together, others alone."""
    settled = {each.parameter for each in unimportant(analysis.importances)}
    only_winner = Evidence(evidence.ranked, evidence.ranked[:1])
    found = dict(old)
    for fields in groups:
        varied = [name for name in fields if name in analysis.table.settings]
        used = only_winner if varied and settled.issuperset(varied) else evidence
        found |= narrow_group({name: old[name] for name in fields if name in old}, used)
    ranges = {each.parameter: each for each in analysis.ranges}
    for name, values in found.items():
        if name not in linked or isinstance(values, Mapping):
            used = only_winner if name in settled else evidence
            found[name] = narrow_field(name, values, ranges.get(name), used, may_grow=name not in linked)
    return found


def _doubled(epochs: Any) -> Any:
    """A number of epochs, a list of them or a range, doubled."""
    if isinstance(epochs, Mapping):
        return {**epochs, "low": 2 * epochs["low"], "high": 2 * epochs["high"]}
    return [2 * each for each in epochs] if isinstance(epochs, list) else 2 * epochs


def _in_sections(
    document: Mapping[str, Any], section_of: Mapping[str, str], values: Mapping[str, Any]
) -> dict[str, Any]:
    result: dict[str, Any] = {section: dict(document[section]) for section in SECTIONS if document.get(section)}
    for field, section in section_of.items():
        (result[section] if section else result)[field] = values[field]
    return result


def _is_valid(document: Mapping[str, Any], narrowed: Mapping[str, Any]) -> bool:
    try:
        SearchConfig.model_validate(without_none({**document, **narrowed, "start_with": []}))
    except ValidationError:
        return False
    return True


def _next_samplers(analysis: Analysis) -> dict[str, Any]:
    """A grid over the samplers in the best quarter, each around its own best quarter."""
    table = analysis.table
    samplers = list(dict.fromkeys(row.first.group for row in _evidence(analysis).best))
    ranges: dict[str, dict[str, Any]] = {}
    for group in analysis.in_groups:
        if group.name not in samplers:
            continue
        settings = [trial.settings for trial in table.trials if trial.group == group.name]
        values = {name: value for each in settings for name, value in each.items() if name != "sampler"}
        ranges[group.name] = {name: [value] for name, value in values.items()}
        for each in group.ranges:
            if each.is_numeric and each.low is not None and each.high is not None:
                ranges[group.name][each.parameter] = _grid_of(each)
    document = {key: value for key, value in table.document.items() if key not in ("sections", "n_iterations")}
    defaults = plain(SamplerSearchConfig.model_construct())
    kept = {key: value for key, value in document.items() if value != defaults.get(key) and key != "n_samples"}
    narrowed: dict[str, Any] = without_none(
        {
            "sampler_search_name": _next_name(str(document.get("sampler_search_name", table.name))),
            **{key: value for key, value in kept.items() if key != "sampler_search_name"},
            "search_strategy": "grid",
            "sampler_types": samplers,
            "parameter_ranges": ranges,
        }
    )
    return narrowed


def _grid_of(found: BestRange) -> list[float]:
    """Values from one end of the best quarter to the other, evenly spaced on the scale that was searched."""
    assert found.low is not None and found.high is not None and found.tried_low is not None
    assert found.tried_high is not None
    low, high, tried = found.low, found.high, (found.tried_low, found.tried_high)
    is_log = tried[0] > 0 and (is_logarithmic(*tried) or tried[1] / tried[0] >= 10)
    there, back = (math.log, math.exp) if is_log else (float, float)
    step = (there(high) - there(low)) / (GRID_VALUES - 1)
    values = [back(there(low) + place * step) for place in range(GRID_VALUES)]
    is_whole = isinstance(low, int) and isinstance(high, int)
    return sorted({round(value) if is_whole else rounded(value) for value in values})


def _next_name(name: str) -> str:
    """`tune` -> `tune-2` -> `tune-3`."""
    match = re.fullmatch(r"(.+)-(\d+)", name)
    return f"{match[1]}-{int(match[2]) + 1}" if match else f"{name}-2"


def _has_range(values: Any) -> bool:
    if isinstance(values, Mapping):
        return {"low", "high"} <= values.keys() or any(_has_range(below) for below in values.values())
    return isinstance(values, list) and any(_has_range(below) for below in values)


def _without_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that differ from their defaults, so that a person can read the file."""
    required = {name: values[name] for name in ("metadata_config_path", "hp_search_name", "target_columns")}
    defaults = plain(SearchConfig.model_validate({**required, "search_strategy": "grid"}))
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and name in SECTIONS:
            own = {
                key: without_none(below)
                for key, below in value.items()
                if below not in (defaults[name].get(key), [None], None)
            }
            if own:
                kept[name] = own
        elif name in required or name == "search_strategy" or value not in (defaults.get(name), [None], None):
            kept[name] = without_none(value)
    return kept
