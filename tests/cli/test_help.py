"""Help is instant, complete, and its examples are real."""

import re
import subprocess
import sys

import click
import pytest

from sequifier import __version__
from sequifier.cli.main import COMMANDS, cli
from tests.support.command_line import Run

HEAVY = {"torch", "pydantic", "rich", "polars", "numpy", "onnx", "onnxruntime", "yaml", "optuna"}


def modules_of(*words: str) -> set[str]:
    command = [sys.executable, "-X", "importtime", "-m", "sequifier", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ["hyperparameter-search", "--help"]])
def test_help_and_version_load_nothing_heavy(words: list[str]) -> None:
    modules = modules_of(*words)
    assert "click" in modules
    assert not HEAVY & modules


def test_the_version_is_the_version_of_the_package(run: Run) -> None:
    done = run("--version")
    assert (done.code, __version__ in done.out) == (0, True)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help_text_with_a_valid_example(run: Run, name: str) -> None:
    done = run(name, "--help")
    assert done.code == 0
    example = re.search(r"Example:\n\s+sequifier (.+)", done.out)
    assert example is not None
    command, *words = example[1].split()
    assert command == name
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    found.make_context(name, words)  # a usage error would raise
    assert name in run("--help").out


def test_every_command_with_a_config_takes_the_common_options(run: Run) -> None:
    for name in COMMANDS:
        if name not in ("make", "export", "search-analysis", "visualize-training", "config", "docs"):
            text = run(name, "--help").out
            for option in ("--config-path", "--define", "--config-section", "--verbose / --quiet", "--seed"):
                assert option in text, name
            assert f"configs/{name.replace('-', '_')}.yaml" in text


def test_no_command_shows_the_help_and_is_bad_usage(run: Run) -> None:
    done = run()
    assert done.code == 2
    assert "hyperparameter-search" in done.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["hyperparameter_search"], "Did you mean 'hyperparameter-search'?"),
        (["nonsense"], "No such command 'nonsense'"),
        (["train", "--epochs", "3"], "No such option '--epochs'; set the field by -D training_spec.epochs=VALUE"),
        (["train", "--batch-size=3"], "set the field by -D training_spec.batch_size=VALUE"),
        (["train", "--lr", "3"], "set the field by -D training_spec.learning_rate=VALUE"),
        (["train", "--metrik", "3"], "No such option '--metrik'. Did you mean '--verify'?"),
        (["hyperparameter-search", "--epochs", "3"], "-D training_hyperparameter_sampling.epochs=VALUE"),
        (["infer", "--top-k", "3"], "-D top_k=VALUE"),
        (["search-analysis", "--epochs", "3"], "No such option"),
        (["train", "configs/train.yaml"], "named by a flag: --config-path configs/train.yaml"),
        (["train", "now"], "unexpected extra argument"),
        (["train", "--seed", "many"], "not a valid integer"),
        (["train", "--seed", "-1"], "not in the range"),
        (["train", "--seed", "1", "--randomize"], "--seed and --randomize exclude each other"),
        (["hyperparameter-search", "--n-samples", "0"], "not in the range"),
        (["hyperparameter-search", "--strategy", "gird"], "'gird' is not one of"),
        (["make", "x", "--example", "flihgts"], "'flihgts' is not one of"),
        (["make"], "Missing argument"),
    ],
)
def test_bad_usage_ends_with_code_2(run: Run, words: list[str], expected: str) -> None:
    done = run(*words)
    assert done.code == 2
    assert expected in done.err
    assert done.out == ""
