"""Training runs, searches and inference write the record of an experiment; killed, it can still be read."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sequifier import api
from sequifier.config.inference import InferConfig
from sequifier.config.loading.load import load
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.experiment import Experiment
from sequifier.run_record import previous_loss
from tests.support.quiet import quiet
from tests.support.shop import WriteConfig

FILES = {"experiment_log.txt", "experiment_meta.json", "experiment_data.json", "metrics.jsonl", "config.yaml", "code"}
HOOKS = """
import os
from hook_helper import NAME

os.chdir("data")  # changes no place of the run, here or in a hook

def report(e, *, epoch, metrics, **context):
    os.chdir("data")
    from hook_late import LATE
    e["mine/last"] = epoch
    e.track(f"mine/{NAME}", metrics["val_loss"])
    e.track_many({LATE: epoch})
    e.commit_json(f"epoch-{epoch}.json", metrics)
    with e.open("mine.txt", "a") as file:
        file.write(f"{epoch}\\n")
    assert e.cache.cached("answer")(lambda: 42)() == 42
"""


def test_a_training_run_is_an_experiment_and_its_hooks_get_it(shop: Path, train_config: WriteConfig) -> None:
    for name, text in (("my_hooks", HOOKS), ("hook_helper", "NAME = 'loss'\n"), ("hook_late", "LATE = 'late'\n")):
        (shop / f"{name}.py").write_text(text)
    path = train_config(hooks={"after_epoch": "my_hooks:report"}, user={"threshold": 0.5})
    result = api.train(load(TrainConfig, path).config, emit=quiet)
    e = Experiment.load(shop / "logs" / "tiny" / "latest")
    assert e.path == shop / result.files["record"]
    assert {path.name for path in e.path.iterdir()} >= FILES
    assert Experiment.is_archive(e.path)
    assert Experiment.load_metadata(e.path)["parameters"]["user"] == {"threshold": 0.5}
    assert e.parameters["training_spec"]["epochs"] == 3
    assert (e.metadata["name"], e.metadata["kind"], e.metadata["status"]) == ("tiny", "train", "done")
    assert e["results/best_val_loss"] == result.best_val_loss
    assert e["metrics/epoch"] == [1, 2, 3] == e["late"]
    assert (e["mine/last"], e["mine/loss"]) == (3, e["metrics/val_loss"])
    assert json.loads((e.path / "epoch-3.json").read_text())["val_loss"] == e["mine/loss"][-1]
    assert (e.path / "mine.txt").read_text() == "1\n2\n3\n"
    assert {path.name for path in (e.path / "code").iterdir()} == {"my_hooks.py", "hook_helper.py", "hook_late.py"}
    assert (shop / "logs" / "tiny" / "cache" / "answer.pkl.gz").is_file()


def test_a_training_run_killed_at_a_random_moment_leaves_its_last_epoch(shop: Path, train_config: WriteConfig) -> None:
    path = train_config(training_spec={"epochs": 2_000}, cpu_threads=1)
    command = [sys.executable, "-m", "sequifier", "train", "--config-path", str(path), "--quiet"]
    process = subprocess.Popen(command, cwd=shop)
    metrics = shop / "logs" / "tiny" / "latest" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 2):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.3))
    process.kill()
    process.wait()
    e = Experiment.load(shop / "logs" / "tiny" / "latest")
    assert e.metadata["status"] == "running"
    lines = metrics.read_text().splitlines()
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    assert [entry["epoch"] for entry in entries] == list(range(1, len(entries) + 1))
    assert e["metrics/epoch"] == list(range(1, len(e["metrics/epoch"]) + 1))
    assert len(e["metrics/epoch"]) >= len(entries) - 1, "all epochs, but the one that was being written"
    assert "epoch" in e.log_path.read_text()


def test_a_search_and_an_inference_leave_records(shop: Path, search_config: WriteConfig) -> None:
    config = load(SearchConfig, search_config(model_hyperparameter_sampling={"dim_model": 8, "n_head": [2, 4]})).config
    result = api.search(config, emit=quiet)
    record = Experiment.load(shop / "logs" / "tune" / "latest")
    assert (record.metadata["kind"], record.metadata["status"], record["results/ended"]) == (
        "search",
        "done",
        "complete",
    )
    assert record["results/states"] == {"finished": 2}
    best = next(row for row in result.rows if row.rank == 1)
    assert record["results/best/name"] == best.name
    assert record.parameters["model_hyperparameter_sampling"]["n_head"] == [2, 4]
    log = record.log_path.read_text()
    assert all(f"run {n} starts" in log and f"run {n} finished, validation loss" in log for n in (0, 1))
    n_records = len(list((shop / "logs" / "tune").glob("2*")))
    api.search(config, emit=quiet)
    assert len(list((shop / "logs" / "tune").glob("2*"))) == n_records, "nothing ran, so there is nothing to record"

    said: list[str] = []
    values = {"model_path": best.model_path, "data_path": "data/shop-split2.parquet"}
    (inference,) = api.infer(InferConfig.model_validate(values), log=said.append)
    record = Experiment.load(shop / "logs" / "infer" / "latest")
    assert record.metadata["status"] == "done"
    assert record.parameters["model_path"] == [values["model_path"]]
    (kept,) = record["results/models"]
    assert kept["predictions"] == str(inference.predictions)
    assert kept["evaluation"] == inference.evaluation
    active, *logged = [line.split("  ", 1)[1] for line in record.log_path.read_text().splitlines()]
    assert active == f"active values: model_path [{values['model_path']}], data_path {values['data_path']}"
    assert logged == [line for text in said for line in text.splitlines()]
    with pytest.raises(ConfigError):
        api.infer(InferConfig.model_validate(values | {"data_path": "data/missing.parquet"}), log=said.append)
    assert len(list((shop / "logs" / "infer").glob("2*"))) == 1, "what is wrong in the config leaves no record"


@pytest.mark.parametrize("data", [{"results": [{"best_val_loss": 1.0}]}, {"results": None}, [], {}])
def test_a_record_without_results_of_a_training_has_no_loss_before(tmp_path: Path, data: object) -> None:
    folder = tmp_path / "logs" / "infer" / "2026-01-01__00-00-00__abcdef"
    folder.mkdir(parents=True)
    (folder / "experiment_data.json").write_text(json.dumps(data))
    assert previous_loss(tmp_path, "infer", but=tmp_path) is None
    (folder / "experiment_data.json").write_text('{"results": {"best_val_loss": 0.5, "ended": "finished"}}')
    assert previous_loss(tmp_path, "infer", but=tmp_path) == 0.5
