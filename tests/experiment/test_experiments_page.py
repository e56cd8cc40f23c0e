"""Every Python block of docs/experiments.md runs as it stands."""

import re
from pathlib import Path

import pytest

from sequifier.experiment import Experiment, get_experiment
from tests.support.experiment_files import folders, last, start, write

PAGE = Path(__file__).parents[2] / "docs" / "experiments.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
NAMES = ["descent.py", "reading.py", "child.py", "cached.py", "hook.py", "block.py"]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, block in zip(NAMES, BLOCKS, strict=True):
        write(tmp_path, name, block)
    return tmp_path


def test_the_first_experiment_and_its_command_lines(page: Path) -> None:
    words = [line.split("#")[0].split()[2:] for line in PAGE.read_text().splitlines() if line.startswith("python des")]
    assert [len(start(page / "descent.py", *each).stdout.splitlines()) > 3 for each in words] == [True] * 4
    e = Experiment.load(page / "results" / "descent" / "debug")
    assert (e.LEARNING_RATE, len(e["metrics/loss"])) == (0.01, 20)
    assert e.metadata["short_description"] == "Does a smaller step help?"
    start(page / "descent.py", "--__TESTING__")
    assert len(Experiment.load(e.path)["metrics/loss"]) == 2


@pytest.mark.parametrize("name", ["reading.py", "block.py"])
def test_blocks_that_read_records(page: Path, name: str) -> None:
    assert start(page / name).stderr == "", "the assertions of the block hold"


def test_the_variation(page: Path) -> None:
    start(page / "child.py")
    child = last(page, "results/child")
    assert child["small since"] == list(range(4, 20))
    write(page, "fast.yaml", "extend: descent.py\nparameters: {EPOCHS: 5}\n")
    assert get_experiment(page / "fast.yaml").EPOCHS == 5


def test_the_cache(page: Path) -> None:
    said = [start(page / "cached.py").stdout for _ in range(2)]
    assert ["computing" in text for text in said] == [True, False]
    assert re.search(r"loaded, \d+ seconds? old", said[1])
    assert (page / "results/cached/cache/data/flights/features.pkl.gz").is_file()
    assert len(folders(page, "results/cached")) == 2


def test_the_hook(page: Path) -> None:
    from sequifier.experiment.hooks import bind_hooks, load_hooks

    with Experiment(page / "logs", "run", echo=lambda line: None) as e:
        hooks = bind_hooks(load_hooks({"after_epoch": ["hook:report"]}, page), e, page)
        for epoch in (1, 2):
            hooks["after_epoch"](epoch=epoch, metrics={"val_loss": 1 / epoch}, step=3)
    record = Experiment.load(e.path)
    assert record.data == {"mine": {"last epoch": 2, "loss": [1.0, 0.5]}}
    assert (record.path / "epoch-2.json").is_file()
    assert (record.path / "code" / "hook.py").read_text() == (page / "hook.py").read_text()
