"""Whole commands on a small shop: exit codes, streams, and errors without tracebacks."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.support.command_line import Run
from tests.support.runs import latest
from tests.support.shop import TINY_RUN, WriteConfig, merged, shop_rows, write_shop

PREPROCESS = "data_path: data/shop.csv\nsequence_column: customer\nposition_column: visit\nseq_length: 8\n"


@pytest.fixture
def raw_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a raw shop and a config for each command."""
    write_shop(tmp_path / "data" / "shop.csv", shop_rows(n_customers=12))
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "preprocess.yaml").write_text(PREPROCESS)
    train = merged(TINY_RUN, {"training_spec": {"epochs": 2}})
    (tmp_path / "configs" / "train.yaml").write_text(yaml.safe_dump(train))
    (tmp_path / "configs" / "infer.yaml").write_text("model_path: models/sequifier-tiny-best-2.onnx\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_results_go_to_stdout_and_progress_to_stderr_in_plain_lines(run: Run, raw_shop: Path) -> None:
    done = run("preprocess")
    assert (done.code, done.out) == (0, "configs/metadata_configs/shop.json\n")
    assert re.search(r"data/shop-split0.parquet \(training\): [\d,]+ rows of 12 sequences\n", done.err)
    assert done.err.endswith("next: sequifier train\n"), "there is no config of a search"
    done = run("train")
    assert (done.code, done.out.split()) == (0, [f"models/sequifier-tiny-{which}-2.onnx" for which in ("best", "last")])
    assert [line.split()[1] for line in done.err.splitlines() if line.startswith("epoch ")] == ["1/2", "2/2"]
    assert "\x1b" not in done.err, "no colours or bars in a pipe"
    assert " step " not in done.err
    best = "models/sequifier-tiny-best-2.onnx"
    assert done.err.endswith(f"to predict: sequifier infer --model-path {best}\n")
    done = run("train", "--verbose", "-D", "training_spec.log_interval=1")
    assert " step 1/" in done.err
    done = run("infer")
    assert (done.code, done.out) == (0, "outputs/predictions/sequifier-tiny-best-2-predictions.csv\n")
    assert "item: accuracy " in done.err
    assert pl.read_csv(done.out.strip()).height > 0


def test_quiet_leaves_the_result_alone(run: Run, raw_shop: Path) -> None:
    for command in ("preprocess", "train", "infer"):
        done = run(command, "--quiet")
        assert (done.code, done.err) == (0, ""), command
        assert done.out


def test_a_project_is_made_in_the_working_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("make", "mine")
    assert done.code == 0
    assert "sequifier preprocess" in done.out
    again = run("make", "mine")
    assert again.code == 1
    assert "nothing was changed" in again.err
    monkeypatch.chdir(tmp_path / "mine")
    for command in ("preprocess", "train", "hyperparameter-search", "infer"):
        done = run(command)
        assert done.code == 1
        assert "is still PLEASE FILL" in done.err
        assert f"configs/{command.replace('-', '_')}.yaml:" in done.err


MISTAKES = [
    (["preprocess", "-dp", "data/shpo.csv"], "did you mean `shop.csv`?"),
    (["preprocess", "-D", "sequence_column=custmer"], "did you mean `customer`?"),
    (["preprocess", "-D", "split_ratios=[0.7, 0.2, 0.2]"], "-D: `split_ratios`: [0.7, 0.2, 0.2] sums to 1.1"),
    (["preprocess", "-D", "fill_null={item: median}"], "allowed: a number, 'mean', 'forward' or 'unknown'"),
    (["train", "--config-path", "configs/trian.yaml"], "did you mean `configs/train.yaml`"),
    (["train", "--config-path", "configs"], "configs: cannot read the file: Is a directory"),
    (["train", "-mn", "../../mine"], "--model-name: `model_name`: '../../mine'"),
    (["train", "-ic", "itme"], "--input-columns: `input_columns`: column `itme` is not in the preprocessed data"),
    (["train", "-D", "training_spec.epoch=3"], "it is called `epochs` here"),
    (["train", "-D", "epochs"], "`epochs` is not key=value"),
    (["train", "-D", "model_spec.n_head=3"], "`model_spec.n_head`: dim_model: 8 is not divisible by n_head: 3"),
    (["train", "-D", "training_spec.optimizer=AdamV"], "unknown optimizer `AdamV`; did you mean `Adam`"),
    (["train", "-D", "target_columns=[item,"], "is not a complete list or map"),
    (["train", "--config-section", "quick"], "there is no section `quick`"),
    (["train", "-mc", "none.json"], "no such file or folder: none.json"),
    (
        ["train", "-mc", "configs/metadata_configs/no.json"],
        "run `sequifier preprocess`, which writes this file; configs/metadata_configs/ has shop.json",
    ),
    (["train", "-D", "training_spec.epochs=x"], "1 problem in the settings (configs/train.yaml with -D)"),
    (["infer", "-mp", "models/none.onnx"], "--model-path: `model_path`: no such file or folder"),
    (["infer", "-mp", "models/none.onnx"], "run `sequifier train` first, or give --model-path"),
    (["infer", "-mp", "data/shop.csv"], "shop.csv does not end in .onnx or .pt"),
]


@pytest.mark.parametrize(("words", "expected"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_message_with_code_1_and_changes_nothing(
    run: Run, shop: Path, train_config: WriteConfig, words: list[str], expected: str
) -> None:
    train_config()
    (shop / "configs" / "preprocess.yaml").write_text(PREPROCESS)
    (shop / "configs" / "infer.yaml").write_text("model_path: models/m.onnx\n")
    before = {path: path.read_bytes() for path in shop.rglob("*") if path.is_file()}
    done = run(*words)
    assert (done.code, done.out) == (1, "")
    said, _, message = done.err.partition("error: ")
    assert not said or said.startswith("config ")  # the line with the active values, when loading found no mistake
    assert expected in message
    assert "Traceback" not in done.err
    assert {path: path.read_bytes() for path in shop.rglob("*") if path.is_file()} == before


def test_problems_found_after_loading_have_file_and_line_too(run: Run, shop: Path, train_config: WriteConfig) -> None:
    path = train_config(target_columns=["itme"], input_columns=["item", "prize"])
    lines = path.read_text().splitlines()
    done = run("train")
    for key in ("input_columns", "target_columns"):
        number = 1 + next(index for index, line in enumerate(lines) if line.startswith(key))
        assert f"configs/train.yaml:{number}: `{key}`" in done.err


def test_a_search_with_failed_runs_ends_with_code_3(run: Run, shop: Path, search_config: WriteConfig) -> None:
    refused = {"name": "SGD", "nesterov": True, "momentum": 0.9, "dampening": 0.5}  # by torch, when it is built
    search_config(
        model_hyperparameter_sampling={"dim_model": 8, "n_head": 2},
        training_hyperparameter_sampling={"epochs": 1, "optimizer": [{"name": "Adam"}, refused]},
    )
    done = run("hyperparameter-search")
    assert done.code == 3
    assert "run 1 failed" in done.out
    assert "models/sequifier-tune-run-0-best-1.onnx" in done.out
    assert "--retry-failed" in done.out
    assert "Traceback" not in done.err
    error = latest(shop)[1].error or ""
    assert "Nesterov" in error
    assert "sequifier train --config-path configs/hp_search/tune-run-1.yaml" in error
    alone = run("train", "--config-path", "configs/hp_search/tune-run-1.yaml")
    assert alone.code == 1
    assert "Nesterov" in alone.err
    assert "Traceback" not in alone.err
    assert run("hyperparameter-search", "--dry-run", "--quiet").code == 0


def test_ctrl_c_finishes_the_epoch_and_ends_with_code_130(shop: Path, train_config: WriteConfig) -> None:
    train_config(training_spec={"epochs": 100_000})
    command = [sys.executable, "-m", "sequifier", "train"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 1/"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert "the same command resumes it" in rest
    assert rest.splitlines()[-1] == "interrupted"
    assert "Traceback" not in rest
    assert (shop / "checkpoints" / "tiny-resume.pt").exists()


def test_errors_of_missing_files_name_what_is_there(
    run: Run, shop: Path, train_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "configs" / "infer.yaml").write_text("model_path: models/none.onnx\n")
    (shop / "models").mkdir()
    for place, name in enumerate("abcd"):
        (shop / "models" / f"sequifier-{name}-best-3.onnx").write_text("")
        os.utime(shop / "models" / f"sequifier-{name}-best-3.onnx", (place, place))
    newest = "sequifier-d-best-3.onnx, sequifier-c-best-3.onnx, sequifier-b-best-3.onnx and 1 more"
    assert f"models/ has {newest}: give one with --model-path" in run("infer").err
    assert "the newest model of this name is models/sequifier-a-best-3.onnx" in (
        run("infer", "-mp", "models/sequifier-a-best-9.onnx").err
    )
    (shop / "configs" / "sampler_search.yaml").write_text("model_path: models/none.onnx\n")
    assert f"models/ has {newest}: give one with --model-path" in run("sampler-search").err

    train_config()
    missing = run("train", "-D", "training_data_path=data/none.parquet").err
    assert "fix: run `sequifier preprocess`, which writes this file; data/ has shop-split" in missing

    for folder, way in ((shop.parent, "project"), (shop / "data", "..")):
        monkeypatch.chdir(folder)
        assert f"fix: run this in the folder of the project: cd {way}" in run("train").err
    monkeypatch.chdir(shop / "models")
    (shop / "configs" / "train.yaml").unlink()
    assert "fix: give --config-path, or begin with `sequifier make`" in run("train").err
