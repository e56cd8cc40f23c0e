"""Configs as scopes: hooks and evaluation scripts read the config of their run, `-D` and `user.` keys included."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from sequifier.cli.main import cli
from sequifier.config.inference import InferConfig
from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.params import frozen, param_scope
from tests.support.shop import WriteConfig

HOOKS = """
from concurrent.futures import ThreadPoolExecutor
from sequifier.params import auto_param, param_scope

AT_IMPORT = param_scope.user.threshold | 0.5

@auto_param("user.report")
def report(digits=2, title="run"):
    return f"{title} {digits}"

def look(e, *, epoch, **context):
    seen = {
        "import": AT_IMPORT,
        "threshold": param_scope.user.threshold | 0.5,
        "word": param_scope.user.word | "none",
        "unset": param_scope.user.unset | 7,
        "rate": param_scope.training_spec.learning_rate | 0,
        "optimizer": param_scope.training_spec.optimizer.name(),
        "resolved": param_scope.seq_length | 0,
        "report": report(),
    }
    with ThreadPoolExecutor(1) as executor:
        seen["thread"] = executor.submit(lambda: param_scope.user.threshold | 0.5).result()
    param_scope.user.unset = epoch  # holds until the end of the run
    e.track("seen", seen)
"""


def seen_by_hooks(shop: Path, name: str) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = json.loads((shop / f"logs/{name}/latest/experiment_data.json").read_text())["seen"]
    return seen


def in_a_thread() -> list[str]:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(param_scope.keys).result()


def test_hooks_read_the_config_of_their_run(shop: Path, train_config: WriteConfig) -> None:
    (shop / "looking.py").write_text(HOOKS)
    path = train_config(
        hooks={"after_epoch": "looking:look"},
        user={"threshold": 0.6, "report": {"digits": 3}},
        training_spec={"epochs": 2},
    )
    words = ["user.threshold=0.8", "user.word=no", "training_spec.learning_rate=2e-3", "user.report.title=best"]
    with param_scope(outside=1):
        frozen()
        cli.main(["train", "--config-path", str(path), "--quiet", "-D", *words], standalone_mode=False)
        assert in_a_thread() == param_scope.keys() == ["outside"], "the end of a run takes its config away"
        with param_scope.empty():
            frozen()
    expected = {
        "import": 0.8,
        "threshold": 0.8,
        "word": "no",
        "unset": 7,
        "rate": 0.002,
        "optimizer": "Adam",
        "resolved": 8,
        "report": "best 3",
        "thread": 0.8,
    }
    assert seen_by_hooks(shop, "tiny") == [expected, expected | {"unset": 1}]
    resolved = yaml.safe_load((shop / "logs/tiny/latest/config.yaml").read_text())
    assert resolved["user"] == {"threshold": 0.8, "report": {"digits": 3, "title": "best"}, "word": "no"}


SCORE = """
import json, sys
from sequifier.params import param_scope
run = json.load(sys.stdin)
seen = {
    "threshold": param_scope.user.threshold | 0.5,
    "dropout": param_scope.training_spec.dropout(),
    "name": param_scope.model_name(),
}
json.dump(seen, open(f"scored-{run['run']}.json", "w"))
print(json.dumps({"score": param_scope.user.threshold | 0.5}))
"""


def test_runs_of_a_search_and_its_script_read_the_config_of_the_run(shop: Path, search_config: WriteConfig) -> None:
    (shop / "looking.py").write_text(HOOKS)
    (shop / "score.py").write_text(SCORE)
    path = search_config(
        hooks={"after_epoch": "looking:look"},
        user={"word": "off"},
        evaluation_script={"command": f"{sys.executable} score.py", "metrics": {"score": "maximize"}},
        metric="score",
        direction="maximize",
        model_hyperparameter_sampling={"dim_model": 8, "n_head": 2},
        training_hyperparameter_sampling={"epochs": 1, "dropout": [0.0, 0.1]},
        export_onnx=False,
    )
    command = [sys.executable, "-m", "sequifier", "hyperparameter-search", "--config-path", str(path), "--yes"]
    done = subprocess.run(
        [*command, "-D", "user.threshold=0.8"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "SEQUIFIER_PARAMS": ""},
    )
    assert done.returncode == 0, done.stderr
    for run, dropout in enumerate([0.0, 0.1]):
        (seen,) = seen_by_hooks(shop, f"tune-run-{run}")
        assert (seen["threshold"], seen["thread"], seen["word"]) == (0.8, 0.8, "off")
        assert seen["unset"] == 7, "nothing stays from the run before in the worker"
        scored = json.loads((shop / f"scored-{run}.json").read_text())
        assert scored == {"threshold": 0.8, "dropout": dropout, "name": f"tune-run-{run}"}
        written = yaml.safe_load((shop / f"configs/hp_search/tune-run-{run}.yaml").read_text())
        assert written["user"] == {"word": "off", "threshold": 0.8}
    records = [json.loads(line) for line in (shop / "logs/tune/ledger.jsonl").read_text().splitlines()]
    finished = [record for record in records if record["state"] == "finished"]
    assert [record["metrics"]["score"] for record in finished] == [0.8, 0.8]

    again = [*command, "--dry-run", "-D", "user.threshold=0.9"]
    planned = subprocess.run(again, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert planned.returncode == 0, planned.stderr
    assert (shop / "configs/hp_search/tune-run-3.yaml").exists(), "another user key is another configuration"


CONFIGS: dict[Any, dict[str, Any]] = {
    PreprocessConfig: {"data_path": "data/shop.csv", "seq_length": 8},
    TrainConfig: {"metadata_config_path": "m.json", "model_name": "x", "target_columns": ["item"]},
    InferConfig: {"model_path": "models/x.onnx"},
    SearchConfig: {
        "metadata_config_path": "m.json",
        "hp_search_name": "x",
        "search_strategy": "grid",
        "target_columns": ["item"],
    },
    SamplerSearchConfig: {"model_path": "models/x.onnx"},
}


@pytest.mark.parametrize("model", CONFIGS, ids=lambda model: model.__name__)
def test_user_keys_are_free_in_every_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**CONFIGS[model], "user": {"a": {"b": [1]}}}))
    words = ["user.a.c=1e-3", "user.word=yes", "user.number=7", "user.flag=true", "user.nothing=None", "user.x.y.z=w"]
    config = load(model, path, defines=words).config
    expected = {
        "user.a.b": [1],
        "user.a.c": 0.001,
        "user.word": "yes",
        "user.number": 7,
        "user.flag": True,
        "user.nothing": None,
        "user.x.y.z": "w",
    }
    with param_scope(config.model_dump(mode="json")):
        assert {key: value for key, value in param_scope.as_dict().items() if key.startswith("user.")} == expected
        assert param_scope.project_root | "" == "."
    for word, place in {"user.x=.inf": "x", "user.x={y: [1, .nan]}": r"x\.y\[1\]"}.items():
        with pytest.raises(ConfigError, match=f"`{place}`: (inf|nan) cannot be stored; write it as a string"):
            load(model, path, defines=[word])
