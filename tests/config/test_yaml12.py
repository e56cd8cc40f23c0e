"""Scalars, keys and errors of the YAML that people write."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sequifier.config.yaml12 import dotted, parse
from sequifier.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1e3", 1000.0),
        ("1.0e3", 1000.0),
        ("-.5", -0.5),
        ("12", 12),
        ("+3", 3),
        ("0x1F", 31),
        ("no", "no"),
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("2020-01-01", "2020-01-01"),
        ("'5'", "5"),
        ("12:30:45", "12:30:45"),
    ],
)
def test_scalars_are_what_people_mean(text: str, value: object) -> None:
    found = parse(f"key: {text}").values["key"]
    assert found == value
    assert type(found) is type(value)


def test_anchors_aliases_and_merges_work() -> None:
    document = parse("base: &base {a: 1, b: 2}\nchild:\n  <<: *base\n  b: 3\nagain: *base\n")
    assert document.values["child"] == {"a": 1, "b": 3}
    assert document.values["again"] == {"a": 1, "b": 2}


def test_lines_of_values_are_known() -> None:
    document = parse("a: 1\nb:\n  c: [1,\n    2]\n")
    assert document.lines["a",] == 1
    assert document.lines["b", "c"] == 3
    assert document.lines["b", "c", 1] == 4


def test_a_key_given_twice_is_an_error_with_both_lines() -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml:3: `a`: given twice, first on line 1"):
        parse("a: 1\nb: 2\na: 3\n", name="f.yaml")


def test_broken_yaml_names_its_line() -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml:2: not valid YAML"):
        parse("a: [1\nb: 2\n", name="f.yaml")


def test_an_alias_inside_itself_is_an_error() -> None:
    with pytest.raises(ConfigError, match="contains itself"):
        parse("a: &a [1, *a]\n")


def test_paths_are_written_as_people_write_them() -> None:
    assert dotted(("a", "b", 2, "c")) == "a.b[2].c"


# PyYAML writes some control characters and line separators bare, which no parser reads back.
text = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(text, plain, max_size=4))
def test_what_pyyaml_writes_is_read_back(values: dict[str, object]) -> None:
    assert (parse(yaml.safe_dump(values, allow_unicode=True)).values or {}) == values
