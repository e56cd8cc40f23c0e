"""The command that reads searches."""

from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner

from sequifier.artifacts.ledger import Ledger, Record
from sequifier.cli.main import cli
from sequifier.config.loading.load import load
from sequifier.config.search import SearchConfig
from sequifier.errors import RunError
from sequifier.results.search_folder import CONFIG_FILE
from sequifier.search.folder import SearchFolder


def test_a_search_is_exported_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Ledger.open(tmp_path / "logs" / "demo") as ledger:
        known = {"run": 0, "name": "demo-run-0", "identity": "0" * 64, "data": "d", "batch_size": 1, "seed": 1}
        ledger.append(Record.model_validate(known | {"state": "finished", "best_val_loss": 0.5}))
    done = CliRunner().invoke(cli, ["search-analysis", "demo", "--export-optuna", "sqlite:///study.db"])
    assert (done.exit_code, done.output) == (0, "1 trial written to sqlite:///study.db\n"), done.exception
    assert optuna.load_study(study_name="demo", storage="sqlite:///study.db").best_value == 0.5
    words = ["--export-optuna", "sqlite:///study.db", "--metric", "val_loss", "--direction", "maximize"]
    assert CliRunner().invoke(cli, ["search-analysis", "demo", *words]).exit_code == 0
    study = optuna.load_study(study_name="demo", storage="sqlite:///study.db")
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    unknown = CliRunner().invoke(cli, ["search-analysis", "demi", "--export-optuna", "sqlite:///study.db"])
    assert isinstance(unknown.exception, RunError)


ASKED = """
metadata_config_path: m.json
hp_search_name: demo
n_samples: 4
target_columns: [a]
input_columns: [[a], [a, b]]
seq_length: {low: 8, high: 16, step: 4}
links: [[batch_size, accumulation_steps]]
start_with: [{training_spec.learning_rate: 3e-4}]
evaluation_script: {command: "x --y 'a b'", metrics: {reach: maximize}}
metric: reach
direction: maximize
keep_models: 3
training_hyperparameter_sampling:
  batch_size: [8, 16]
  accumulation_steps: [2, 1]
  optimizer: [{name: AdamW, weight_decay: {low: 1e-4, high: 1e-1, log: true}}, {name: SGD, momentum: [0, 0.9]}]
"""
OVER_BASE = """
base_config_path: base.yaml
hp_search_name: demo
search_strategy: grid
overrides: {training_spec: {dropout: [0.0, 0.1]}}
"""


@pytest.mark.parametrize("text", [ASKED, OVER_BASE])
def test_the_config_beside_the_ledger_says_what_was_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("metadata_config_path: m.json\nmodel_name: b\ntarget_columns: [a]\n")
    Path("asked.yaml").write_text(text)
    config = load(SearchConfig, Path("asked.yaml")).config
    SearchFolder(Path()).keep_config(config)
    kept = load(SearchConfig, Path(CONFIG_FILE)).config
    assert kept == config.model_copy(update={"base_config_path": None, "overrides": {}})
