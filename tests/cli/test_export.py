"""`sequifier export`: models from checkpoints, without training."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from sequifier import api
from sequifier.artifacts.model_file import read_model_file
from sequifier.config.train import TrainConfig
from sequifier.run import run as run_training
from sequifier.training.limits import Limits
from tests.support.command_line import Run
from tests.support.quiet import quiet
from tests.support.rounding import rounding
from tests.support.shop import (
    TINY_RUN,
    WriteConfig,
    merged,
    new_shop,
    preprocess_shop,
    shop_rows,
    working_copy,
    write_shop,
)


@pytest.fixture(scope="module")
def _runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop with runs: `done` finished, `killed` was interrupted after epoch 1, `cut` was pruned after epoch 2."""
    root = new_shop(tmp_path_factory.mktemp("runs") / "shop")

    def config(name: str, **spec: Any) -> TrainConfig:
        values = {"project_root": str(root), "model_name": name, "training_spec": {"epochs": 4} | spec}
        return TrainConfig.model_validate(merged(TINY_RUN, values))

    api.train(config("done", epochs=2, eval_interval_steps=5, checkpoint_interval_steps=3), emit=quiet)
    run_training(config("killed"), should_stop=lambda: True, emit=quiet)
    run_training(config("cut", save_interval_epochs=4), limits=Limits(thresholds={2: 0.0}), emit=quiet)
    api.train(config("free", epochs=1, optimizer={"name": "ScheduleFreeAdamW"}), emit=quiet)
    return root


@pytest.fixture
def runs(_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return working_copy(_runs, tmp_path, monkeypatch)


def weights(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {weight.name: onnx.numpy_helper.to_array(weight) for weight in onnx.load(path).graph.initializer}


def content(path: Path) -> dict[str, Any]:
    return dict(torch.load(path, weights_only=True))


def test_a_finished_run_is_exported_again_as_it_was(run: Run, runs: Path) -> None:
    before = {path.name: weights(path) for path in (runs / "models").glob("sequifier-done-*.onnx")}
    assert set(before) == {"sequifier-done-best-2.onnx", "sequifier-done-last-2.onnx"}
    shutil.rmtree(runs / "models")
    done = run("export", "done")
    assert done.code == 0
    assert {Path(line).name for line in done.out.split()} == set(before)
    for name, expected in before.items():
        again = weights(runs / "models" / name)
        assert set(again) == set(expected)
        assert all(np.array_equal(again[key], value) for key, value in expected.items())


def test_a_pruned_run_keeps_its_best_weights_although_no_checkpoint_was_due(run: Run, runs: Path) -> None:
    assert [path.name for path in (runs / "checkpoints").glob("cut-*")] == ["cut-epoch-2.pt"]
    assert not list((runs / "models").glob("sequifier-cut-*"))
    assert run("export", "cut").code == 0
    best = content(runs / "checkpoints" / "cut-epoch-2.pt")["best_weights"]
    exported = weights(runs / "models" / "sequifier-cut-best-2.onnx")
    assert all(np.array_equal(exported[name], value.numpy()) for name, value in best.items())


def test_an_interrupted_run_becomes_a_model_and_can_still_resume(run: Run, runs: Path) -> None:
    assert run("export", "killed").code == 0
    file = read_model_file(runs / "models" / "sequifier-killed-best-1.onnx")
    assert file.metrics["epoch"] == 1
    assert file.metrics["val_loss"] == content(runs / "checkpoints" / "killed-resume.pt")["progress"]["best_value"]
    assert (runs / "checkpoints" / "killed-resume.pt").exists()


def test_flags_add_files(run: Run, runs: Path) -> None:
    done = run("export", "killed", "--end-to-end", "--pt", "--embedding", "--card")
    assert sorted(Path(line).name for line in done.out.split()) == sorted(
        [
            "killed-card.md",
            *(
                f"sequifier-killed-{which}{kind}-1.{suffix}"
                for which in ("best", "last")
                for kind, suffix in (
                    *(("", "onnx"), ("", "pt"), ("-embedding", "onnx"), ("-embedding", "pt")),
                    ("-end-to-end", "onnx"),
                )
            ),
        ]
    )


def test_the_most_probable_labels_are_exported_afterwards(run: Run, runs: Path) -> None:
    assert run("export", "killed", "--end-to-end", "--top-k", "3").code == 0
    session = onnxruntime.InferenceSession(runs / "models" / "sequifier-killed-best-end-to-end-1.onnx")
    shapes = {output.name: output.shape for output in session.get_outputs()}
    assert shapes["item_top_labels"] == shapes["item_top_probabilities"] == ["batch", 1, 3]
    assert json.loads(session.get_modelmeta().custom_metadata_map["top_labels"]) == {"k": 3, "left_out": {}}
    too_many = run("export", "killed", "--end-to-end", "--top-k", "7")
    assert (too_many.code, "7 exceeds the 6 classes of `item`" in too_many.err) == (1, True)
    alone = run("export", "killed", "--top-k", "3")
    assert (alone.code, "--top-k is about the model of --end-to-end" in alone.err) == (2, True)


def test_a_checkpoint_of_a_step_does_not_take_the_name_of_an_epoch(run: Run, runs: Path) -> None:
    path = next(
        path for path in (runs / "checkpoints").glob("done-step-*.pt") if content(path)["progress"]["steps_in_epoch"]
    )
    before = {file: file.read_bytes() for file in (runs / "models").iterdir()}
    done = run("export", str(path))
    step = content(path)["progress"]["step"]
    assert f"sequifier-done-last-step-{step}.onnx" in done.out
    exported = weights(runs / "models" / f"sequifier-done-last-step-{step}.onnx")
    assert all(np.array_equal(exported[name], value.numpy()) for name, value in content(path)["model"].items())
    assert all(file.read_bytes() == kept for file, kept in before.items())


def test_the_last_weights_of_a_schedule_free_optimizer_are_those_that_count(run: Run, runs: Path) -> None:
    path = runs / "models" / "sequifier-free-last-1.onnx"
    expected = weights(path)
    path.unlink()
    assert run("export", "free").code == 0
    for name, value in weights(path).items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=rounding(4))
    trained_on = content(runs / "checkpoints" / "free-epoch-1.pt")["model"]
    assert any(not np.allclose(trained_on[name].numpy(), value, atol=1e-4) for name, value in expected.items())


def test_best_and_last_weights_of_one_epoch_may_come_from_different_steps(run: Run, runs: Path) -> None:
    path = runs / "checkpoints" / "killed-resume.pt"
    changed = content(path)
    changed["best_weights"] = {name: value / 2 for name, value in changed["best_weights"].items()}
    torch.save(changed, path)
    assert run("export", "killed").code == 0
    for which, expected in (("best", changed["best_weights"]), ("last", changed["model"])):
        exported = weights(runs / "models" / f"sequifier-killed-{which}-1.onnx")
        assert all(np.array_equal(exported[name], value.numpy()) for name, value in expected.items())


def test_weights_that_are_not_finite_are_left_out(run: Run, runs: Path) -> None:
    path = runs / "checkpoints" / "killed-resume.pt"
    diverged = content(path)
    next(iter(diverged["model"].values()))[:] = torch.nan
    torch.save(diverged, path)
    assert [Path(line).name for line in run("export", "killed").out.split()] == ["sequifier-killed-best-1.onnx"]
    torch.save(diverged | {"best_weights": None}, path)
    done = run("export", "killed")
    assert done.code == 1
    assert "the weights are not finite" in done.err


def test_the_project_may_be_elsewhere(run: Run, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("export", "done", "--project-root", str(runs)).code == 0
    assert run("export", str(runs / "checkpoints" / "done-epoch-1.pt")).code == 0
    assert (runs / "models" / "sequifier-done-best-1.onnx").exists()
    moved = shutil.copy(runs / "checkpoints" / "done-epoch-1.pt", "moved.pt")
    done = run("export", moved)
    assert done.code == 1
    assert "name the project's folder with --project-root" in done.err
    assert run("export", moved, "--project-root", str(runs)).code == 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("dome", "the run `dome` has no checkpoint\n.*checkpoints\n.*did you mean `done`"),
        ("checkpoints/done-epoch-7.pt", "there is no such checkpoint\n.*\n.*did you mean `done-epoch-"),
        ("models/sequifier-done-best-2.onnx", "cannot read the checkpoint"),
        ("data/shop-split0.parquet", "cannot read the checkpoint"),
    ],
)
def test_what_is_no_run_is_a_clear_error(run: Run, runs: Path, source: str, message: str) -> None:
    done = run("export", source)
    assert done.code == 1
    assert re.search(message, done.err), done.err
    assert "Traceback" not in done.err


def test_a_search_is_no_run(run: Run, runs: Path) -> None:
    (runs / "logs" / "tune").mkdir()
    (runs / "logs" / "tune" / "ledger.jsonl").touch()
    shutil.copy(runs / "checkpoints" / "done-epoch-1.pt", runs / "checkpoints" / "tune-run-3-epoch-1.pt")
    done = run("export", "tune")
    assert (done.code, "name one of its runs: tune-run-3" in done.err) == (1, True)


def test_data_that_were_preprocessed_again_are_refused(run: Run, runs: Path) -> None:
    write_shop(runs / "data" / "shop.csv", shop_rows(seed=1))
    preprocess_shop(runs)
    before = sorted((runs / "models").iterdir())
    done = run("export", "done")
    assert done.code == 1
    assert "the data were preprocessed again after the training: the run was trained on" in done.err
    assert sorted((runs / "models").iterdir()) == before


def test_a_card_shows_what_the_run_knew_and_its_code_runs(
    run: Run, runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("export", "done", "--card").code == 0
    card = (runs / "models" / "done-card.md").read_text(encoding="utf-8")
    results = json.loads((runs / "logs" / "done" / "latest" / "experiment_data.json").read_text())["results"]
    assert f"| `val_loss` | {results['best_val_loss']:.5g} |" in card
    for name, scores in results["baselines"].items():
        assert name in card
        assert f"{scores['val_item_accuracy']:.5g}" in card
    word = "better" if results["skill"] >= 0 else "worse"
    assert f"Skill: `val_loss` is {100 * abs(results['skill']):.1f} % {word}" in card
    assert "| `item` | input and target | String | 6 | `item0`, `item1`, `item2`" in card
    assert "fingerprint `" + content(runs / "checkpoints" / "done-epoch-2.pt")["fingerprint"] in card
    assert "learning_rate: 0.01" in card
    assert f"onnxruntime {onnxruntime.__version__}" in card
    assert printed(card, capfd).startswith("item ['item")


def test_a_card_calls_the_model_that_takes_raw_values_where_there_is_one(
    run: Run, runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("export", "done", "--card", "--end-to-end").code == 0
    card = (runs / "models" / "done-card.md").read_text(encoding="utf-8")
    assert 'InferenceSession("models/sequifier-done-best-end-to-end-2.onnx")' in card
    assert "item_label ['item" in printed(card, capfd)


def test_a_card_without_a_record_says_that_baselines_are_unknown(run: Run, runs: Path) -> None:
    shutil.rmtree(runs / "logs")
    assert run("export", "done", "--card").code == 0
    assert "No baselines" in (runs / "models" / "done-card.md").read_text(encoding="utf-8")


def test_infer_does_not_take_a_model_that_encodes_by_itself(run: Run, runs: Path) -> None:
    assert run("export", "done", "--end-to-end").code == 0
    (runs / "configs" / "infer.yaml").write_text("model_path: models/sequifier-done-best-end-to-end-2.onnx\n")
    done = run("infer")
    assert done.code == 1
    assert "give the model of the same name without `end-to-end`" in done.err


def test_a_run_exports_it_when_it_is_asked_to(run: Run, shop: Path, train_config: WriteConfig) -> None:
    path = train_config(export_end_to_end=True, export_onnx=False, training_spec={"epochs": 1})
    assert run("train", "--config-path", str(path)).code == 0
    assert sorted(file.name for file in (shop / "models").iterdir()) == [
        "sequifier-tiny-best-end-to-end-1.onnx",
        "sequifier-tiny-last-end-to-end-1.onnx",
    ]


def test_a_column_called_like_a_label_is_found_before_training(run: Run, shop: Path, train_config: WriteConfig) -> None:
    table = (shop / "data" / "shop.csv").read_text().replace("price", "item_label", 1)
    (shop / "data" / "shop.csv").write_text(table)
    preprocess_shop(shop)
    path = train_config(export_end_to_end=True, target_columns=["item"])
    done = run("train", "--config-path", str(path))
    assert done.code == 1
    assert "input column `item_label` has the name of an output" in done.err
    assert not (shop / "models").exists()


def printed(card: str, capfd: pytest.CaptureFixture[str]) -> str:
    """What the code of a card prints."""
    code = card.split("```python\n")[1].split("```")[0]
    capfd.readouterr()
    exec(code, {})
    return capfd.readouterr().out
