"""An MLflow store read back with MLflow itself."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sequifier.artifacts.ledger import LEDGER_FILE
from sequifier.artifacts.sampler_results import SamplerLedger
from sequifier.errors import RunError
from sequifier.report.exports.mlflow import STORE, write_mlflow
from sequifier.report.exports.trackers import tracked_runs
from sequifier.results.read import read_search
from sequifier.results.settings import shown
from sequifier.results.trials import Table
from tests.support.sampler_records import records
from tests.support.synthetic_search import write_search

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("mlflow") is None, reason="the extra `trackers` is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of SQLAlchemy, about what MLflow uses of it
]

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient


def client(folder: Path) -> "MlflowClient":
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder / STORE}")


def runs_of(folder: Path, name: str) -> "dict[str, Run]":
    found = client(folder).search_runs([client(folder).get_experiment_by_name(name).experiment_id])
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found), "none twice"
    return runs


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow looks when it is imported
    write_search(tmp_path, n_runs=5, epochs=3, states={1: "pruned", 2: "failed", 3: "diverged"})
    return tmp_path


def table_of(project: Path) -> Table:
    return read_search(str(project / "logs" / "wide"))


def test_runs_come_back_and_a_second_export_replaces_only_what_changed(project: Path) -> None:
    folder = project / "new" / "store"
    assert write_mlflow(table_of(project), folder) == 5
    runs = runs_of(folder, "wide")
    statuses = [runs[f"wide-run-{number}"].info.status for number in range(5)]
    assert statuses == ["FINISHED", "KILLED", "FAILED", "FAILED", "FINISHED"]
    for run in tracked_runs(table_of(project)):
        found = runs[run.trial.name]
        assert found.data.params == {name: shown(value) for name, value in run.settings.items()}
        assert found.data.metrics.items() >= run.results.items()
        for name in ("val_loss", "train_loss", "learning_rate", "epoch", "seconds/training") if run.evaluations else ():
            history = client(folder).get_metric_history(found.info.run_id, name)
            assert [(each.step, each.value) for each in history] == [
                (each.step, each.values[name]) for each in run.evaluations
            ]
        assert found.data.tags["state"] == run.trial.state and found.data.tags["run"] == str(run.trial.number)
        assert found.info.start_time == int(1000 * run.started)
    assert runs["wide-run-0"].data.tags["model"] == str(project / "models" / "sequifier-wide-run-0-best-3.onnx")
    assert runs["wide-run-2"].data.tags["error"] == "ValueError: no; to reproduce: x"

    ledger = project / "logs" / "wide" / LEDGER_FILE
    lines = ledger.read_text().splitlines(keepends=True)
    changed = json.loads(lines[-1])
    ledger.write_text("".join([*lines, json.dumps({**changed, "metrics": {"val_loss": 0.125}}) + "\n"]))
    client(folder).create_run(client(folder).get_experiment_by_name("wide").experiment_id, run_name="mine")
    write_mlflow(table_of(project), folder)
    again = runs_of(folder, "wide")
    assert again.pop("mine")
    assert again["wide-run-4"].data.metrics["best/val_loss"] == 0.125
    same = {name for name, run in again.items() if run.info.run_id == runs[name].info.run_id}
    assert same == set(runs) - {"wide-run-4"} and set(again) == set(runs)

    write_mlflow(replace(table_of(project), trials=table_of(project).trials[:2]), folder)
    assert set(runs_of(folder, "wide")) == {"wide-run-0", "wide-run-1", "mine"}


def test_another_experiment_of_this_name_is_left_alone(project: Path) -> None:
    folder = project / "store"
    folder.mkdir()
    client(folder).create_experiment("wide")
    with pytest.raises(RunError, match="not an export of this search") as caught:
        write_mlflow(table_of(project), folder)
    assert caught.value.where == str(folder / STORE)
    assert runs_of(folder, "wide") == {}
    (project / "broken").mkdir()
    (project / "broken" / STORE).write_text("no database at all\n" * 100)
    with pytest.raises(RunError, match="cannot write to the MLflow store"):
        write_mlflow(table_of(project), project / "broken")


def test_several_searches_of_both_kinds_share_a_store(project: Path) -> None:
    with SamplerLedger.open(project / "logs" / "hot") as ledger:
        for record in records(6):
            ledger.append(record)
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_DISABLE_TELEMETRY"}
    words = ["-m", "sequifier", "search-analysis", "wide", "hot", "--mlflow", "store"]
    done = subprocess.run(
        [sys.executable, *words], cwd=project, capture_output=True, text=True, check=True, env=environment
    )
    shown = "11 runs written to store, to see them: mlflow ui --backend-store-uri sqlite:///store/mlflow.db\n"
    assert (done.stdout, done.stderr) == (shown, ""), "and MLflow itself says nothing"
    runs = runs_of(project / "store", "hot")
    table = read_search(str(project / "logs" / "hot"))
    for trial in table.trials:
        found = runs[trial.name].data
        assert found.params["sampler"] == trial.group == found.tags["sampler"]
        assert found.metrics.get("score") == trial.value
    assert len(runs_of(project / "store", "wide")) == 5
    assert sorted(path.name for path in (project / "store").iterdir()) == [STORE]
