"""Each example of each `--help` runs as it is printed, in a project that has the files that it names."""

import gzip
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sequifier import api
from sequifier.cli.main import COMMANDS, cli
from sequifier.config.loading.load import load
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from tests.support.command_line import Run
from tests.support.event_log import claims, log_of
from tests.support.quiet import quiet
from tests.support.shop import TINY_RUN, TINY_SEARCH, config_writer, merged, working_copy
from tests.support.trained_text import write_search

NEEDS_MODELS = ("infer", "export", "search-analysis", "visualize-training", "sampler-search")
TRAINS = ("train", "hyperparameter-search")


def examples() -> Iterator[str]:
    """The commands of all help texts, those of the commands below `config` too."""
    context = click.Context(cli)
    waiting: list[click.Command] = [cli, *(cli.get_command(context, name) for name in COMMANDS)]  # type: ignore[list-item]
    found: dict[str, None] = {}
    while waiting:
        command = waiting.pop(0)
        waiting += command.commands.values() if isinstance(command, click.Group) and command is not cli else []
        text = (command.help or "").partition("Example:\n")[2]
        found |= dict.fromkeys(re.findall(r"^\s*(sequifier .+)$", text, re.MULTILINE))
    yield from found


def is_slow(example: str) -> bool:
    """Whether it trains, or needs models that must be trained first."""
    _, command, *words = shlex.split(example)
    return command in NEEDS_MODELS or (command in TRAINS and "--dry-run" not in words)


EXAMPLES = [*examples()]


@pytest.fixture(scope="module")
def _project(_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop with all files that the examples name, but without models."""
    root = tmp_path_factory.mktemp("examples") / "project"
    shutil.copytree(_shop, root)
    run = merged(TINY_RUN, {"model_name": "default", "training_spec": {"epochs": 10}})
    config_writer(root, run, "train.yaml")()
    config_writer(root, run, "small-model.yaml")()
    search = merged(TINY_SEARCH, {"hp_search_name": "flights-search", "input_columns": [["item"], ["item", "price"]]})
    config_writer(root, search, "hyperparameter_search.yaml")()
    raw = {"sequence_column": "customer", "position_column": "visit", "seq_length": 8, "data_path": "data/shop.csv"}
    config_writer(root, raw, "preprocess.yaml")()
    infer = {"data_path": "data/shop-split2.parquet", "model_path": "models/none.onnx"}
    config_writer(root, infer, "infer.yaml")()
    sections = {"quick_test": {"n_samples": 2}}
    model = "models/sequifier-default-best-10.onnx"
    write_search(root, model_path=model, n_prompts=2, max_tokens=2, samples_per_config=1, sections=sections)
    rows = (root / "data" / "shop.csv").read_text().splitlines()
    (root / "data" / "events.csv").write_text("\n".join(rows) + "\n")
    (root / "new.csv").write_text("\n".join(rows[:100]) + "\n")
    (root / "orders.csv").write_text("\n".join(["customer,day,item,price", *rows[1:]]) + "\n")
    (root / "speech.txt").write_text("the cat sees a dog. " * 300)
    with gzip.open(root / "claims.xes.gz", "wb") as file:
        file.write(log_of(claims()).encode())
    return root


@pytest.fixture(scope="module")
def _trained(_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the models, runs and searches that the examples name."""
    root = tmp_path_factory.mktemp("trained") / "project"
    shutil.copytree(_project, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name, epochs in (("default", 10), ("flights", 1), ("flights-large", 1)):
            defines = (f"model_name={name}", f"training_spec.epochs={epochs}")
            api.train(load(TrainConfig, Path("configs/train.yaml"), defines=defines).config, emit=quiet)
        api.search(load(SearchConfig, Path("configs/hyperparameter_search.yaml")).config, emit=quiet)
    return root


def check(run: Run, project: Path, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    working_copy(project, tmp_path, monkeypatch)
    done = run(*shlex.split(example)[1:])
    assert done.code == 0, done.err
    assert done.out or "--dry-run" in example


@pytest.mark.parametrize("example", [example for example in EXAMPLES if not is_slow(example)])
def test_an_example_runs_as_printed(
    run: Run, _project: Path, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(run, _project, example, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("example", [example for example in EXAMPLES if is_slow(example)])
def test_an_example_that_needs_a_model_runs_as_printed(
    run: Run, _trained: Path, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(run, _trained, example, tmp_path, monkeypatch)


def test_each_command_has_an_example() -> None:
    commands = {example.split()[1] for example in EXAMPLES}
    assert commands == {*COMMANDS}
