"""Run files read back. Records of older versions do not hold what their run is; its run file does.

Readers complete such records in memory and write nothing; the next search appends the completed ones to its ledger.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sequifier.artifacts.ledger import Record, latest_by_run
from sequifier.artifacts.read_file import object_or_none
from sequifier.config.identity import ROOT_DEFAULTS, by_key, canonical, differing, identity
from sequifier.config.loading.yaml12 import parse_file
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.experiment.record import DATA
from sequifier.results.settings import DERIVED, NO_SETTINGS, values_of

RUN_FILES = Path("configs") / "hp_search"
"""Folder of the run files below project_root, unless the search config names another."""

_PLANNED = re.compile(r"^ +(batch_size|accumulation_steps): .*# was (\d+)", re.MULTILINE)
"""What a retry with a smaller batch writes behind the lines that it changes."""


class RunFiles:
    """Completes the records of older versions.

    Args:
        records: of a ledger.
        root: the project's folder.
        folder: of the run files; None: where the records say.
        searched: dotted keys that the search varies; None: every value that is not its default.
    """

    def __init__(
        self,
        records: Sequence[Record],
        root: Path,
        *,
        folder: Path | None = None,
        searched: Sequence[str] | None = None,
    ) -> None:
        named = (Path(record.files["config"]).parent for record in records if "config" in record.files)
        self.root, self._folder = root, folder or next(named, RUN_FILES)
        self._searched = searched
        self._found: dict[tuple[int, str], tuple[Record, Record]] = {}

    def named(self, record: Record) -> str:
        """The run file of a record as the search names it, from the folder in which the search was started."""
        return record.files.get("config") or str(self._folder / f"{record.name}.yaml")

    def path(self, record: Record) -> Path:
        """The run file of a record, from the working folder."""
        path = Path(self.named(record))
        return path if path.exists() or path.is_absolute() else self.root / path

    def completed(self, record: Record) -> Record:
        """The record with what its run is; unchanged where it has that, or where the run file is gone or edited."""
        if record.settings is not None:
            return record
        known = self._found.get((record.run, record.identity))
        if known is None or known[0] is not record:
            known = self._found[record.run, record.identity] = record, self._completed(record)
        return known[1]

    def config(self, record: Record) -> TrainConfig | None:
        """The planned config of a run; None where its file is gone, damaged or edited."""
        path = self.path(record)
        document = read_document(path)
        try:
            config = TrainConfig.model_validate(document) if document else None
        except ValidationError:
            return None
        if config is None:
            return None
        for each in (config, _with_planned_batch(config, path)):
            if identity(each, record.data) == record.identity:
                return canonical(each)
        return None

    def _completed(self, record: Record) -> Record:
        config = self.config(record)
        if config is None:
            return record
        parts = (differing(config), differing(config.model_spec), differing(config.training_spec))
        values = {key: value for key, value in by_key(*parts).items() if key not in NO_SETTINGS}
        given = [key for key in values if key not in DERIVED]
        settings = values_of(config, given if self._searched is None else self._searched)
        without_seed = config.model_copy(update={"seed": ROOT_DEFAULTS["seed"]})
        update = {
            "settings": settings,
            "fixed": {key: value for key, value in values.items() if key not in settings},
            "configuration": identity(without_seed, record.data),
            "n_parameters": record.n_parameters or self._n_parameters(record),
            "columns": record.columns or list(config.target_columns),
        }
        return record.model_copy(update=update)

    def _n_parameters(self, record: Record) -> int | None:
        """The size of the model as the run recorded it."""
        if "record" not in record.files:
            return None
        results = (object_or_none(self.root / record.files["record"] / DATA) or {}).get("results")
        size = results.get("parameters") if isinstance(results, dict) else None
        return size if isinstance(size, int) else None


def completed(records: Sequence[Record], root: Path) -> list[Record]:
    """The last record of each run with what the run is, by number.

    Args:
        records: a ledger.
        root: the project's folder.
    """
    files = RunFiles(records, root)
    return [files.completed(record) for record in latest_by_run(records).values()]


def _with_planned_batch(config: TrainConfig, path: Path) -> TrainConfig:
    """The config before its batch was cut to fit into memory, as the comments of the run file say it."""
    planned = {name: int(number) for name, number in _PLANNED.findall(path.read_text(encoding="utf-8"))}
    spec = config.training_spec.model_copy(update={**planned, "effective_batch_size": None})
    return config.model_copy(update={"training_spec": spec})


def read_document(path: Path) -> Mapping[str, Any]:
    """A YAML file as plain values; empty when it is gone or damaged: it only serves to describe a search."""
    try:
        values = parse_file(path).values
    except ConfigError:
        return {}
    return values if isinstance(values, Mapping) else {}
