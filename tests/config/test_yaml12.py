"""Scalars, keys and errors of the YAML that people write."""

import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sequifier.config.loading.yaml12 import dotted, parse, parse_file
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: !!int word\n", r"f\.yaml:2: `b`: `word` is not int"),
        ("a: 1\nb: !!float word\n", r"f\.yaml:2: `b`: `word` is not float"),
        ("a: 1\nb: !!python/object/apply:os.system [x]\n", r"f\.yaml:2: `b`: the tag .*os\.system is not supported"),
        ("a: 1\nb: !!set {x}\n", r"f\.yaml:2: `b`: the tag .*set is not supported"),
        ("a: 1\nb: " + "9" * 5000, r"f\.yaml:2: `b`: a number of 5000 digits"),
        ("a: 1\nb: 'x\x00'\n", r"f\.yaml:2: not valid YAML: control characters are not allowed \(character 0x00\)"),
    ],
    ids=["int", "float", "python", "set", "digits", "control"],
)
def test_what_no_config_means_is_an_error_with_its_line(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        parse(text, name="f.yaml")


def test_a_tag_that_fits_its_value_is_harmless() -> None:
    assert parse("a: !!str 3\nb: !!float 3\nc: !!int 3\nd: !!map {x: !!seq [1]}\n").values == {
        "a": "3",
        "b": 3.0,
        "c": 3,
        "d": {"x": [1]},
    }


def test_a_tab_is_named_as_what_it_is() -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml:2: not valid YAML(?s:.*)YAML takes no tabs"):
        parse("a:\n\tb: 1\n", name="f.yaml")


def test_an_alias_inside_itself_is_an_error() -> None:
    with pytest.raises(ConfigError, match="contains itself"):
        parse("a: &a [1, *a]\n")


def test_paths_are_written_as_people_write_them() -> None:
    assert dotted(("a", "b", 2, "c")) == "a.b[2].c"


# PyYAML writes some control characters and line separators bare, which no parser reads back.
# `08` and `1e3` are text in YAML 1.1, which PyYAML writes, and numbers in YAML 1.2.
NUMBER_LIKE = re.compile(r"[-+.0-9][-+.0-9a-zA-Z_]*")
text = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))).filter(
    lambda word: not NUMBER_LIKE.fullmatch(word)
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(text, plain, max_size=4))
def test_what_pyyaml_writes_is_read_back(values: dict[str, object]) -> None:
    assert (parse(yaml.safe_dump(values, allow_unicode=True)).values or {}) == values


BY_ALIAS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
BY_MERGE = "a0: &a0 {k0: x}\n" + "".join(
    f"a{n}: &a{n} {{{', '.join(f'k{m}: *a{n - 1}' for m in range(10))}, <<: *a{n - 1}}}\n" for n in range(1, 10)
)
BY_MERGES = "a0: &a0 {k: x}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 10)
)


@pytest.mark.parametrize("text", [BY_ALIAS, BY_MERGE, BY_MERGES], ids=["alias", "alias and merge", "merge"])
def test_a_few_lines_that_expand_to_billions_of_values_are_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml:\d+.*repeat more than 100,000 values"):
        parse(text, name="f.yaml")


@pytest.mark.parametrize("depth", [101, 1_000, 100_000])
@pytest.mark.parametrize("text", ["a: {}", "{}", "- {}"], ids=["in a map", "alone", "in a list"])
@pytest.mark.parametrize("pair", ["[]", "{}", "- "], ids=["lists", "maps", "dashes"])
def test_what_is_nested_too_deeply_is_an_error(pair: str, text: str, depth: int) -> None:
    if pair == "- ":
        nested = "\n  " + "- " * min(depth, 5000) + "x"  # libyaml takes the square of the depth for these
    else:
        opening = {"[]": "[", "{}": "{a: "}[pair]
        nested = opening * depth + "1" + pair[1] * depth
    with pytest.raises(ConfigError, match=r"f\.yaml:\d+: not valid YAML: more than 100 lists or maps"):
        parse(text.format(nested), name="f.yaml")


def test_unclosed_brackets_are_an_error_however_many(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    for text in ("[" * 100_000, '{"a":' * 100_000, "a: " * 1000, "&a " * 1000, "!!x " * 1000):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"f\.yaml:1"):
            parse_file(path)


def test_a_hundred_levels_and_ordinary_aliases_are_read() -> None:
    assert parse("a: " + "[" * 98 + "]" * 98).values
    assert len(parse("a: &a [1, 2]\nb: [" + ", ".join(["*a"] * 5000) + "]\n").values["b"]) == 5000


def test_a_file_that_never_ends_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.yaml")
    for path in (tmp_path / "f.yaml", Path("/dev/zero"), tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(ConfigError, match=rf"{path}: cannot read the file"):
            parse_file(path)


def test_a_wrong_indentation_is_searched_for_above_its_line_too() -> None:
    with pytest.raises(ConfigError, match="check the indentation at and above line 3"):
        parse("  a: 1\n  b: 2\nc: 3\n")
