"""The guide's own code, run from top to bottom."""

import re
from pathlib import Path

from sequifier.params import keys

PAGE = Path(__file__).parents[2] / "docs" / "params.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_code_of_the_guide_does_what_it_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], str(PAGE), "exec"), names)
    assert "numbers" in names
    assert keys() == []
