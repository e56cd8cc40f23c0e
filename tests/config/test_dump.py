"""What `dump_yaml` writes, PyYAML and our loader read back as the same values of the same types."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from sequifier.config.dump import dump_yaml
from sequifier.config.loading.yaml12 import parse

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
)
keys = st.text(max_size=30)
values = st.recursive(
    scalars, lambda below: st.lists(below, max_size=4) | st.dictionaries(keys, below, max_size=4), max_leaves=12
)


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    assert repr(found) == repr(expected)  # repr also tells 1 from 1.0 and 0.0 from -0.0


@given(st.dictionaries(keys, values, max_size=5))
def test_pyyaml_and_our_loader_read_back_what_was_written(document: dict[str, Any]) -> None:
    text = dump_yaml(document)
    assert_same(yaml.safe_load(text), document)
    assert_same(parse(text).values, document)


# What a parser of YAML 1.1 or 1.2 could take for something else, or choke on.
TRAPS = ["no", "Off", "y", "null", "~", "", " a", "a ", "1e3", "0x1f", "0o7", "1_000", "12:30:45", "2013-01-01", ".inf"]
TRAPS += [
    "a: b",
    "a #b",
    "#a",
    "- a",
    "-",
    "?",
    "!x",
    "&x",
    "*x",
    "%x",
    "@x",
    "`x",
    "{",
    "]",
    ",",
    "'",
    '"',
    "\\",
    "<<",
]
TRAPS += ["=", "a\nb", "a\r\nb", "\t", "\x85", "\u2028", "\ufeff", "\U0001f600", "\x00", "\x7f", "é", "日本"]


@pytest.mark.parametrize("text", TRAPS)
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    document = {"key": text, "list": [text], "map": {"inner": [{text: text}]}}
    assert_same(yaml.safe_load(dump_yaml(document)), document)
    assert_same(parse(dump_yaml(document)).values, document)


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(3e-4)
@example(3e-5)
@example(1e16)
@example(1e22)
@example(5e-324)
def test_floats_come_back_to_the_last_digit(number: float) -> None:
    text = dump_yaml({"x": number})
    assert repr(yaml.safe_load(text)["x"]) == repr(number)
    assert repr(parse(text).values["x"]) == repr(number)


def test_the_form_is_the_one_that_people_write() -> None:
    document = {
        "model_name": "demo-run-3",
        "input_columns": ["kind", "length of token"],
        "training_data_path": "data/tokens-split0.parquet",
        "seed": 1010,
        "nothing": None,
        "hooks": {},
        "training_spec": {
            "learning_rate": 3e-05,
            "optimizer": {"name": "AdamW", "betas": [0.9, 0.95]},
            "schedulers": [{"name": "LinearLR", "total_iters": 5}],
        },
    }
    assert (
        dump_yaml(document, header=["Run 3.", ""], comments={"seed": "of the search", "training_spec.optimizer": "x"})
        == """\
# Run 3.
#
model_name: demo-run-3
input_columns: [kind, length of token]
training_data_path: data/tokens-split0.parquet
seed: 1010  # of the search
nothing: null
hooks: {}
training_spec:
  learning_rate: 3.0e-05
  optimizer:  # x
    name: AdamW
    betas: [0.9, 0.95]
  schedulers:
    - {name: LinearLR, total_iters: 5}
"""
    )


def test_an_empty_document_is_an_empty_map() -> None:
    assert yaml.safe_load(dump_yaml({}, header=["nothing"])) == {}


def test_a_value_without_a_yaml_form_is_refused() -> None:
    with pytest.raises(TypeError, match="set has no YAML form"):
        dump_yaml({"x": {1, 2}})
