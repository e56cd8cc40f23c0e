"""Nothing in the data becomes Markdown or HTML."""

import ast
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.export.markdown import block, code, literal, table, text

HOSTILE = [
    "`<img src=x onerror=alert(1)>`",
    "a``b` <script>",
    "a | b",
    "\\|",
    "\\`",
    "```\n<b>",
    "line\nbreak",
    "\x1b[31mred\x07",
    "[click](javascript:alert(1))",
    "*a* _b_ ~c~ #d",
    "&lt;b&gt;",
    "\u202ereversed",
    " ",
    "x" * 10_000,
]


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(markdown: str) -> tuple[list[str], str]:
    parser = _Text()
    parser.feed(markdown)
    parser.close()
    return parser.tags, parser.text


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_stays_text(value: str) -> None:
    tags, seen = shown(code(value))
    assert tags in ([], ["code"])
    for written in (code(value), text(value)):
        assert not set(written.strip("`").replace("<code>", "").replace("</code>", "")) & set("<>`|\n\x1b\x07*[]")
        assert len(written) < 2000
    if len(value) < 100 and value.isprintable():
        assert (seen if tags else seen.strip("`")) == value


@given(st.text())
def test_a_literal_is_the_value_and_holds_nothing_that_ends_its_block(value: str) -> None:
    if any(0xD800 <= ord(char) < 0xE000 for char in value):
        return
    written = literal(value)
    assert ast.literal_eval(written) == value
    assert not set(written) & set("`<>&\n")


def test_a_fence_is_longer_than_what_is_in_it() -> None:
    fence, _, end = block("yaml", ["a: |", "````", "<b>"])
    assert (fence, end) == ("`````yaml", "`````")
    assert next(iter(block("", []))) == "```"


def test_a_cell_has_no_pipe_of_its_own() -> None:
    lines = list(table(["a", "b"], [[code(value), "x"] for value in HOSTILE]))
    assert {line.count("|") for line in lines} == {3}
