"""Metrics that a user's own program measures on a trained model: `evaluation_script`.

The program is started in project_root after each run, without a shell. It receives the run as JSON on standard input
and in the environment variables of `ENVIRONMENT`, and prints its metrics as one JSON object in the last line of its
standard output. If anything goes wrong, the run has failed.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sequifier.artifacts.read_file import parse_json
from sequifier.config.catalogue.metric_names import split_step
from sequifier.config.search_fields import EvaluationScript
from sequifier.errors import RunError
from sequifier.experiment.record import META
from sequifier.params import PARAMS_FILE
from sequifier.processes import Ended, run_program

ENVIRONMENT = {
    "SEQUIFIER_RUN": "number of the run",
    "SEQUIFIER_NAME": "its name",
    "SEQUIFIER_CONFIG": "its run file",
    "SEQUIFIER_MODEL": "its best exported model, empty without one",
    "SEQUIFIER_RECORD": "folder of its record: metrics.jsonl, log, config",
    "SEQUIFIER_PROJECT_ROOT": "folder of the project, which is also the working folder",
    "SEQUIFIER_METRICS": "its metrics at the best epoch, as JSON; where they are too long, without those of steps",
    PARAMS_FILE: "its config as JSON, from which `param_scope` in the program starts",
}
"""Environment variables of the program. Paths are absolute."""

_LONGEST = 100_000
"""Characters of a variable, of which Linux takes 131,071."""


@dataclass(frozen=True)
class TrainedRun:
    """A trained run, as the program receives it.

    Attributes:
        number: of the run.
        name: of the run.
        config_path: its run file.
        files: what (`best_onnx`, `record`, ...) -> path below project_root, as in the ledger.
        metrics: at its best epoch.
        project_root: of the search.
    """

    number: int
    name: str
    config_path: Path
    files: Mapping[str, str]
    metrics: Mapping[str, float]
    project_root: Path


def measure(
    script: EvaluationScript, run: TrainedRun, *, is_cancelled: Callable[[], bool] = lambda: False
) -> dict[str, float]:
    """Run the program on a trained model.

    The program is killed with everything it started when its time is up, when it is cancelled, when this call is left
    by an exception, and when this process dies.

    Returns:
        The metrics that the config names, all of them finite.

    Raises:
        RunError: the program failed, took too long, or did not print all metrics.
    """
    described = _described(run)
    ended = run_program(
        script.command,
        json.dumps(described) + "\n",
        cwd=described["project_root"],
        environment={**os.environ, **_environment(described)},
        timeout_seconds=60 * script.timeout_minutes,
        is_cancelled=is_cancelled,
    )
    if ended.code is None:
        raise _failure(script, f"it took longer than {script.timeout_minutes:g} minutes and was ended", ended)
    if ended.code != 0:
        raise _failure(script, ended.how, ended)
    return _metrics(script, ended.output)


def _described(run: TrainedRun) -> dict[str, Any]:
    """The run as the program reads it from standard input."""
    root = run.project_root.absolute()
    files = {what: str(root / path) for what, path in run.files.items() if what not in ("record", "config")}
    return {
        "run": run.number,
        "name": run.name,
        "config": str(run.config_path.absolute()),
        "model": next((path for what, path in files.items() if what.startswith("best")), ""),
        "files": files,
        "record": str(root / run.files["record"]) if "record" in run.files else "",
        "project_root": str(root),
        "metrics": dict(run.metrics),
    }


def _environment(described: Mapping[str, Any]) -> dict[str, str]:
    values = {**described, "params": str(Path(described["record"]) / META) if described["record"] else ""}
    if len(json.dumps(described["metrics"])) > _LONGEST:
        values["metrics"] = {name: value for name, value in values["metrics"].items() if split_step(name)[1] is None}
    given = {name: values[name.removeprefix("SEQUIFIER_").lower()] for name in ENVIRONMENT}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}


def _metrics(script: EvaluationScript, text: str) -> dict[str, float]:
    """The declared metrics from the last line of the output."""
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    try:
        values = parse_json(last)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise _failure(script, f"the last line of its output is not a JSON object: {last[:200]!r}")
    for name in script.metrics:
        if name not in values:
            raise _failure(script, f"it did not print `{name}`, only {', '.join(values) or 'an empty object'}")
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _failure(script, f"its `{name}` is {json.dumps(value)}, not a finite number")
    return {name: float(values[name]) for name in script.metrics}


def _failure(script: EvaluationScript, reason: str, ended: Ended | None = None) -> RunError:
    message = f"evaluation script failed: {reason}" + (f": {ended.last_words}" if ended and ended.last_words else "")
    return RunError(message, where=f"evaluation_script.command: {script.command}")
