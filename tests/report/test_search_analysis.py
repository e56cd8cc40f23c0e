"""The command that reads searches."""

from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner

from sequifier.artifacts.ledger import Ledger, Record
from sequifier.cli.main import cli
from sequifier.errors import RunError


def test_a_search_is_exported_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Ledger.open(tmp_path / "logs" / "demo") as ledger:
        known = {"run": 0, "name": "demo-run-0", "identity": "0" * 64, "data": "d", "batch_size": 1, "seed": 1}
        ledger.append(Record.model_validate(known | {"state": "finished", "best_val_loss": 0.5}))
    done = CliRunner().invoke(cli, ["search-analysis", "demo", "--export-optuna", "sqlite:///study.db"])
    assert (done.exit_code, done.output) == (0, "1 trial written to sqlite:///study.db\n"), done.exception
    assert optuna.load_study(study_name="demo", storage="sqlite:///study.db").best_value == 0.5
    unknown = CliRunner().invoke(cli, ["search-analysis", "demi", "--export-optuna", "sqlite:///study.db"])
    assert isinstance(unknown.exception, RunError)
