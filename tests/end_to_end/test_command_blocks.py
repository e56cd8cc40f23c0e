"""Each block of commands in the README and the guides is run as printed, but with little data and training.

Three pages have tests of their own: test_tutorial.py, test_recipes.py, and tests/execution for docs/cluster.md.
"""

import gzip
import random
import re
import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from sequifier.cli.main import cli
from tests.support.event_log import claims, log_of

ROOT = Path(__file__).parents[2]
OWN_TESTS = ("tutorial.md", "recipes.md", "cluster.md")
PAGES = [ROOT / "README.md", ROOT / "configs" / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES += [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in OWN_TESTS]
BLOCK = re.compile(r"^ *```bash\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)

ELSEWHERE = {
    "make ": "targets of the Makefile: tests/test_docs.py, and whoever makes a release",
    "python3 -m venv": "needs a package index",
    "pip install": "needs a package index",
    "python -m venv": "test_deploy.py runs predict_csv.py",
    "deploy/bin/python": "test_deploy.py",
    "sequifier search-analysis flights-search --tensorboard": "needs the extra packages of trackers",
    "sequifier search-analysis flights-search --mlflow": "needs the extra packages of trackers",
    "sequifier search-analysis --latest --watch": "waits until a search has ended: tests/cli",
    "sequifier visualize-training load-search --forecasts": "docs/recipes.md",
    "sequifier infer -mp models/sequifier-NAME-best-5.onnx -dp sales.csv": "test_known_future.py",
    "sequifier infer -mp models/sequifier-NAME-best-5.onnx -dp old/": "files of Sequifier 1: tests/inference",
    "sequifier train --config-path configs/train.yaml -D user.": "fields of the user's own code: tests/params",
}
"""Beginnings of lines that are not run here, and why, or where they are run."""

NAMES = {
    "flights,flights-large": "tokens",
    "flights-search": "tokens-search",
    "val_shop_accuracy": "val_kind_accuracy",
    "NAME": "tokens",
}
NUMBERS = (("-best-5", "-best-1"), ("-epoch-2", "-epoch-1"), ("-best-end-to-end-5", "-best-end-to-end-1"))
OF_TABLES = ("sequifier make ", "sequifier infer -mp models/sequifier-NAME-best-5.onnx -dp ../orders.csv")


def lines_of(block: str) -> list[str]:
    lines = (re.sub(r"\s+# .*", "", line).strip() for line in block.splitlines())
    return [re.sub(r"^(\.\./)?\.venv/bin/", "", line) for line in lines if line]


def blocks() -> Iterator[tuple[str, list[str]]]:
    """The page and the lines of each block."""
    for page in PAGES:
        for number, body in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), start=1):
            yield f"{page.relative_to(ROOT).as_posix()}-{number}", lines_of(body)


def is_elsewhere(line: str) -> bool:
    return any(line.startswith(beginning) for beginning in ELSEWHERE)


RUN = {name: lines for name, lines in blocks() if not all(map(is_elsewhere, lines))}


def raw_files(folder: Path) -> None:
    """What the blocks that make a project are given."""
    draw, start = random.Random(1), datetime(2024, 1, 1)
    orders, visits, calls, readings = [], [], [], []
    for customer in range(40):
        left = "yes" if customer % 4 == 0 else "no"
        for visit in range(draw.randint(12, 20)):
            time = start + timedelta(
                days=visit * 2 + customer % 5, hours=draw.randint(0, 23), minutes=draw.randint(0, 59)
            )
            item = f"item {(visit + customer) % 6}"
            orders.append((customer, f"{time:%Y-%m-%d}", f"{start + timedelta(days=visit):%Y-%m-%d}", item))
            visits.append((customer, time.isoformat(" "), left, item))
            calls.append((customer, time.isoformat(" ")))
    for hour in range(400):
        readings += [(f"m{m}", start + timedelta(hours=hour), hour % 24 / 3 + m + draw.random()) for m in range(3)]
    for name, columns, rows in (
        ("orders", ["customer", "date", "day", "item"], orders),
        ("visits", ["customer", "date", "left", "page"], visits),
        ("calls", ["customer", "called_at"], calls),
        ("readings", ["machine", "time", "temperature"], readings),
    ):
        pl.DataFrame(rows, schema=columns, orient="row").write_csv(folder / f"{name}.csv")
    log = log_of(claims())
    (folder / "claims.xes.gz").write_bytes(gzip.compress(log.encode()))
    (folder / "new-claims.xes").write_text(log)
    (folder / "speech.txt").write_text("Before we proceed any further, hear me speak.\n\nSpeak, speak.\n" * 60)
    lists = (f"{u} " + " ".join(str(draw.randint(1, 9)) for _ in range(draw.randint(3, 9))) for u in range(1, 50))
    (folder / "Beauty.txt").write_text("\n".join(lists) + "\n")


def words_of(line: str, *, is_example: bool) -> list[str]:
    """The words of a command, with little training."""
    words = shlex.split(line)[1:]
    models = sorted(Path("models").glob("*-best-1.onnx"))
    match words[0]:
        case "preprocess" if is_example:
            words += ["-D", "max_rows=20000"]
        case "train":
            words += ["-D", "training_spec.epochs=1", "training_spec.max_steps=2"]
        case "hyperparameter-search":
            few = ("epochs=1", "max_steps=2")
            words += ["--yes", "--n-samples", "2", "-D", *(f"training_hyperparameter_sampling.{each}" for each in few)]
        case "infer" if not {"-mp", "--model-path"} & {*words}:
            words += ["-mp", str(models[0])]
        case "sampler-search":
            words += ["--n-samples", "2", "--samples-per-config", "1"]
            words += ["-D", "n_prompts=2", f"model_path={models[0]}"]
        case _:
            pass
    return words


def run(lines: list[str], monkeypatch: pytest.MonkeyPatch, *, is_example: bool) -> None:
    for line in lines:
        if line.startswith("cd "):
            monkeypatch.chdir(line.removeprefix("cd "))
        elif not is_elsewhere(line):
            assert line.startswith("sequifier "), line
            result = CliRunner().invoke(cli, words_of(line, is_example=is_example), catch_exceptions=False)
            assert result.exit_code == 0, f"{line}\n{result.output}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of this repository, with a trained model and a search."""
    folder = tmp_path_factory.mktemp("blocks")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        run(["sequifier make tokens --example python", "cd tokens"], monkeypatch, is_example=True)
        for config in (ROOT / "configs").glob("*.yaml"):
            Path("configs", config.name).write_bytes(config.read_bytes())
        tokens = pl.read_parquet("data/python_tokens.parquet")
        tokens.head(500).write_csv("new.csv")
        lines = ["preprocess", "train --model-name tokens -D training_spec.save_interval_epochs=1"]
        lines += ["hyperparameter-search -D hp_search_name=tokens-search"]
        run([f"sequifier {line}" for line in lines], monkeypatch, is_example=True)
    return folder / "tokens"


def test_no_exception_is_out_of_date() -> None:
    every = [line for _, lines in blocks() for line in lines]
    assert [known for known in ELSEWHERE if not any(line.startswith(known) for line in every)] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_the_commands_of_a_block_run(name: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = RUN[name]
    if lines[0].startswith(OF_TABLES):
        raw_files(tmp_path)
        monkeypatch.chdir(tmp_path)
        if not lines[0].startswith("sequifier make "):
            make = "sequifier make NAME --data orders.csv --sequence customer --order day --target item"
            lines = [make, "cd NAME", "sequifier preprocess", "sequifier train", *lines]
            lines = [line.replace("-best-5", "-best-1") for line in lines]
        run(lines, monkeypatch, is_example="--example" in lines[0])
        return
    monkeypatch.chdir(project)
    for old, new in (*NAMES.items(), *NUMBERS):
        lines = [line.replace(old, new) for line in lines]
    run(lines, monkeypatch, is_example=True)
