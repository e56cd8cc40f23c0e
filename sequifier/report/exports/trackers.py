"""The runs of a search as trackers (TensorBoard, MLflow) receive them: series, settings and results of each.

A tracker's copy is a snapshot; a second export replaces it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sequifier.artifacts.ledger import DONE, FAILED
from sequifier.artifacts.read_file import json_lines
from sequifier.errors import RunError
from sequifier.experiment.record import METRICS
from sequifier.results.settings import Setting
from sequifier.results.trials import Table, Trial, finite

EXTRA = "pip install 'sequifier-search[trackers]'"
MADE_BY = "sequifier_ledger"
"""Names, in a tracker's folder or store, the file that a copy was made from. Only such a copy is replaced."""


@dataclass(frozen=True)
class Evaluation:
    """One line of metrics.jsonl.

    Attributes:
        step: optimizer steps so far.
        time: seconds since 1970: the start of the run plus its seconds of training and evaluation.
        values: every number of the line, `epoch` included, which is a fraction within an epoch.
    """

    step: int
    time: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrackedRun:
    """One run for a tracker.

    Attributes:
        trial: the run.
        settings: all settings, and the seed.
        evaluations: in order of steps; empty for samplers, and where the record is missing.
        results: `best/METRIC` at the best epoch, `test/METRIC` of the best run on the test split, and the costs; for a
            sampler its score and measures under their own names.
        started: seconds since 1970; 0 where it is not known.
        ended: seconds since 1970; None while the run has not ended.
        files: `record` and `model` -> absolute path.
    """

    trial: Trial
    settings: Mapping[str, Setting]
    evaluations: tuple[Evaluation, ...]
    results: Mapping[str, float]
    started: float
    ended: float | None
    files: Mapping[str, Path]

    @property
    def facts(self) -> dict[str, str]:
        """Texts that are neither numbers nor settings; empty ones are left out."""
        trial = self.trial
        texts = {
            "state": trial.state,
            trial_group(trial): trial.group,
            "command": trial.command,
            "error": trial.error,
            "identity": trial.identity,
            **{what: str(path) for what, path in self.files.items()},
        }
        return {name: text for name, text in texts.items() if text}


def trial_group(trial: Trial) -> str:
    """Return the name of a trial's group: sampler or feature_set."""
    return "sampler" if "sampler" in trial.settings else "feature_set"


def tracked_runs(table: Table) -> list[TrackedRun]:
    """Return the runs of one search, in order of number.

    Args:
        table: of one search, not of several together.
    """
    return [_tracked(table, trial) for trial in table.trials]


def varied(table: Table) -> list[str]:
    """Return the settings in which runs differ, linked ones included, and the seed where it differs."""
    return [*table.all_settings, *(["seed"] if len({trial.seed for trial in table.trials}) > 1 else [])]


def plain_name(name: str) -> str:
    """Return a name that every tracker and file system accepts: letters, digits, `_`, `-`, `.` and spaces."""
    return re.sub(r"[^\w. -]", "_", name).strip(". ") or "_"


def missing(package: str) -> RunError:
    """Return the error for a tracker whose package is not installed."""
    return RunError(f"this needs the package {package}, which is not installed", fix=EXTRA)


def _tracked(table: Table, trial: Trial) -> TrackedRun:
    started = _seconds(trial.started or table.started or table.ended) or 0.0
    ended = _seconds(trial.ended) if trial.state in DONE | FAILED else None
    seed = {} if trial.seed is None else {"seed": trial.seed}
    root = table.folder.absolute().parent.parent
    files = {"record": trial.record, "model": root / trial.model_path if trial.model_path else None}
    return TrackedRun(
        trial=trial,
        settings={**trial.settings, **seed},
        evaluations=() if trial.record is None else read_evaluations(trial.record, started),
        results=_results(table, trial),
        started=started,
        ended=ended,
        files={what: path.absolute() for what, path in files.items() if path is not None},
    )


def read_evaluations(record: Path, started: float) -> tuple[Evaluation, ...]:
    """Read the series of a run.

    The last record of a resumed run has the whole series; of a step that occurs twice, the later line counts.

    Args:
        record: folder of the record.
        started: start of the run, in seconds since 1970.
    """
    found: dict[int, Evaluation] = {}
    earlier_epochs = evaluating = 0.0
    for entry in json_lines(record / METRICS):
        step, spent = entry.get("step"), entry.get("seconds")
        if not isinstance(step, int):
            continue
        spent = spent if isinstance(spent, dict) else {}
        training = finite(spent.get("training")) or 0.0
        evaluating += finite(spent.get("validation")) or 0.0
        time = started + earlier_epochs + training + evaluating
        if isinstance(entry.get("epoch"), int):
            earlier_epochs += training
        found[step] = Evaluation(step, time, _numbers(entry))
    return tuple(found[step] for step in sorted(found))


def _numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a line; those of a map are named `map/name`."""
    flat = {name: value for name, value in entry.items() if name != "step"}
    seconds = entry.get("seconds")
    flat |= {f"seconds/{part}": value for part, value in (seconds if isinstance(seconds, dict) else {}).items()}
    return {name: number for name, value in flat.items() if (number := finite(value)) is not None}


def _results(table: Table, trial: Trial) -> dict[str, float]:
    known: dict[str, Any] = {**trial.metrics, table.metric: trial.value}
    if table.kind == "sampler":
        known["seconds"] = trial.seconds
    else:
        known = {f"best/{name}": value for name, value in {**known, "epoch": trial.best_epoch}.items()}
        known |= {"seconds": trial.seconds, "parameters": trial.n_parameters}
        if table.test.get("run") == trial.number:
            known |= {f"test/{name}": value for name, value in (table.test.get("metrics") or {}).items()}
    return {name: number for name, value in known.items() if (number := finite(value)) is not None}


def _seconds(time: str) -> float | None:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return None
