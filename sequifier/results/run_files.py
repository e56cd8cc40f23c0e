"""The run files of a ledger read back: what a reader of a search knows of its runs when it has no config."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sequifier.artifacts.ledger import Record, latest_by_run
from sequifier.config.catalogue.metric_names import HIGHER_IS_BETTER
from sequifier.config.loading.yaml12 import parse_file
from sequifier.errors import ConfigError
from sequifier.results.settings import shown

SECTIONS = ("model_spec", "training_spec")
_NO_SETTINGS = frozenset({"model_name", "seed", "effective_batch_size"})

Setting = str | int | float | bool | None


def read_run_files(records: Sequence[Record], project_root: Path) -> dict[int, Mapping[str, Any]]:
    """The run files that are still there, by run number.

    Args:
        records: a ledger; those with a result name their file, the others lie beside it.
        project_root: of the search.
    """
    latest = latest_by_run(records)
    paths = {number: Path(record.files["config"]) for number, record in latest.items() if "config" in record.files}
    folders = [path.parent for path in paths.values()] or [project_root / "configs" / "hp_search"]
    found = {}
    for number, record in latest.items():
        path = paths.get(number, folders[0] / f"{record.name}.yaml")
        # A path is written as seen from the folder in which the search was started.
        document = read_document(path) or read_document(project_root / path)
        if document:
            found[number] = document
    return found


def varied_settings(
    records: Sequence[Record], documents: Mapping[int, Mapping[str, Any]]
) -> dict[int, dict[str, Setting]]:
    """The settings in which runs differ, by run number; those that a run does not have are left out of it.

    Args:
        records: the ledger.
        documents: as `read_run_files` gives them.
    """
    settings = all_settings(records, documents)
    names = varied_names(list(settings.values()))
    return {number: {name: values[name] for name in names if name in values} for number, values in settings.items()}


def all_settings(
    records: Sequence[Record], documents: Mapping[int, Mapping[str, Any]]
) -> dict[int, dict[str, Setting]]:
    """The settings of each run as it was planned, by run number.

    An entry such as an optimizer is its name, and each of its options a setting of its own (`optimizer.weight_decay`);
    other lists and maps are text, as in the table. The training seed is no setting.

    Args:
        records: the ledger.
        documents: as `read_run_files` gives them.
    """
    first = {record.run: record for record in reversed(records)}  # a retry rewrites the batch in the file
    settings = {}
    for number, document in documents.items():
        settings[number] = _settings(document)
        record = first[number]
        planned = {"batch_size": record.batch_size, "accumulation_steps": record.accumulation_steps}
        settings[number] |= {name: value for name, value in planned.items() if name in settings[number]}
    return settings


def varied_names(settings: Sequence[Mapping[str, Setting]]) -> list[str]:
    """The names of settings in which these runs differ, in the order in which they appear."""
    names = dict.fromkeys(name for values in settings for name in values)
    return [name for name in names if len({repr(values.get(name, "-")) for values in settings}) > 1]


def _settings(document: Mapping[str, Any]) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    fields = {name: value for name, value in document.items() if name not in SECTIONS}
    for section in SECTIONS:
        values = document.get(section)
        fields |= values if isinstance(values, Mapping) else {}
    fields = {name: value for name, value in fields.items() if name not in _NO_SETTINGS}
    for name, value in fields.items():
        if isinstance(value, Mapping) and "name" in value:
            found[name] = value["name"]
            options = {f"{name}.{option}": below for option, below in value.items() if option != "name"}
        else:
            options = {name: value}
        for key, below in options.items():
            found[key] = shown(below) if isinstance(below, Mapping | list) else below
    return found


def direction_of(metric: str, document: Mapping[str, Any]) -> Literal["minimize", "maximize"] | None:
    """Which way a metric is better; None where nothing says it.

    Args:
        metric: of a ledger's records.
        document: the config of the search, or a run file.
    """
    scripted = value_at(document, "evaluation_script.metrics", {})
    scripted = scripted if isinstance(scripted, Mapping) else {}
    if metric == document.get("metric", "val_loss"):
        return "maximize" if document.get("direction") == "maximize" else "minimize"
    if metric in scripted:
        return "maximize" if scripted[metric] == "maximize" else "minimize"
    if not metric.startswith("val_"):
        return None
    return "maximize" if metric.endswith(tuple(f"_{name}" for name in HIGHER_IS_BETTER)) else "minimize"


def read_document(path: Path) -> Mapping[str, Any]:
    """A run file as plain values; empty when it is gone or unreadable: it only serves to describe the run."""
    try:
        values = parse_file(path).values
    except ConfigError:
        return {}
    return values if isinstance(values, Mapping) else {}


def value_at(document: Mapping[str, Any], key: str, default: Any) -> Any:
    """The value at a dotted key, or the default where the document has none."""
    here: Any = document
    for part in key.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return default
        here = here[part]
    return here
