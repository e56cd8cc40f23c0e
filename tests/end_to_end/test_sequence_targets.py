"""Targets of whole sequences through training, inference, export and search."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
import yaml

from sequifier import api
from sequifier.artifacts.sequence_losses import ONE_MODEL, read_unit_sums
from sequifier.config.inference import InferConfig
from sequifier.config.loading.load import load
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, DataError, ModelError
from sequifier.metrics.ordering import Ordering
from sequifier.prepare import prepare
from sequifier.score import score
from sequifier.search.optimizer_steps import StepCounter
from sequifier.training.shared import Shared
from tests.support.cases import label_config, preprocess_cases
from tests.support.command_line import run_here, sequifier
from tests.support.quiet import quiet
from tests.support.runs import latest, train
from tests.support.shop import working_copy

MIXED = {"target_columns": ["outcome", "activity", "total"], "target_positions": {"outcome": "every"}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cases")
    preprocess_cases(root)
    return root


@pytest.fixture
def root(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return working_copy(project, tmp_path, monkeypatch)


def infer(root: Path, model: str, log: Callable[[str], None] = quiet, **fields: Any) -> pl.DataFrame:
    """Predict with a model of the project; returns the last of its tables."""
    values = {"project_root": str(root), "model_path": model, **fields}
    (root / "configs" / "infer.yaml").write_text(yaml.safe_dump(values))
    results = api.infer(load(InferConfig, root / "configs" / "infer.yaml").config, log=log)
    return pl.read_csv(results[-1].predictions)


def last_events(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("case", maintain_order=True).last()


def test_infer_writes_one_row_for_each_sequence_from_encoded_and_from_raw_events(root: Path) -> None:
    result = train(label_config(root)(export_pt=True))
    encoded = infer(root, result.files["best_onnx"])
    assert encoded.columns == ["sequenceId", "itemPosition", "outcome", "outcome=lost", "outcome=won"]
    table = pl.read_csv(root / "data" / "cases.csv")
    expected = last_events(table.filter(pl.col("case").is_in(encoded["sequenceId"].to_list())))
    assert encoded["sequenceId"].to_list() == expected["case"].to_list()
    assert encoded["itemPosition"].to_list() == expected["step"].to_list()
    lost = encoded["outcome=lost"].to_numpy()
    np.testing.assert_allclose(lost + encoded["outcome=won"].to_numpy(), 1, rtol=1e-6)
    assert encoded["outcome"].to_list() == ["lost" if p > 0.5 else "won" for p in lost]

    raw_path = root / "data" / "new.csv"  # a running case has no outcome yet
    table.drop("outcome", "total").write_csv(raw_path)
    for kind in ("best_onnx", "best_pt"):
        raw = infer(root, result.files[kind], read_format="raw", data_path=str(raw_path))
        assert len(raw) == table["case"].n_unique()
        both = encoded.join(raw, on="sequenceId", validate="1:1")
        assert len(both) == len(encoded)
        np.testing.assert_allclose(both["outcome=lost"], both["outcome=lost_right"], rtol=1e-5)


def test_infer_evaluates_as_training_does(root: Path) -> None:
    result = train(label_config(root)())
    table = infer(root, result.files["best_onnx"], data_path="data/cases-split1.parquet")
    (path,) = (root / "outputs" / "predictions").glob("*split1-evaluation.json")
    found = json.loads(path.read_text())["outcome"]
    assert found["n"] == result.n_targets["outcome"] == len(table)
    for name in ("log_loss", "accuracy", "macro_f1", "brier", "auc", "average_precision"):
        assert found[name] == pytest.approx(result.metrics[f"val_outcome_{name}"], rel=1e-4), name
    truth = last_events(pl.read_csv(root / "data" / "cases.csv")).rename({"case": "sequenceId"})
    both = table.join(truth, on="sequenceId")
    probabilities = both.select("outcome=lost", "outcome=won").to_numpy()
    is_won = (both["outcome_right"] == "won").to_numpy().astype(np.int64)
    rarest = 0  # among the training cases
    assert result.inputs["positive_class.outcome"] == "lost"
    expected = Ordering(probabilities, is_won, rarest).metrics()
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)


def test_a_mixed_model_has_one_table_of_events_and_one_of_sequences(root: Path) -> None:
    result = train(label_config(root)(**MIXED))
    events = pl.read_parquet(root / "data" / "cases-split1.parquet")
    n_events, n_cases = len(events), events["sequenceId"].n_unique()
    assert result.n_targets == {"outcome": n_events, "activity": n_events - n_cases, "total": n_cases}
    of_sequences = infer(root, result.files["best_onnx"])
    assert of_sequences.columns[2:] == ["outcome", "total", "outcome=lost", "outcome=won"]
    of_events = pl.read_csv(
        root / "outputs" / "predictions" / f"{Path(result.files['best_onnx']).stem}-predictions.csv"
    )
    assert of_events.columns == ["sequenceId", "itemPosition", "activity"]
    assert {path.name for path in (root / "outputs" / "predictions").glob("*evaluation.json")} == {
        f"{Path(result.files['best_onnx']).stem}{ending}-evaluation.json" for ending in ("", "-sequences")
    }
    lines: list[str] = []
    infer(root, result.files["best_onnx"], lines.append, target_columns=["outcome"])
    assert any(line.startswith("outcome after the last event of each sequence: ") for line in lines)
    only = infer(root, result.files["best_onnx"], target_columns=["total"])
    np.testing.assert_allclose(only["total"], of_sequences["total"], rtol=1e-6)


def test_the_end_to_end_graph_gives_one_label_for_each_sequence(root: Path) -> None:
    result = train(label_config(root)(export_end_to_end=True, model_spec={"prediction_length": 2}, **MIXED))
    table = infer(root, result.files["best_onnx"])
    session = onnxruntime.InferenceSession(root / result.files["best-end-to-end_onnx"])
    shapes = {output.name: output.shape[1:] for output in session.get_outputs()}
    assert shapes == {
        "outcome_label": [],
        "outcome_probabilities": [3],
        "activity_label": [2],
        "activity_probabilities": [2, 5],
        "total_value": [],
    }
    raw = pl.read_csv(root / "data" / "cases.csv")
    for row in table.head(10).iter_rows(named=True):
        case = raw.filter(pl.col("case") == row["sequenceId"]).tail(6)
        n_events = len(case)
        activity = ["?"] * (6 - n_events) + case["activity"].to_list()
        amount = [np.nan] * (6 - n_events) + case["amount"].to_list()
        feed = {
            "activity": np.array([activity], object),
            "amount": np.array([amount], np.float32),
            "n_events": np.array([n_events]),
        }
        label, probabilities, total = session.run(["outcome_label", "outcome_probabilities", "total_value"], feed)
        assert label.tolist() == [row["outcome"]]
        np.testing.assert_allclose(probabilities[0, 1:], [row["outcome=lost"], row["outcome=won"]], rtol=1e-4)
        np.testing.assert_allclose(total, row["total"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", [{}, {"outcome": "every", "total": "last"}])
def test_a_resumed_run_equals_one_without_a_break(root: Path, positions: dict[str, str]) -> None:
    config = label_config(root)
    fields = {"target_columns": ["outcome", "activity", "total"], "target_positions": positions}
    whole = train(config(**fields, training_spec={"epochs": 3, "dropout": 0.1}), resume="never")
    first = train(config(**fields, training_spec={"epochs": 3, "dropout": 0.1, "max_steps": 8}), resume="never")
    rest = train(config(**fields, training_spec={"epochs": 3, "dropout": 0.1}), resume="auto")
    assert first.metrics != whole.metrics
    assert (rest.metrics, rest.curve[-1]) == (whole.metrics, whole.curve[-1])


def test_a_search_ranks_by_the_area_and_scores_the_best_run_on_the_test_split(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    search = {
        "project_root": str(root),
        "metadata_config_path": "configs/metadata_configs/cases.json",
        "hp_search_name": "tune",
        "search_strategy": "grid",
        "target_columns": ["outcome"],
        "metric": "val_outcome_auc",
        "direction": "maximize",
        "execution": {"devices": 1},
        "model_hyperparameter_sampling": {"dim_model": [8, 16], "n_head": 2, "num_layers": 1},
        "training_hyperparameter_sampling": {
            "device": "cpu",
            "epochs": 2,
            "learning_rate": 0.01,
            "class_weights": [None, {"outcome": "balanced"}],
        },
    }
    path = root / "configs" / "hyperparameter_search.yaml"
    path.write_text(yaml.safe_dump(search))
    done = sequifier("hyperparameter-search")
    assert done.returncode == 0, done.stderr
    records = latest(root)
    assert {record.state for record in records.values()} == {"finished"} and len(records) == 4
    assert len({record.metrics["val_outcome_loss"] for record in records.values()}) == 4
    best = max(record.metrics["val_outcome_auc"] for record in records.values())
    assert f"{best:.3f}"[:5] in done.stdout or f"{best:.4f}" in done.stdout
    test = json.loads((root / "logs" / "tune" / "test.json").read_text())
    assert "val_outcome_average_precision" in json.dumps(test)
    report = run_here(monkeypatch, capfd, "search-analysis", "tune")
    assert report.code == 0 and "val_outcome_auc" in report.out
    again = sequifier("hyperparameter-search")
    assert again.returncode == 0 and len(latest(root)) == 4, "nothing is left to train"
    path.write_text(yaml.safe_dump(search | {"positive_class": {"outcome": "won"}}))
    other = sequifier("hyperparameter-search")
    assert other.returncode == 1 and "positive_class.outcome" in other.stderr, "a ledger of another positive class"


def test_no_label_and_no_embedding_is_that_of_the_end_of_a_sequence(tmp_path: Path) -> None:
    preprocess_cases(tmp_path, end_event=["activity"])
    table = pl.read_csv(tmp_path / "data" / "cases.csv")
    rope = {"positional_encoding": "rope"}  # learned positions would show where a case ends
    result = train(label_config(tmp_path)(export_embedding_model=True, model_spec=rope, **MIXED))
    split = pl.read_parquet(tmp_path / "data" / "cases-split1.parquet")
    own = table.filter(pl.col("case").is_in(split["sequenceId"].unique().to_list()))
    n_cases = own["case"].n_unique()
    assert len(split) == len(own) + n_cases, "each case has one more row, its END"
    assert result.n_targets == {"outcome": len(own), "activity": len(own), "total": n_cases}
    options = {"data_path": "data/cases-split1.parquet", "evaluation_context": "full"}
    labels = infer(tmp_path, result.files["best_onnx"], **options)
    assert labels["itemPosition"].to_list() == last_events(own)["step"].to_list()
    embeddings = infer(tmp_path, result.files["best-embedding_onnx"], model_type="embedding", **options)
    assert embeddings["sequenceId"].to_list() == own["case"].to_list()
    assert embeddings["itemPosition"].to_list() == own["step"].to_list()


@pytest.mark.parametrize("targets", [["outcome"], ["total", "activity", "outcome"]])
def test_a_plan_counts_the_optimizer_steps_that_training_takes(root: Path, targets: list[str]) -> None:
    for position in ("last", "every"):
        path = label_config(root)(target_columns=targets, target_positions={"outcome": position})
        config = load(TrainConfig, path).config
        ready = prepare(config, Shared())
        result = train(path, resume="never")
        assert StepCounter(ready.metadata)(ready.config) == 2 * -(-ready.train.n_windows // 16)
        assert result.best_step in (StepCounter(ready.metadata)(ready.config) // 2, 2 * -(-ready.train.n_windows // 16))


def test_balanced_weights_are_the_inverse_frequencies(root: Path) -> None:
    config = label_config(root)
    split = last_events(pl.read_parquet(root / "data" / "cases-split0.parquet").rename({"sequenceId": "case"}))
    counts = split["outcome"].value_counts().sort("outcome")["count"].to_list()
    weights = [1.0, *(sum(counts) / (2 * count) for count in counts)]
    balanced = train(config(training_spec={"class_weights": {"outcome": "balanced"}}), resume="never")
    written = train(config(training_spec={"class_weights": {"outcome": weights}}), resume="never")
    assert balanced.metrics == written.metrics != train(config(), resume="never").metrics


def test_a_validation_split_of_one_class_has_no_area_and_says_so(root: Path) -> None:
    table = pl.read_parquet(root / "data" / "cases-split1.parquet")
    one_class = root / "data" / "won.parquet"
    table.filter(pl.col("outcome") == 2).write_parquet(one_class)
    lines: list[str] = []
    config = label_config(root)

    def emit(event: str, **fields: Any) -> None:
        if event == "log":
            lines.append(fields["line"])

    result = train(config(validation_data_path="data/won.parquet"), emit=emit)
    assert "val_outcome_auc" not in result.metrics and "val_outcome_brier" in result.metrics
    expected = "val_outcome_auc and val_outcome_average_precision are null: the validation sequences have one class"
    assert any(expected in line for line in lines)
    metric = {"metric": "val_outcome_auc", "direction": "maximize"}
    with pytest.raises(ConfigError, match="val_outcome_auc has no value: the validation sequences have one class"):
        train(config(validation_data_path="data/won.parquet", **metric))


def test_a_test_split_of_one_class_is_scored_without_an_area(root: Path) -> None:
    table = pl.read_parquet(root / "data" / "cases-split2.parquet")
    table.filter(pl.col("outcome") == 2).write_parquet(root / "data" / "won.parquet")
    path = label_config(root)(metric="val_outcome_auc", direction="maximize")
    result = train(path, resume="never")
    config = load(TrainConfig, path).config
    found = score(config, root / result.files["best_onnx"], "data/won.parquet", sums=root / "sums.npz")
    assert "val_outcome_auc" not in found
    assert found["val_outcome_log_loss"] > 0
    assert set(read_unit_sums(root / "sums.npz")[ONE_MODEL]) == {"val_loss"}


def test_an_absent_class_cannot_be_balanced(root: Path) -> None:
    table = pl.read_parquet(root / "data" / "cases-split0.parquet")
    table.filter(pl.col("outcome") == 2).write_parquet(root / "data" / "won.parquet")
    config = label_config(root)(
        training_data_path="data/won.parquet", training_spec={"class_weights": {"outcome": "balanced"}}
    )
    with pytest.raises(ConfigError, match="`balanced`, but class `lost` of `outcome` does not occur"):
        train(config)


def test_what_whole_sequences_cannot_do_is_refused(root: Path) -> None:
    config = label_config(root)
    with pytest.raises(ConfigError, match="`outcome` belongs to the whole sequence: it is not part of generated"):
        train(config(training_spec={"sampling_interval_steps": 1}))
    result = train(config(target_columns=["outcome", "activity"], input_columns=["activity"]))
    with pytest.raises(ModelError, match="autoregression: the model predicts outcome of whole sequences"):
        infer(root, result.files["best_onnx"], autoregression=True)
    split = root / "data" / "no-label.parquet"
    table = pl.read_parquet(root / "data" / "cases-split1.parquet")
    table.with_columns(outcome=pl.lit(0, pl.Int32)).write_parquet(split)
    with pytest.raises(DataError, match="the validation split has no sequence with a known `outcome`"):
        train(config(validation_data_path="data/no-label.parquet"))


def test_min_events_of_whole_sequences_has_a_warning(root: Path) -> None:
    """Not an error: searches of an earlier release that have it are continued, scored and exported."""
    result = train(label_config(root)(scoring={"min_events": 2}))
    log = (root / "logs" / result.name / "latest" / "experiment_log.txt").read_text()
    assert "warning: scoring.min_events: 2 has no effect: outcome belong to whole sequences" in log


@pytest.mark.slow
@pytest.mark.parametrize("position", ["last", "every"])
def test_a_planted_label_reaches_the_area_of_the_best_possible_prediction(tmp_path: Path, position: str) -> None:
    """The outcome is drawn from a probability that the events decide: no prediction orders cases better than it."""
    generator = np.random.default_rng(0)
    n, length = 40_000, 6
    activity = generator.integers(0, 4, (n, length))
    log_odds = 1.5 * (activity == 3).sum(axis=1) - 2.5 + (activity[:, -1] == 0)
    is_lost = generator.random(n) < 1 / (1 + np.exp(-log_odds))
    frame = pl.DataFrame(
        {
            "case": np.repeat(np.arange(n), length),
            "step": np.tile(np.arange(length), n),
            "activity": activity.ravel().astype(str),
            "outcome": np.repeat(np.where(is_lost, "lost", "won"), length),
        }
    )
    preprocess_cases(
        tmp_path,
        frame,
        sequence_columns=["outcome"],
        split_ratios=[0.45, 0.05, 0.5],
        column_types={"activity": "String"},
    )
    config = label_config(tmp_path)(
        input_columns=["activity"],
        target_positions={"outcome": position},
        model_spec={"dim_model": 32, "num_layers": 2, "dim_feedforward": 64},
        training_spec={"epochs": 4 if position == "last" else 1, "batch_size": 128, "learning_rate": 0.002},
    )
    result = train(config)
    table = infer(tmp_path, result.files["best_onnx"])
    assert len(table) == 20_000
    best = log_odds[table["sequenceId"].to_numpy()]
    truth = is_lost[table["sequenceId"].to_numpy()].astype(np.int64)

    def area(score: np.ndarray[Any, Any]) -> float:
        probability = 1 / (1 + np.exp(-score))
        return Ordering(np.stack([1 - probability, probability], axis=1), truth, 1).metrics()["auc"]

    found = table["outcome=lost"].to_numpy().astype(float)
    assert area(np.log(found / (1 - found))) > area(best) - 0.01


@pytest.mark.parametrize("end_to_end", [True, False])
def test_the_card_calls_the_model_that_it_describes(
    root: Path, end_to_end: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    train(label_config(root)(export_end_to_end=end_to_end, **MIXED))
    assert run_here(monkeypatch, capfd, "export", "tiny", "--card").code == 0
    card = (root / "models" / "tiny-card.md").read_text()
    assert "Predicts `activity` of the next event and `outcome`, `total` of the whole sequence from" in card
    assert "`outcome` by the number of events so far:" in card and "| 6 |" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"outcome(_label)? (won|lost)", done.stdout) and "total" in done.stdout


def test_the_scripts_of_the_documentation_read_labels(root: Path) -> None:
    result = train(label_config(root)(export_end_to_end=True, **MIXED))
    model, folder = root / result.files["best-end-to-end_onnx"], Path(__file__).parents[2] / "docs" / "deploy"
    expected = infer(root, result.files["best_onnx"], read_format="raw", data_path="data/cases.csv")
    for name, out in (("predict_csv.py", "found.csv"), ("score_csv.py", "found.parquet")):
        done = subprocess.run(
            [sys.executable, folder / name, model, "data/cases.csv", out], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found = pl.read_csv(out) if out.endswith("csv") else pl.read_parquet(out)
        found = found.sort("case")
        assert found["outcome_label"].to_list() == expected["outcome"].to_list()
        np.testing.assert_allclose(found["total_value"], expected["total"], rtol=1e-4, atol=1e-5)
