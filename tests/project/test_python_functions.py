"""The judge of the Python example: it accepts what Python's own library has, cut anywhere, and refuses nonsense."""

import json
import random
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from sequifier.project.python_functions import functions, is_accepted, score, written
from sequifier.project.python_tokens import tokens

MODULES = ("ast", "bisect", "csv", "heapq", "json/decoder", "shlex", "textwrap", "tokenize")


def kinds_of(module: str) -> list[str]:
    path = Path(sysconfig.get_path("stdlib")) / f"{module}.py"
    return [kind for kind, _, _ in tokens(path)]


@pytest.mark.parametrize("module", MODULES)
def test_functions_of_the_standard_library_are_accepted_whole_and_cut_anywhere(module: str) -> None:
    draw, found = random.Random(module), list(functions(kinds_of(module)))
    assert found
    for kinds, is_whole in found:
        assert is_whole and is_accepted(kinds), written(kinds)
        cut = kinds[: draw.randrange(1, len(kinds))]
        assert is_accepted(cut, is_whole=False) in (True, None), written(cut, is_whole=False)


DEF = ["def", "NAME", "(", ")", ":", "NEWLINE", "INDENT"]


def test_a_function_is_written_out_as_source() -> None:
    kinds = [*DEF, "return", "NAME", "+", "STRING", "NEWLINE", "DEDENT", "NAME", "NEWLINE"]
    ((own, is_whole),) = functions(kinds)
    assert is_whole and own == kinds[:-2]
    assert written(own) == "def n ( ) :\n    return n + ''\n"


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["NAME", "NEWLINE"], None),
        ([*DEF, "pass", "NEWLINE", "DEDENT"], 10.0),
        ([*DEF, "return", "return", "NEWLINE", "DEDENT"], 0.0),
        ([*DEF, "NAME", "=", "NEWLINE", "DEDENT", *DEF, "pass", "NEWLINE", "DEDENT"], 5.0),
        (["def", "NAME", "("], None),
        (["def", "(", "NAME", ")", ":", "NEWLINE", "INDENT", "pass", "NEWLINE", "DEDENT"], 0.0),
        ([*DEF, "if", "NAME", ":", "NEWLINE"], 10.0),
        ([*DEF, "try", ":", "NEWLINE", "INDENT", "NAME", "NEWLINE"], 10.0),
        ([*DEF, "try", ":", "NEWLINE", "INDENT", "NAME", "NEWLINE", "DEDENT", "NAME", "NEWLINE", "DEDENT"], 0.0),
        ([*DEF, "pass", "NEWLINE", "@", "NAME", "NEWLINE"], 10.0),
        (["def", "NAME", "(", ")", ":", "pass", "NEWLINE", "NAME"], 10.0),
        (["def", None, "(", ")", ":", "NEWLINE"], 0.0),
        ([], None),
    ],
)
def test_the_score_is_the_share_that_python_can_read(kinds: list[str | None], expected: float | None) -> None:
    assert score(kinds) == expected


def test_it_is_a_judge_of_a_sampler_search() -> None:
    told = {"generations": [{"labels": {"kind": [*DEF, "pass", "NEWLINE", "DEDENT"]}}, {"labels": {"kind": ["NAME"]}}]}
    done = subprocess.run(
        [sys.executable, "-m", "sequifier.project.python_functions"],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"scores": [10.0, None]}
