"""`start_with`: the runs that a search tries first, from overrides and from run files of earlier searches."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from sequifier.config.fields import FROM_METADATA
from sequifier.config.loading.load import Loaded
from sequifier.config.loading.merged import Merged
from sequifier.config.loading.paths import find_input
from sequifier.config.loading.problems import problems_of
from sequifier.config.loading.yaml12 import parse_file
from sequifier.config.search import SearchConfig
from sequifier.config.search_sections import run_values, searchable_fields, train_key
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, Problem
from sequifier.search.expand import Expanded, Expander


def start_runs(config: SearchConfig, expander: Expander) -> list[Expanded]:
    """The runs of `start_with`, in its order.

    Raises:
        ConfigError: all that is wrong in them.
    """
    runs: list[Expanded] = []
    problems: list[Problem] = []
    for index, entry in enumerate(config.start_with):
        key = f"start_with[{index}]"
        try:
            if isinstance(entry, str):
                runs.append(_run_of_file(entry, key, config, expander))
            else:
                runs.append(_run_of_values(entry, key, expander))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return runs


def _run_of_values(values: dict[str, Any], key: str, expander: Expander) -> Expanded:
    try:
        return expander.expand_values(values)
    except ConfigError as error:
        raise ConfigError(
            [replace(problem, key=f"{key}.{problem.key}" if problem.key else key) for problem in error.problems]
        ) from error


def _run_of_file(path: str, key: str, config: SearchConfig, expander: Expander) -> Expanded:
    """The run of a `train.yaml`: the fields that a search may vary are taken from it, all others from the search."""
    file = find_input(path, config.project_root, key)
    document = parse_file(file)
    if not isinstance(document.values, dict):
        raise ConfigError([Problem(key, f"{path} is not a run file: it has no `key: value` lines")])
    run = Merged(document.values, {known: f"{file}:{line}" for known, line in document.lines.items() if known})
    targets = run.values.get("target_columns", config.target_columns)
    if targets not in (config.target_columns, *config.target_columns):
        place = run.source(("target_columns",))
        raise ConfigError([Problem(key, f"that run predicts {targets}, this search {config.target_columns}", place)])
    try:
        return expander.expand_values(run_values(dict(_searchable(run.values))))
    except ValidationError as error:
        raise ConfigError(problems_of(error, TrainConfig, run)) from error
    except ConfigError as error:
        raise Loaded(config, run, file).located(error) from error


def _searchable(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields of a run file that a search may vary, as a map of the same structure."""
    keys = {train_key(field) for field in searchable_fields()} - {*FROM_METADATA}
    for section in ("model_spec", "training_spec"):
        fields = dict(values.get(section) or {})
        if fields.get("effective_batch_size") is not None:
            # A batch that was cut to fit into memory: the batch of an optimizer step was planned, not its pieces.
            fields |= {"batch_size": fields["effective_batch_size"], "accumulation_steps": 1}
        yield section, {name: value for name, value in fields.items() if f"{section}.{name}" in keys}
    yield from ((name, value) for name, value in values.items() if name in keys)
