"""A model with time features outside of Sequifier: the scripts of docs/deploy.md and the call in its card."""

import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sequifier import api
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from tests.support.node import install_onnxruntime_node, run_outside
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, merged, preprocess_shop
from tests.support.trained_shop import infer

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
ZONE = "America/New_York"
MODEL, RAW_MODEL = "models/sequifier-dates-best-1.onnx", "models/sequifier-dates-best-end-to-end-1.onnx"


def visits(n_customers: int, lengths: tuple[int, ...], *, offset: bool = True) -> pl.DataFrame:
    """Customers whose visits go over a change of clocks; some dates are missing."""
    rows = []
    for customer in range(n_customers):
        at = datetime(2024, 3, 8, 12, tzinfo=UTC) + timedelta(minutes=7 * customer)
        for visit in range(lengths[customer % len(lengths)]):
            item, local = (visit * 2 + customer) % 6, at.astimezone(ZoneInfo(ZONE))
            due = None if visit % 4 == 3 else (at + timedelta(days=item - 2)).isoformat()
            shown = local.isoformat() if offset else local.replace(tzinfo=None).isoformat()
            rows.append((f"c{customer:02}", shown, f"item{item}", due))
            at += timedelta(hours=1 + 3 * item, seconds=customer)
    return pl.DataFrame(rows, schema=["customer", "visit", "item", "due"], orient="row")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dates")
    (root / "data").mkdir()
    visits(12, (30,)).write_csv(root / "data" / "shop.csv")
    preprocess_shop(
        root,
        time_features={"visit": ["gap", "since_first", "hour", "weekday"], "due": ["until"]},
        time_zone=ZONE,
        time_unit="hours",
        fill_null={"due_until": "mean"},
    )
    values = {"project_root": str(root), "model_name": "dates", "export_end_to_end": True, "seq_length": 8}
    values |= {"target_columns": ["item", "time_gap"], "training_spec": {"epochs": 1}}
    api.train(TrainConfig.model_validate(merged(TINY_RUN, values)), emit=quiet)
    return root


@pytest.fixture
def dates(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a shop with dates, and a model of it that reads time features."""
    monkeypatch.chdir(trained)
    return trained


def expected(table: pl.DataFrame) -> pl.DataFrame:
    table.write_csv("data/new.csv")
    (found,) = infer(MODEL, read_format="raw", data_path="data/new.csv")
    names = {"sequenceId": "customer", "item": "item_label", "time_gap": "time_gap_value"}
    return pl.read_csv(found.predictions).select(*names).rename(names).sort("customer")


def assert_predicts(table: pl.DataFrame, *command: object, cwd: Path) -> None:
    theirs = expected(table)
    done = run_outside(*command, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    ours = pl.read_csv("predictions.csv").select(*theirs.columns).sort("customer")
    assert_frame_equal(ours, theirs, rel_tol=1e-4, abs_tol=1e-4)


@pytest.mark.parametrize("offset", [True, False], ids=["with an offset", "local time"])
def test_the_python_script_makes_the_inputs_for_dates(dates: Path, offset: bool) -> None:
    """Histories longer and shorter than the window, over a change of clocks."""
    table = visits(9, (1, 3, 8, 9, 20), offset=offset)
    command = (sys.executable, DEPLOY / "predict_csv.py", RAW_MODEL, "data/new.csv", "predictions.csv")
    assert_predicts(table, *command, cwd=dates)


@pytest.mark.slow
def test_the_javascript_makes_the_inputs_for_dates(dates: Path, tmp_path: Path) -> None:
    install_onnxruntime_node(tmp_path)
    program = shutil.copy(DEPLOY / "predict_csv.mjs", tmp_path)
    files = (dates / RAW_MODEL, dates / "data/new.csv", dates / "predictions.csv")
    assert_predicts(visits(9, (1, 3, 8, 9, 20)), "node", program, *files, "customer", "visit", cwd=tmp_path)


def test_the_script_for_polars_names_the_one_that_makes_dates(dates: Path) -> None:
    visits(2, (3,)).write_csv("data/new.csv")
    done = run_outside(sys.executable, DEPLOY / "score_csv.py", RAW_MODEL, "data/new.csv", "scores.parquet")
    assert done.returncode == 1
    assert "predict_csv.py makes its inputs" in done.stderr


def test_the_card_shows_a_call_that_runs(dates: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = api.export("dates", project_root=str(dates), end_to_end=True, card=True, log=quiet)[-1].read_text()
    exec(card.split("```python")[1].split("```")[0], {})
    assert "time_gap_value" in capsys.readouterr().out


def test_a_column_called_like_an_input_for_dates_is_an_error_before_training(dates: Path) -> None:
    visits(12, (30,)).rename({"item": "position"}).write_csv("data/other.csv")
    base = {"data_path": str(dates / "data" / "other.csv"), "selected_columns": ["position"]}
    preprocess_shop(dates, **base, time_features=["gap"])
    values = {"project_root": str(dates), "metadata_config_path": "configs/metadata_configs/other.json"}
    values |= {"model_name": "clash", "target_columns": ["position"], "export_end_to_end": True}
    with pytest.raises(ConfigError, match="column `position` has the name of an input for dates"):
        api.train(TrainConfig.model_validate(merged(TINY_RUN, values)), emit=quiet)
    assert not (dates / "checkpoints" / "clash-epoch-1.pt").exists()
