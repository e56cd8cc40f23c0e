"""Words of the command line become values by the parameter's type, and nothing is evaluated."""

import datetime
import enum
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NewType, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.errors import ConfigError
from sequifier.experiment import Experiment, get_experiment
from sequifier.experiment.convert import convert, is_known
from tests.support.experiment_files import folders, last, start, write, write_experiment


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


UserId = NewType("UserId", int)


@pytest.mark.parametrize(
    ("words", "kind", "value"),
    [
        (["5"], int, 5),
        (["-5"], int, -5),
        (["1e3"], int, 1000),
        (["32.0"], int, 32),
        (["1_000"], int, 1000),
        (["123456789012345678901234567890"], int, 123456789012345678901234567890),
        (["5"], float, 5.0),
        (["-1e-3"], float, -0.001),
        (["True"], bool, True),
        (["off"], bool, False),
        (["0"], bool, False),
        (["5"], str, "5"),
        (["None"], str, "None"),
        (["None"], str | None, None),
        (["5"], int | str, 5),
        (["x"], int | str, "x"),
        (["0.5"], int | float, 0.5),
        (["none"], Optional[int], None),  # noqa: UP045
        (["adam"], Literal["adam", "sgd"], "adam"),
        (["2"], Literal[1, 2], 2),
        (["RED"], Colour, Colour.RED),
        (["b"], Colour, Colour.BLUE),
        (["a/b"], Path, Path("a/b")),
        (["64", "32"], list[int], [64, 32]),
        (["[64, 32]"], list[int], [64, 32]),
        ([], list[int], []),
        (["1", "x"], tuple[int, str], (1, "x")),
        (["1", "2"], tuple[int, ...], (1, 2)),
        (["a", "b"], set[str], {"a", "b"}),
        (["1", "2"], Sequence[float], [1.0, 2.0]),
        (["[[1, 2], [3]]"], list[list[int]], [[1, 2], [3]]),
        (["None"], list[int] | None, None),
        (["1", "a"], list, [1, "a"]),
        (['{"a": 1}'], dict[str, int], {"a": 1}),
        (["{'a': (1, 2)}"], dict, {"a": (1, 2)}),
        (["2026-01-31"], datetime.date, datetime.date(2026, 1, 31)),
        (["0.1"], Decimal, Decimal("0.1")),
        (["90"], datetime.timedelta, datetime.timedelta(seconds=90)),
        (["7"], Annotated[int, "unit"], 7),
        (["7"], Final[int], 7),
        (["7"], UserId, 7),
        (["7"], Any, 7),
        (["x y"], Any, "x y"),
        (["null"], Any, None),
        (["[1, 'a']"], Any, [1, "a"]),
    ],
)
def test_values_by_type(words: list[str], kind: Any, value: Any) -> None:
    found = convert(words, kind)
    assert (found, type(found)) == (value, type(value))
    assert is_known(kind)


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["0.5"], int, "integer"),
        (["1e9999999"], int, "integer"),
        (["inf"], int, "integer"),
        (["x"], float, "number"),
        (["maybe"], bool, "allowed: true, false"),
        (["2"], bool, "allowed: true, false"),
        (["rmsprop"], Literal["adam", "sgd"], "allowed: adam, sgd"),
        (["green"], Colour, "allowed: r, b, RED, BLUE"),
        (["1", "x"], list[int], "integer"),
        (["1"], tuple[int, int], "expected 2 values, got 1"),
        (["x"], dict, "JSON"),
        (["[1]"], dict, "JSON"),
        (["{'a': open('x')}"], dict, "JSON"),
        (["[" * 5_000], list[int], "JSON"),
        (["31.1."], datetime.date, "not a date"),
        (["x"], int | None, "expected None or an integer"),
        (["x"], type, "cannot be given on the command line"),
    ],
)
def test_what_does_not_fit_says_what_is_allowed(words: list[str], kind: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(words, kind)


def parsed(words: list[str], **parameters: Any) -> dict[str, Any]:
    glob = {"__name__": "m", **parameters}
    return dict(Experiment("x", "y", glob).arg_parser.parse(words))


@given(st.integers())
def test_any_integer_arrives(value: int) -> None:
    assert parsed(["--N", str(value)], N=0)["N"] == value


@given(st.floats(allow_nan=False))
def test_any_float_arrives_to_the_last_digit(value: float) -> None:
    assert parsed(["--X", repr(value)], X=0.5)["X"] == value


@given(st.text())
def test_any_text_arrives_as_it_is(value: str) -> None:
    assert parsed([f"--S={value}"], S="")["S"] == value
    assert parsed(["-D", f"S={value}"], S="")["S"] == value


@given(st.text(), st.sampled_from([int, float, bool, str, list[int], dict, Any, int | None, Path, Colour]))
def test_no_text_does_anything_but_convert_or_say_why(text: str, kind: Any) -> None:
    try:
        convert([text], kind)
    except ValueError as error:
        assert str(error)


@given(st.lists(st.integers(), max_size=5))
def test_a_list_takes_as_many_words_as_there_are(values: list[int]) -> None:
    words = ["--LAYERS", *map(str, values), "--OTHER", "1"]
    glob = {"__name__": "m", "LAYERS": [0], "OTHER": 0, "__annotations__": {"LAYERS": list[int]}}
    found = Experiment("x", "y", glob).arg_parser.parse(words)
    assert (found["LAYERS"], found["OTHER"]) == (values, 1)


def test_without_an_annotation_the_value_says_the_type() -> None:
    found = parsed(["--A", "1", "--B", "0.5", "--C", "no", "--D", "7", "--E", "x"], A=1.5, B=0, C=True, D="", E=None)
    assert [found[name] for name in "ABCDE"] == [1.0, 0.5, False, "7", "x"]
    assert type(found["A"]) is float


def test_flags_win_over_defines_and_special_ones_need_no_value() -> None:
    found = parsed(["-D", "A=1", "B=2", "--A", "3", "--__TESTING__", "-DC=4"], A=0, B=0, C=0)
    assert (found["A"], found["B"], found["C"], found["__TESTING__"]) == (3, 2, 4, True)


def test_negative_numbers_are_no_flags() -> None:
    found = parsed(["--A", "-1e-3", "--B", "-1", "-.5", "--C=-D"], A=0.0, B=[0.5], C="")
    assert (found["A"], found["B"], found["C"]) == (-0.001, [-1, -0.5], "-D")


def test_all_problems_are_said_at_once_and_nothing_is_set() -> None:
    glob = {"__name__": "m", "EPOCHS": 3, "RATE": 0.1}
    e = Experiment("x", "y", glob)
    with pytest.raises(ConfigError) as caught:
        e.arg_parser.parse(["--EPOCH", "5", "--RATE", "fast", "word", "-D", "RAET=1", "-D", "x", "--EPOCHS"])
    message = str(caught.value)
    for part in (
        "there is no parameter `EPOCH`",
        "did you mean `EPOCHS`?",
        "'fast' is not a value of type float: expected a number",
        "'word' does not belong to a parameter",
        "did you mean `RATE`?",
        "-D 'x' is not NAME=value",
        "a value is missing",
    ):
        assert part in message
    assert (glob["EPOCHS"], glob["RATE"]) == (3, 0.1)


def test_a_wrong_word_ends_the_program_before_it_begins(tmp_path: Path) -> None:
    path = write_experiment(tmp_path, "", above="EPOCHS: int = 3\n")
    ended = start(path, "--EPOCHS", "__import__('os').system('touch evaluated')", check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "expected an integer" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [child.name for child in tmp_path.iterdir()] == ["exp.py"]


DESCRIBED = """
'''What it is for.

More of it.
'''
from __future__ import annotations
from pathlib import Path
from sequifier.experiment import Experiment, file_namespace, folder_path
# :param EPOCHS:
#       How often all data
#       is seen.
EPOCHS: int = 3
# :param DATA: The table.
DATA: Path = Path("a.csv")
# :hook after_epoch:
#       Gets the epoch.
UNTYPED = 1

@Experiment(folder_path(__file__), file_namespace(__file__), globals())
def experiment(e):
    e["seen"] = [EPOCHS, DATA]

experiment.run_if_main()
"""


def test_types_and_comments_are_in_help_and_metadata(tmp_path: Path) -> None:
    path = write(tmp_path, "exp.py", DESCRIBED)
    said = start(path, "--help").stdout
    assert "What it is for." in said
    assert "--EPOCHS (int), default 3\n      How often all data is seen." in said
    start(path, "--EPOCHS", "4", "--DATA", "b.csv")
    e = last(tmp_path)
    assert e["seen"] == [4, "b.csv"]
    assert e.metadata["short_description"] == "What it is for."
    assert e.metadata["description"] == "What it is for.\n\nMore of it."
    about = e.metadata["parameter_info"]
    assert about["EPOCHS"] == {"type": "int", "description": "How often all data is seen."}
    assert about["DATA"] == {"type": "Path", "description": "The table."}
    assert "UNTYPED" not in about
    assert e.metadata["hooks"]["after_epoch"]["description"] == "Gets the epoch."


def test_defines_that_are_no_parameters_are_scoped_parameters(tmp_path: Path) -> None:
    body = "from sequifier.params import param_scope\ne['seen'] = [param_scope.user.threshold | 0.1, RATE]\n"
    path = write_experiment(tmp_path, body, above="RATE: float = 0.5\n")
    start(path, "-D", "user.threshold=0.8", "RATE=2")
    assert last(tmp_path)["seen"] == [0.8, 2.0]
    e = get_experiment(path)
    e.run()
    assert e["seen"] == [0.1, 0.5]
    assert len(folders(tmp_path)) == 2
    with pytest.raises(ConfigError, match=r"there is no parameter `RATE\.low`"):
        e.arg_parser.parse(["-D", "RATE.low=1"])
