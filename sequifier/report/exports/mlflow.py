"""A search as an experiment of a local MLflow store: DIR/mlflow.db (SQLite). Models stay where they are, named by tags.

MLflow keeps a run that it deletes until its own `gc`, so runs that have not changed are left as they are.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sequifier.errors import RunError
from sequifier.report.exports.trackers import MADE_BY, TrackedRun, missing, plain_name, tracked_runs
from sequifier.results.settings import shown
from sequifier.results.trials import Table

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run
    from mlflow.tracking import MlflowClient

STORE = "mlflow.db"
DIGEST = "sequifier_digest"
"""Tag of a run: hash of its content; empty while it is being written."""

_METRICS_AT_ONCE, _PARAMS_AT_ONCE = 1000, 100  # the most that MLflow takes in one call
_STATUS = {
    "planned": "SCHEDULED",
    "running": "RUNNING",
    "finished": "FINISHED",
    "pruned": "KILLED",
    "interrupted": "KILLED",
}


def write_mlflow(table: Table, folder: Path) -> int:
    """Write the runs of a search as an experiment named like it; those that have changed since are replaced.

    Args:
        table: of one search.
        folder: of the store; other searches may be in it.

    Returns:
        The number of runs.

    Raises:
        RunError: MLflow is not installed, the store cannot be written to, or has another experiment of this name.
    """
    # No data leaves this machine.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        raise missing("mlflow-skinny") from error
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it logs each table that it creates
    runs = tracked_runs(table)
    path = folder.absolute() / STORE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=f"sqlite:///{path}")
        experiment = _experiment(client, table, path)
        kept = _keep(client, experiment, runs)
        for run in runs:
            if run.trial.name not in kept:
                _write(client, experiment, run)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise RunError(f"cannot write to the MLflow store: {str(error).splitlines()[0]}", where=str(path)) from error
    return len(runs)


def _experiment(client: "MlflowClient", table: Table, path: Path) -> str:
    """Return the id of the search's experiment; another experiment of this name is left alone."""
    source = str(table.source.absolute())
    found: Experiment | None = client.get_experiment_by_name(table.name)
    if found is None:
        place = (path.parent / "artifacts" / plain_name(table.name)).as_uri()
        tags = {
            MADE_BY: source,
            "metric": table.metric,
            "direction": table.direction,
            "mlflow.note.content": f"{table.name}: ranked by {table.metric}, {table.direction}. From {source}",
        }
        return str(client.create_experiment(table.name, artifact_location=place, tags=tags))
    if found.tags.get(MADE_BY) != source:
        raise RunError(
            f"the store has an experiment `{table.name}` that is not an export of this search",
            where=str(path),
            fix="choose another folder, or rename the experiment",
        )
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    for name, value in (("metric", table.metric), ("direction", table.direction)):
        client.set_experiment_tag(found.experiment_id, name, value)
    return str(found.experiment_id)


def _keep(client: "MlflowClient", experiment: str, runs: Sequence[TrackedRun]) -> set[str]:
    """Delete the exported runs that have changed since; returns the names of those that have not."""
    digests = {run.trial.name: _digest(run) for run in runs}
    kept = set()
    for old in _all_runs(client, experiment):
        digest = old.data.tags.get(DIGEST)
        name = str(old.info.run_name)
        if digest is None:
            continue  # not ours
        if digests.get(name) == digest and name not in kept:
            kept.add(name)
        else:
            client.delete_run(old.info.run_id)
    return kept


def _all_runs(client: "MlflowClient", experiment: str) -> "Iterator[Run]":
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        yield from list(page)
        token = page.token
        if not token:
            return


def _write(client: "MlflowClient", experiment: str, run: TrackedRun) -> None:
    from mlflow.entities import Metric, Param, RunTag

    started, ended = int(1000 * run.started), int(1000 * (run.ended or run.started))
    made = client.create_run(experiment, start_time=started, run_name=run.trial.name, tags={DIGEST: ""})
    key = made.info.run_id
    metrics = [
        Metric(_key(name), value, int(1000 * each.time), each.step)
        for each in run.evaluations
        for name, value in each.values.items()
    ]
    last = run.evaluations[-1].step if run.evaluations else 0
    metrics += [Metric(_key(name), value, ended, last) for name, value in run.results.items()]
    for start in range(0, len(metrics), _METRICS_AT_ONCE):
        client.log_batch(key, metrics=metrics[start : start + _METRICS_AT_ONCE])
    params = [Param(_key(name), shown(value)) for name, value in run.settings.items()]
    for start in range(0, len(params), _PARAMS_AT_ONCE):
        client.log_batch(key, params=params[start : start + _PARAMS_AT_ONCE])
    tags = {"run": str(run.trial.number), "search": run.trial.search, **run.facts, "mlflow.note.content": _note(run)}
    client.log_batch(key, tags=[RunTag(name, text) for name, text in tags.items()])
    status = _STATUS.get(run.trial.state, "FAILED")
    if run.ended is None:
        client.update_run(key, status=status)
    else:
        client.set_terminated(key, status, ended)
    client.set_tag(key, DIGEST, _digest(run))


def _note(run: TrackedRun) -> str:
    """Return the description that MLflow shows above a run."""
    model = run.files.get("model")
    lines = [f"Model: `{model}`" if model else "", f"Command: `{run.trial.command}`" if run.trial.command else ""]
    return "\n\n".join(line for line in [*lines, run.trial.error] if line)


def _digest(run: TrackedRun) -> str:
    return hashlib.sha256(repr(run).encode()).hexdigest()


def _key(name: str) -> str:
    """Return a name that MLflow accepts; slashes make groups."""
    return "/".join(map(plain_name, name.split("/")))
