"""The run of a search that a `train` config names: its planned data, its record, whether it is still the same run."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sequifier.artifacts.ledger import DONE, Record, latest_by_run, latest_order_checks, read_ledger
from sequifier.config.identity import identity, plain
from sequifier.config.loading.yaml12 import parse_file
from sequifier.config.resolve import DataSchema
from sequifier.config.train import TrainConfig
from sequifier.errors import RunError, SequifierError
from sequifier.experiment.record import CONFIG

_RUN_NAME = re.compile(r"(.+)-run-\d+")
_PLANNED = re.compile(r"^# Data fingerprint: ([0-9a-f]{16})\s*$", re.MULTILINE)
_HASH = re.compile(r"config hash ([0-9a-f]{64})")
_HEADER_BYTES = 4096
_SHOWN = 5


def planned_data(path: Path) -> str | None:
    """The data fingerprint in the header of a run file; None in any other file."""
    with path.open("rb") as file:
        found = _PLANNED.search(file.read(_HEADER_BYTES).decode(errors="replace"))
    return found[1] if found else None


def check_owner(config: TrainConfig, data: DataSchema) -> None:
    """Refuse to replace the model of a search's run by one with other settings or of other data.

    The run itself may be trained again, as it was planned or with the batch that fitted into memory.

    Args:
        config: resolved.
        data: metadata of its data set.

    Raises:
        RunError: a search has a result under this name, which is of another run.
    """
    record = record_of(config)
    if record is None or record.state not in DONE:
        return
    differing = list(changes(config, data, record))
    if not differing:
        return
    more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    what = f" ({'; '.join(differing[:_SHOWN])}{more})" if any(differing) else ""
    folder = _ledger_folder(config)
    assert folder is not None
    raise RunError(
        f"`{record.name}` is a run of the search `{folder.name}` with other settings{what}: training under its name "
        "would replace its model",
        where=str(folder / "ledger.jsonl"),
        fix="choose another model_name, for example with --model-name",
    )


def record_of(config: TrainConfig) -> Record | None:
    """The last record of the run with this name in the ledger of its search, or None."""
    folder = _ledger_folder(config)
    if folder is None:
        return None
    records = read_ledger(folder)
    every = (*latest_by_run(records).values(), *latest_order_checks(records).values())
    return next((record for record in every if record.name == config.model_name), None)


def changes(config: TrainConfig, data: DataSchema, record: Record) -> list[str]:
    """How this run differs from the recorded one; empty for the same run, as planned or with a smaller batch.

    Args:
        config: resolved.
        data: metadata of its data set.
        record: of the run.
    """
    trained = config.root / record.files.get("record", "") / CONFIG
    header = trained.read_text(encoding="utf-8") if trained.is_file() else ""
    if identity(config, data.fingerprint) in {record.identity, *_HASH.findall(header)}:
        return []
    return [*_differing(config, data, record, trained)] or [""]


def _ledger_folder(config: TrainConfig) -> Path | None:
    match = _RUN_NAME.fullmatch(config.model_name)
    folder = config.root / "logs" / match[1] if match else None
    return folder if folder is not None and (folder / "ledger.jsonl").exists() else None


def _differing(config: TrainConfig, data: DataSchema, record: Record, trained: Path) -> Iterator[str]:
    """The differences from the run as it was trained, as far as its record still exists."""
    if record.data != data.fingerprint:
        yield f"data {record.data} -> {data.fingerprint}"
    try:
        before = dict(_flat(parse_file(trained).values)) if trained.is_file() else {}
    except SequifierError:
        return
    for key, value in _flat(plain(config)):
        if key in before and before[key] != value:
            yield f"{key} {before[key]} -> {value}"


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if key in ("model_spec", "training_spec") and isinstance(value, Mapping):
            yield from ((f"{key}.{below}", of) for below, of in value.items())
        else:
            yield key, value
