"""One run from its YAML to its model: reproducible, resumable, recorded, and clear about what is wrong."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch

from sequifier import ARITHMETIC, api
from sequifier.artifacts.checkpoint import checkpoints_of, set_aside
from sequifier.config.loading.load import load
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, DataError, ModelError, RunError, SequifierError
from sequifier.prepare import prepare
from sequifier.run import run
from sequifier.training.baselines.scores import baselines
from sequifier.training.shared import Shared
from sequifier.training.tally import Evaluation
from tests.support.quiet import quiet
from tests.support.rounding import rounding
from tests.support.runs import train
from tests.support.shop import WriteConfig, preprocess_shop, shop_rows, write_shop


def losses(root: Path, name: str = "tiny") -> list[float]:
    lines = (root / "logs" / name / "latest" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["val_loss"] for line in lines]


def test_a_run_learns_and_leaves_models_checkpoints_and_a_record(shop: Path, train_config: WriteConfig) -> None:
    result = train(train_config(training_spec={"epochs": 6}, export_embedding_model=True, export_pt=True))
    assert result.ended == "finished"
    assert result.best_val_loss is not None
    # The shop is made so that the best baselines are nearly all that can be known of it.
    assert result.best_val_loss < 0.7 * result.baselines["baseline: unigram, mean"]["val_loss"]
    assert result.best_val_loss < 1.1 * min(scores["val_loss"] for scores in result.baselines.values())
    assert losses(shop)[result.best_epoch - 1] == result.best_val_loss == min(losses(shop))
    for which in ("best", "last", "best-embedding", "last-embedding"):
        assert (shop / "models" / f"sequifier-tiny-{which}-6.onnx").exists()
    weights = torch.load(shop / "models" / "sequifier-tiny-best-6.pt", weights_only=True)
    assert json.loads(weights["columns"])["targets"] == [
        {"name": "item", "kind": "categorical"},
        {"name": "price", "kind": "real"},
    ]
    assert sorted(path.name for path in (shop / "checkpoints").iterdir()) == [f"tiny-epoch-{n}.pt" for n in range(1, 7)]
    record = shop / "logs" / "tiny" / "latest"
    meta = json.loads((record / "experiment_meta.json").read_text())
    assert (meta["status"], meta["name"]) == ("done", "tiny")
    data = json.loads((record / "experiment_data.json").read_text())
    assert data["metrics"]["val_loss"] == losses(shop)
    assert data["results"]["best_val_loss"] == result.best_val_loss
    config = load(TrainConfig, record / "config.yaml").config
    assert config.input_columns == ["item", "price"]
    assert "best validation loss" in (record / "experiment_log.txt").read_text()


def test_the_same_config_gives_the_same_losses_to_the_last_digit(shop: Path, train_config: WriteConfig) -> None:
    path = train_config()
    train(path)
    first = losses(shop)
    train(path)
    assert losses(shop) == first
    assert "(identical)" in (shop / "logs" / "tiny" / "latest" / "experiment_log.txt").read_text()
    train(train_config(seed=1))
    assert losses(shop) != first


@pytest.mark.parametrize("optimizer", ["Adam", "AdEMAMix", "ScheduleFreeAdamW"])
def test_a_run_stopped_after_an_epoch_resumes_as_if_nothing_had_happened(
    shop: Path, train_config: WriteConfig, optimizer: str
) -> None:
    settings: dict[str, Any] = {
        "epochs": 5,
        "optimizer": {"name": optimizer},
        "scheduler": {"name": "CosineAnnealingLR", "T_max": "auto"},
        "warmup_steps": 4,
    }
    train(train_config(training_spec=settings, model_name="whole"))
    path = train_config(training_spec=settings)
    config = load(TrainConfig, path).config
    stopped = run(config, emit=quiet, should_stop=lambda: (shop / "checkpoints" / "tiny-epoch-2.pt").exists())
    assert (stopped.ended, stopped.last_epoch, stopped.files.keys()) == (
        "interrupted",
        2,
        {"record", "sequence_losses"},
    )
    assert (shop / "checkpoints" / "tiny-resume.pt").exists()
    resumed = train(path)
    assert losses(shop) == losses(shop, "whole"), "the record of the resumed run holds the whole curve"
    assert resumed.ended == "finished"
    assert not (shop / "checkpoints" / "tiny-resume.pt").exists()
    for which in ("best", "last"):
        models = [onnx_weights(shop / "models" / f"sequifier-{name}-{which}-5.onnx") for name in ("tiny", "whole")]
        assert models[0].keys() == models[1].keys()
        assert all((models[0][name] == models[1][name]).all() for name in models[0])


def onnx_weights(path: Path) -> dict[str, np.ndarray]:
    import onnx

    graph = onnx.load(path).graph
    return {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.initializer}


def test_an_unfinished_run_with_another_config_is_not_continued(shop: Path, train_config: WriteConfig) -> None:
    run(load(TrainConfig, train_config()).config, emit=quiet, should_stop=lambda: True)
    changed = train_config(model_spec={"dim_feedforward": 24}, training_spec={"log_interval": 1})
    with pytest.raises(RunError, match=r"model_spec.dim_feedforward \(16 -> 24\)") as caught:
        train(changed)
    assert "log_interval" not in str(caught.value)
    assert "--no-resume" in str(caught.value)
    assert train(changed, resume="never").last_epoch == 3


def test_an_unfinished_run_that_lacks_a_field_of_a_later_version_is_continued(
    shop: Path, train_config: WriteConfig
) -> None:
    run(load(TrainConfig, train_config()).config, emit=quiet, should_stop=lambda: True)
    checkpoint = shop / "checkpoints" / "tiny-resume.pt"
    content = torch.load(checkpoint, weights_only=True)
    del content["config"]["ranking"]
    torch.save(content, checkpoint)
    with pytest.raises(RunError, match="ranking"):
        train(train_config(ranking={"item": {"k": [1]}}))
    assert train(train_config()).last_epoch == 3 and len(losses(shop)) == 3


def test_an_unfinished_run_of_another_arithmetic_is_not_continued(shop: Path, train_config: WriteConfig) -> None:
    path = train_config()
    run(load(TrainConfig, path).config, emit=quiet, should_stop=lambda: True)
    checkpoint = shop / "checkpoints" / "tiny-resume.pt"
    content = torch.load(checkpoint, weights_only=True)
    assert content.pop("arithmetic") == ARITHMETIC, "the first release did not store it"
    torch.save(content, checkpoint)
    with pytest.raises(
        RunError, match=rf"trains or measures differently \(arithmetic 1, here {ARITHMETIC}\)"
    ) as caught:
        train(path)
    assert "--no-resume" in str(caught.value)
    afresh = train(path, resume="matching")  # a search does not stop for it
    assert afresh.last_epoch == 3 and len(losses(shop)) == 3


def test_checkpoints_are_found_by_their_exact_name(shop: Path, train_config: WriteConfig) -> None:
    train(train_config(model_name="run-10", training_spec={"epochs": 2}))
    train(train_config(model_name="run-1", training_spec={"epochs": 1}), resume="always")
    assert losses(shop, "run-1") == losses(shop, "run-10")[:1]


def test_a_training_that_starts_afresh_never_resumes_from_an_earlier_one(shop: Path, train_config: WriteConfig) -> None:
    def names(folder: str) -> set[str]:
        return {path.name for path in (shop / "checkpoints" / folder).glob("*.pt")}

    train(train_config(training_spec={"epochs": 5, "checkpoint_interval_steps": 5}))
    earlier = names(".")
    train(train_config(model_name="tiny-2", training_spec={"epochs": 1}))
    lines: list[str] = []
    path = train_config(training_spec={"epochs": 2})
    train(path, resume="never", emit=lambda event, line="", **fields: lines.append(line))
    assert names(".") == {"tiny-epoch-1.pt", "tiny-epoch-2.pt", "tiny-2-epoch-1.pt"}
    assert names("earlier/tiny") == earlier
    assert {file.name for file in api.export("tiny", log=quiet)} >= {"sequifier-tiny-last-2.onnx"}
    old = api.export("checkpoints/earlier/tiny/tiny-epoch-5.pt", log=quiet)
    assert {file.parent for file in old} == {shop / "models"}
    resumed = train(train_config(training_spec={"epochs": 3}), resume="always", emit=quiet)
    assert (resumed.last_epoch, names("earlier/tiny")) == (3, earlier)
    assert "resumes after epoch 2" in (shop / "logs" / "tiny" / "latest" / "experiment_log.txt").read_text()
    line = f"starts afresh; moves the earlier training's checkpoints ({len(earlier)}) to checkpoints/earlier/tiny"
    assert line in lines


@pytest.mark.parametrize("n_renamed", range(5))
def test_setting_the_earlier_checkpoints_aside_may_be_interrupted_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_renamed: int
) -> None:
    written = ["tiny-epoch-9.pt", "tiny-epoch-10.pt", "tiny-step-100.pt", "tiny-resume.pt"]
    for older in (True, False):
        for second, name in enumerate([*written, "tiny-2-epoch-1.pt"]):
            (tmp_path / name).write_text("older" if older else "newer")
            os.utime(tmp_path / name, (second, second))
        if older:
            set_aside(tmp_path, "tiny")
    rename, moves = Path.replace, iter(range(n_renamed))

    def killed(self: Path, target: Path) -> Path:
        if next(moves, None) is None:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        set_aside(tmp_path, "tiny")
    assert [file.name for file in checkpoints_of(tmp_path, "tiny")] == written[n_renamed:]
    set_aside(tmp_path, "tiny")
    assert not checkpoints_of(tmp_path, "tiny") and (tmp_path / "tiny-2-epoch-1.pt").exists()
    earlier = checkpoints_of(tmp_path / "earlier" / "tiny", "tiny")
    assert [(file.name, file.read_text()) for file in earlier] == [(name, "newer") for name in written]


def test_a_corrupt_checkpoint_is_named_with_a_way_out(shop: Path, train_config: WriteConfig) -> None:
    path = train_config()
    run(load(TrainConfig, path).config, emit=quiet, should_stop=lambda: True)
    (shop / "checkpoints" / "tiny-resume.pt").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(ModelError, match="cannot read the checkpoint") as caught:
        train(path)
    assert "tiny-resume.pt" in str(caught.value)
    assert "--no-resume" in str(caught.value)


def test_old_checkpoints_go_when_only_some_are_kept(shop: Path, train_config: WriteConfig) -> None:
    train(train_config(training_spec={"epochs": 4, "keep_checkpoints": 2, "save_interval_epochs": 1}))
    assert sorted(path.name for path in (shop / "checkpoints").iterdir()) == ["tiny-epoch-3.pt", "tiny-epoch-4.pt"]


def prepared_targets(path: Path, **values: Any) -> dict[str, int]:
    config = load(TrainConfig, path).config.model_copy(update=values)
    valid = prepare(config, Shared()).valid
    return {target: int(valid.n_known_targets(target).sum()) for target in ("item", "price")}


def test_the_number_of_evaluated_targets_does_not_depend_on_seq_length(train_config: WriteConfig) -> None:
    path = train_config()
    counts = [prepared_targets(path, seq_length=length) for length in (4, 24, 48)]
    assert counts[0] == counts[1] == counts[2]


def validation_loss_with(shop: Path, path: Path, change: Callable[[list[Any]], None]) -> tuple[float, int]:
    """The loss of the model trained on the unchanged shop, on a shop with other events."""
    from sequifier.artifacts.checkpoint import read_checkpoint
    from sequifier.training.evaluate import evaluate

    rows = shop_rows()
    change(rows)
    write_shop(shop / "data" / "shop.csv", rows)
    preprocess_shop(shop)
    ready = prepare(load(TrainConfig, path).config, Shared())
    ready.state.model.load_state_dict(read_checkpoint(shop / "checkpoints" / "tiny-epoch-3.pt")["model"])
    result = evaluate(ready.state.model, ready.valid, ready.objective, batch_size=64)
    return result.metrics["val_item_loss"], result.n_targets["item"]


def test_events_just_before_the_boundary_are_history_of_the_validation_events(
    shop: Path, train_config: WriteConfig
) -> None:
    path = train_config()
    train(path)
    rows = shop_rows()
    size = sum(1 for row in rows if row[0] == "c00")
    boundary = round(0.8 * size)  # c00 is the first customer: its rows are the first ones

    def nothing(rows: list[Any]) -> None:
        return None

    def other_item(index: int) -> Callable[[list[Any]], None]:
        def change(rows: list[Any]) -> None:
            customer, visit, item, price = rows[index]
            rows[index] = (customer, visit, "item0" if item != "item0" else "item3", price)

        return change

    before, n_targets = validation_loss_with(shop, path, nothing)
    assert validation_loss_with(shop, path, nothing) == (before, n_targets)
    changed, n_changed = validation_loss_with(shop, path, other_item(boundary - 2))
    assert n_changed == n_targets
    assert changed != before


def test_events_after_a_target_never_change_its_prediction(shop: Path, train_config: WriteConfig) -> None:
    result = train(train_config(model_spec={"prediction_length": 8}))
    session = onnxruntime.InferenceSession(shop / result.files["best_onnx"])
    generator = np.random.default_rng(0)
    feed = {
        "item": generator.integers(1, 7, (1, 8)),
        "price": generator.normal(size=(1, 8)).astype(np.float32),
        "n_events": np.array([8]),
    }
    (before,) = session.run(["item_probabilities"], feed)
    feed["item"][0, 5:] = 1
    feed["price"][0, 5:] = 9.0
    (after,) = session.run(["item_probabilities"], feed)
    np.testing.assert_allclose(before[0, :5], after[0, :5], atol=rounding(64))
    assert not np.allclose(before[0, 5:], after[0, 5:])


@pytest.mark.parametrize("write_format", ["csv", "arrow", "pt"])
def test_the_loss_does_not_depend_on_the_file_format(shop: Path, train_config: WriteConfig, write_format: str) -> None:
    train(train_config())
    expected = losses(shop)
    in_shards = write_format == "pt"
    preprocess_shop(shop, write_format=write_format, merge_output=not in_shards, batches_per_file=7)
    assert list((shop / "data").glob(f"shop-split0/*.{write_format}" if in_shards else f"*.{write_format}"))
    train(train_config(read_format=write_format))
    assert losses(shop) == expected


def test_a_run_with_a_cut_batch_learns_the_same(shop: Path, train_config: WriteConfig) -> None:
    train(train_config(training_spec={"batch_size": 25, "dropout": 0.0}))
    expected = losses(shop)
    cut = {"batch_size": 13, "accumulation_steps": 2, "effective_batch_size": 25, "dropout": 0.0}
    train(train_config(training_spec=cut))
    assert losses(shop) == pytest.approx(expected, rel=1e-4)


def test_a_loss_that_overflows_is_diverged_and_keeps_the_last_finite_best(
    shop: Path, train_config: WriteConfig
) -> None:
    wild = {"optimizer": {"name": "SGD"}, "learning_rate": 10.0, "gradient_clip": None, "epochs": 50, "dropout": 0.0}
    result = train(train_config(training_spec=wild, target_columns=["price"]))
    assert result.ended == "diverged"
    assert "loss is" in (result.error or "")
    assert (result.best_val_loss is None) == ("best_onnx" not in result.files)
    assert json.loads((shop / "logs" / "tiny" / "latest" / "experiment_meta.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ({"target_columns": ["itme"]}, ConfigError, "did you mean `item`?"),
        ({"input_columns": ["item", "prize"]}, ConfigError, "did you mean `price`?"),
        ({"target_column_types": {"item": "real", "price": "real"}}, ConfigError, "preprocessed as categorical"),
        ({"metadata_config_path": "configs/shop.json"}, ConfigError, "no such file or folder"),
        ({"training_data_path": "data/none.parquet"}, ConfigError, "no such file or folder"),
        ({"training_spec": {"device": "cuda"}}, ConfigError, "`cuda` is not available here"),
        ({"metric": "val_item_acuracy"}, ConfigError, "did you mean `val_item_accuracy`"),
        ({"metric": "val_item_accuracy"}, ConfigError, "write direction: maximize"),
        ({"training_spec": {"class_weights": {"item": [1.0, 1.0]}}}, ConfigError, "has 2 weights"),
        ({"model_spec": {"feature_embedding_dims": {"item": 8}}}, ConfigError, "`price` has no width"),
        (
            {"training_spec": {"scheduler": {"name": "OneCycleLR", "max_lr": 0.1, "total_steps": 2}}},
            ConfigError,
            "total_steps: auto",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_training(
    train_config: WriteConfig, values: dict[str, Any], kind: type[SequifierError], expected: str
) -> None:
    if values.get("training_spec", {}).get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(kind) as caught:
        train(train_config(**values))
    assert expected in str(caught.value)


def test_splits_of_another_preprocessing_are_noticed(shop: Path, train_config: WriteConfig) -> None:
    path = train_config()
    metadata = (shop / "configs/metadata_configs/shop.json").read_text()
    write_shop(shop / "data" / "shop.csv", shop_rows(seed=5))
    preprocess_shop(shop)
    (shop / "configs/metadata_configs/shop.json").write_text(metadata)
    with pytest.raises(DataError, match="metadata"):
        train(path)


def test_nothing_is_left_behind_where_nothing_can_be_written(shop: Path, train_config: WriteConfig) -> None:
    path = train_config()
    (shop / "models").write_text("a file where the folder should be")
    with pytest.raises(RunError, match="cannot write"):
        train(path)
    assert not (shop / "logs").exists(), "it is found before anything begins"


def test_unknown_categories_of_the_validation_split_do_not_count(shop: Path, train_config: WriteConfig) -> None:
    rows = shop_rows()
    last = {row[0]: index for index, row in enumerate(rows)}["c00"]
    rows[last - 5] = (*rows[last - 5][:2], "never seen before", rows[last - 5][3])
    write_shop(shop / "data" / "shop.csv", rows)
    preprocess_shop(shop, vocabulary_from="train")
    counts = prepared_targets(train_config())
    validation = pl.read_parquet(shop / "data" / "shop-split1.parquet").filter(~pl.col("isContext"))
    assert counts["price"] == len(validation)
    assert counts["item"] == int((validation["item"] != 0).sum())


def test_computing_the_baselines_is_a_stage_that_runs_on_one_data_set_share(train_config: WriteConfig) -> None:
    config = load(TrainConfig, train_config(training_spec={"epochs": 1})).config
    shared, stages = Shared(), []

    def noted(event: str, **fields: Any) -> None:
        if event == "stage":
            stages.append(fields["stage"])

    first = run(config, emit=noted, shared=shared, resume="never")
    assert stages[:3] == ["load", "baselines", "training"]
    assert first.seconds["baselines"] > 0
    stages.clear()
    again = run(config, emit=noted, shared=shared, resume="never")
    assert stages[:2] == ["load", "training"]
    assert again.baselines == first.baselines
    shorter = config.model_copy(update={"seq_length": 2})
    assert run(shorter, emit=noted, shared=shared, resume="never").baselines != first.baselines, "other events are seen"


def test_an_infinite_error_of_a_baseline_ends_no_training(
    train_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflowing(*arguments: Any) -> dict[str, Evaluation]:
        infinite = {"val_price_mae": math.inf}
        return {name: replace(found, metrics=found.metrics | infinite) for name, found in baselines(*arguments).items()}

    monkeypatch.setattr("sequifier.training.shared.baselines", overflowing)
    result = train(train_config(metric="val_price_mae", training_spec={"epochs": 1}), resume="never")
    assert (result.ended, result.skill) == ("finished", None)
