"""The second form of a search file: `base_config_path` names a `train.yaml`, `overrides` what is searched in it.

`overrides` has the structure of `train.yaml`. Base and overrides are rearranged into the self-contained form before
validation; each value keeps its place, so that an error in the base names a line of the base.
"""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sequifier.config.base import KeyPath
from sequifier.config.fields import SEARCH_SECTIONS, SEARCHED_AT_ROOT, SECTIONS
from sequifier.config.loading.merged import Merged
from sequifier.config.loading.problems import problems_of
from sequifier.config.loading.read import read_base
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, Problem, did_you_mean


def in_one_piece(merged: Merged, path: Path, root_fields: Set[str]) -> Merged:
    """The self-contained form of a search file; one without `base_config_path` is returned unchanged.

    Precedence, highest first: overrides, the top level of the search, the base.

    Args:
        merged: the file with sections, `-D` and flags merged in.
        path: of the file.
        root_fields: the fields at the top level of a search.

    Raises:
        ConfigError: the base is not a valid `train.yaml`, or a key does not exist in this form.
    """
    if merged.values.get("base_config_path") is None:
        return merged
    base = read_base(merged.values["base_config_path"], path, TrainConfig, place=merged.source(("base_config_path",)))
    misplaced = [*_misplaced(merged)]
    if (problems := _not_a_run(base, merged)) or not isinstance(merged.values.get("overrides", {}), dict):
        raise ConfigError([*misplaced, *problems], where=str(path))
    for key in SEARCH_SECTIONS:
        if not isinstance(merged.values.get("overrides", {}).get(key, {}), dict):
            del merged.values["overrides"][key]  # is among the misplaced
    own = Merged(
        {key: value for key, value in merged.values.items() if key not in ("overrides", *SEARCH_SECTIONS.values())},
        {known: text for known, text in merged.sources.items() if known[:1] != ("overrides",)},
    )
    whole = Merged()
    whole.merge(_rearranged(base, (), root_fields | set(SEARCH_SECTIONS)))
    whole.merge(own)
    whole.merge(_rearranged(merged, ("overrides",), {*SEARCHED_AT_ROOT, *SEARCH_SECTIONS}))
    # A retry of a search writes this field; in the run file of a run without a retry it is null.
    training = whole.values.get(SEARCH_SECTIONS["training_spec"], {})
    if training.get("effective_batch_size", 0) is None:
        del training["effective_batch_size"]
    whole.written |= {searched: section for section, searched in SEARCH_SECTIONS.items()}
    for key, text in base.written.items():
        section, dot, name = key.partition(".")
        whole.written[SEARCH_SECTIONS.get(section, section) + dot + name] = text
    whole.notes, whole.problems = [*base.notes, *merged.notes], [*base.problems, *misplaced]
    for key, value in merged.values.get("overrides", {}).items():
        if key in SEARCH_SECTIONS:
            names = {name: f"overrides.{key}.{name}" for name in value}
            searched = SEARCH_SECTIONS[key]
            whole.written |= {f"{searched}.{name}": merged.written.get(text, text) for name, text in names.items()}
        else:
            whole.written[key] = merged.written.get(f"overrides.{key}", f"overrides.{key}")
    return whole


def _misplaced(merged: Merged) -> Iterator[Problem]:
    """Keys that do not exist in this form."""
    for section, searched in SEARCH_SECTIONS.items():
        if searched in merged.values:
            fix = f"move its fields to overrides.{section}, or leave base_config_path out"
            yield Problem(searched, "cannot be used with base_config_path", merged.source((searched,)), fix)
    overrides = merged.values.get("overrides", {})
    if not isinstance(overrides, dict):
        yield Problem("overrides", f"should be a map, got {overrides!r}", merged.source(("overrides",)))
        return
    for key, value in overrides.items():
        place = merged.source(("overrides", key))
        if key not in (*SEARCHED_AT_ROOT, *SEARCH_SECTIONS):
            known = [*SEARCHED_AT_ROOT, *(f"{name}.{field}" for name in SEARCH_SECTIONS for field in _fields(name))]
            at = next((name for name in SEARCH_SECTIONS if key in _fields(name)), "")
            if key in merged.values or key in TrainConfig.model_fields:
                fix = "it has one value for all runs: write it at the top level, or in the base"
            else:
                fix = f"it belongs under `overrides.{at}`" if at else did_you_mean(key, known)
            yield Problem(f"overrides.{key}", "cannot be searched", place, fix)
        elif key in SEARCH_SECTIONS and not isinstance(value, dict):
            yield Problem(f"overrides.{key}", f"should be a map, got {value!r}", place)


def _not_a_run(base: Merged, merged: Merged) -> list[Problem]:
    """Problems of the base as a run. Fields that the search gives at its top level may be missing in the base."""
    shared = {key: value for key, value in merged.values.items() if key in TrainConfig.model_fields}
    try:
        TrainConfig.model_validate({"model_name": "run", **base.values, **shared})
    except ValidationError as error:
        found = problems_of(error, TrainConfig, base)
        return [problem for problem in found if problem.key.partition(".")[0] not in shared]
    return []


def _rearranged(merged: Merged, at: KeyPath, kept: Set[str]) -> Merged:
    """A map in the structure of `train.yaml`, its sections under the names that a search has for them."""
    values: Any = merged.values
    for part in at:
        values = values.get(part, {})
    return Merged(
        {SEARCH_SECTIONS.get(key, key): value for key, value in values.items() if key in kept},
        {
            (SEARCH_SECTIONS.get(str(known[len(at)]), known[len(at)]), *known[len(at) + 1 :]): text
            for known, text in merged.sources.items()
            if known[: len(at)] == at and len(known) > len(at) and known[len(at)] in kept
        },
    )


def _fields(section: str) -> list[str]:
    return list(SECTIONS[section].model_fields)
