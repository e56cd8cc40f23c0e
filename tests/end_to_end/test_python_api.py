"""The example of docs/api.md runs as it stands."""

import re
from pathlib import Path

import pytest

from tests.support.shop import WriteConfig

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_the_example_searches(
    shop: Path, search_config: WriteConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    search_config()
    monkeypatch.chdir(shop)
    example = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    exec(compile(example[1], str(PAGE), "exec"), {})
    lines = capfd.readouterr().out.splitlines()
    assert lines[:2] == ["run 0 finished", "run 1 finished"]
    rows = [line.split() for line in lines[2:]]
    assert [row[0] for row in rows] == ["1", "2"]
    assert all((shop / row[3]).is_file() for row in rows)
