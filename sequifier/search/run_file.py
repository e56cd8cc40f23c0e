"""The file of a run: a complete `train.yaml`, written from the plan and compared with it before the run trains."""

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sequifier.artifacts.atomic import write_text
from sequifier.config.dump import dump_yaml, scalar
from sequifier.config.fields import COUNTED, FROM_METADATA
from sequifier.config.identity import identity, plain
from sequifier.config.search import SearchConfig
from sequifier.errors import RunError
from sequifier.printable import command_line
from sequifier.results.settings import field_of, value_at, values_of
from sequifier.search.out_of_memory import Batch
from sequifier.search.plan import Plan, PlannedRun

_BATCH = ("batch_size", "accumulation_steps", "effective_batch_size")
"""Fields of training_spec that a retry rewrites."""

_THREADS = re.compile(r"^cpu_threads:.*$", re.MULTILINE)


def run_folder(config: SearchConfig) -> Path:
    """The folder of the run files: below project_root, unless the path is absolute or starts with it."""
    root, folder = config.root, Path(config.model_config_write_path).expanduser()
    given = folder.is_absolute() or (root.parts and folder.parts[: len(root.parts)] == root.parts)
    return folder if given else root / folder


def write_run_files(plan: Plan, *, limit: int | None = None) -> list[Path]:
    """Write the run files of new runs, and of kept ones whose file is missing.

    The file of a kept run stays as it is: its batch may have been cut to fit into memory. Files appear whole, but are
    not synced to disk one by one: after a power cut the same command writes them again.

    Args:
        plan: the runs to write.
        limit: write at most this many, the first ones by number.

    Returns:
        The files written.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    missing = [run for run in plan.runs if run.record is None or not run.path.exists()][:limit]
    _write_whole((run.path, run_file(run, plan)) for run in missing)
    return [run.path for run in missing]


def run_file(run: PlannedRun, plan: Plan, *, comments: Mapping[str, str] | None = None) -> str:
    """The text of a run file: a complete `train.yaml` without the fields that the metadata give.

    Args:
        run: the run.
        plan: its plan.
        comments: dotted key -> comment after its line.
    """
    header = [
        f"Run {run.number} of the search {plan.config.hp_search_name}, written by sequifier hyperparameter-search.",
        f"Data fingerprint: {plan.fingerprint}",
        f"Run it alone: {command_line('train', '--config-path', run.path)}",
    ]
    values = plain(run.config)
    for name in (*FROM_METADATA, "target_column_types"):
        del values[name]
    return dump_yaml(values, header=header, comments=comments)


def set_threads(run: PlannedRun) -> None:
    """Give an existing run file the run's number of threads; everything else stays, a batch that was cut too."""
    text = run.path.read_text(encoding="utf-8")
    line = f"cpu_threads: {scalar(run.config.cpu_threads)}"
    changed, found = _THREADS.subn(line, text, count=1)
    if not found:
        changed = f"{text.rstrip()}\n{line}\n"
    if changed != text:
        write_text(run.path, changed)


def batch_in(document: Mapping[str, Any]) -> Batch:
    """The batch in a run file: the planned one, or the one that was found to fit."""
    return Batch(*(value_at(document, f"training_spec.{name}", None) for name in _BATCH))


def edited(document: Mapping[str, Any], run: PlannedRun, fingerprint: str) -> str | None:
    """What is wrong with a run file; None where it is as planned.

    Args:
        document: its content.
        run: the run to train.
        fingerprint: fingerprint of the data.
    """
    if not isinstance(document.get("training_spec"), dict):
        return "is not a run file any more"
    planned = run.config.training_spec if run.record is None else run.record
    batch = batch_in(document)
    differing = [
        f"training_spec.{name} {now} instead of {before}"
        for name in _BATCH[:2]
        if (now := getattr(batch, name)) != (before := getattr(planned, name))
    ]
    if identity(run.config, fingerprint) == run.identity:  # else the file may spell the same run differently
        differing += [
            f"{key} {now} instead of {before}"
            for key, before in values_of(run.config, COUNTED).items()
            if (now := value_at(document, key, before)) != before and field_of(key) not in _BATCH
        ]
    return f"was edited: {', '.join(differing)}" if differing else None


def _write_whole(files: Iterable[tuple[Path, str]]) -> None:
    """Write small files, each under a temporary name first."""
    folders: set[Path] = set()
    for path, text in files:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.add(path.parent)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):  # the first error says what is wrong
                temporary.unlink()
            raise RunError(
                f"cannot write {path.name}: {error.strerror}",
                where=str(path.parent),
                fix="free some space or set model_config_write_path to a folder that can be written to",
            ) from error
