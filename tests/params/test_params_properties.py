"""Scopes against a stack of dicts, and conversion against Python's own."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sequifier.params import Scope, param_scope
from sequifier.params.convert import FALSE_WORDS, TRUE_WORDS, convert

names = st.sampled_from(["a", "b", "c", "get", "keys", "x.y"])
paths = st.lists(names, min_size=1, max_size=3).map(".".join)
values = st.one_of(st.integers(), st.text(max_size=3), st.none(), st.booleans(), st.lists(st.integers(), max_size=2))
nested = st.recursive(
    st.dictionaries(paths, values, max_size=3),
    lambda below: st.dictionaries(paths, st.one_of(values, below), max_size=3),
    max_leaves=8,
)
many = st.integers(0, 40).map(lambda n: {f"many.{i}": n for i in range(n)})


def flat(given_values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The slow and obvious way."""
    found: dict[str, Any] = {}
    for key, value in given_values.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[prefix + key] = value
    return found


class Scopes(RuleBasedStateMachine):
    """A stack of scopes beside a stack of dicts: what holds in a scope is what held around it, and its own."""

    @initialize()
    def begin(self) -> None:
        self.entered: list[Scope] = []
        self.model: list[dict[str, Any]] = [{}]

    @rule(given_values=st.one_of(nested, many))
    def enter(self, given_values: dict[str, Any]) -> None:
        self.entered.append(param_scope(**given_values).__enter__())
        self.model.append(self.model[-1] | flat(given_values))

    @rule(given_values=nested)
    def enter_empty(self, given_values: dict[str, Any]) -> None:
        self.entered.append(param_scope.empty(given_values).__enter__())
        self.model.append(flat(given_values))

    @precondition(lambda self: self.entered)
    @rule()
    def leave(self) -> None:
        self.entered.pop().__exit__(None, None, None)
        self.model.pop()

    @precondition(lambda self: self.entered)
    @rule(path=paths, value=values, how=st.integers(0, 3))
    def write(self, path: str, value: Any, how: int) -> None:
        *above, last = path.split(".")
        if how == 0:
            param_scope[path] = value
        elif how == 1:
            param_scope.put(path, value)
        elif how == 2:
            self.entered[-1].update({path: value})
        else:
            here: Any = param_scope
            for part in above:
                here = getattr(here, part)
            setattr(here, last, value)
        self.model[-1] = self.model[-1] | {path: value}

    @precondition(lambda self: self.entered)
    @rule(data=st.data(), path=paths, value=values)
    def write_outside(self, data: st.DataObject, path: str, value: Any) -> None:
        number = data.draw(st.integers(0, len(self.entered) - 1))
        self.entered[number].put(path, value)
        self.model[number + 1] = self.model[number + 1] | {path: value}

    @precondition(lambda self: self.entered)
    @rule()
    def clear(self) -> None:
        param_scope.clear()
        self.model[-1] = {}

    @rule(path=paths)
    def read(self, path: str) -> None:
        missing = object()
        expected = self.model[-1].get(path, missing)
        assert (param_scope[path] | missing) is expected or (param_scope[path] | missing) == expected
        assert (path in param_scope) == (path in self.model[-1])

    @invariant()
    def all_scopes_hold_what_the_model_says(self) -> None:
        assert param_scope.as_dict() == self.model[-1]
        assert sorted(param_scope.keys()) == sorted(self.model[-1])
        for scope, expected in zip(self.entered, self.model[1:], strict=True):
            assert scope.as_dict() == expected

    def teardown(self) -> None:
        while self.entered:
            self.leave()
        assert param_scope.keys() == []


TestScopes = Scopes.TestCase


@given(st.integers())
def test_whole_numbers_of_any_size(number: int) -> None:
    for text in (str(number), f" {number} ", f"{number}.0", f"{number}e3"):
        expected = number * 1000 if text.endswith("e3") else number
        with param_scope(f"a={text}"):
            found = param_scope.a | 1
        assert found == expected
        assert type(found) is int


@given(st.floats())
def test_floats_come_back_bit_for_bit(number: float) -> None:
    with param_scope(f"a={number!r}"):
        found = param_scope.a | 0.5
    assert type(found) is float
    assert found == number or (math.isnan(found) and math.isnan(number))
    assert math.copysign(1, found) == math.copysign(1, number) or math.isnan(number)


@given(st.sampled_from(sorted(TRUE_WORDS | FALSE_WORDS)), st.data(), st.booleans())
def test_bool_words_in_any_case(word: str, data: st.DataObject, default: bool) -> None:
    text = "".join(data.draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in word)
    assert convert(text, default) is (word in TRUE_WORDS)


@given(st.text(), st.sampled_from([True, 1, 0.5, "a", None, (), [1], {}, object()]))
def test_text_converts_or_stays_as_it_is(text: str, default: Any) -> None:
    with param_scope(a=text):
        found = param_scope.a | default
    if isinstance(default, bool):
        words = TRUE_WORDS | FALSE_WORDS
        assert (found == text) if text.strip().lower() not in words else isinstance(found, bool)
    elif isinstance(default, int | float):
        try:
            expected: Any = type(default)(text)
        except ValueError:
            assert found == text or (isinstance(default, int) and float(text) == found)
        else:
            assert type(found) is type(default)
            assert found == expected or math.isnan(expected)
    else:
        assert found == text


@given(values, st.sampled_from([True, 1, 0.5, "a", None]))
def test_what_is_no_text_is_never_converted(value: Any, default: Any) -> None:
    if isinstance(value, str):
        return
    with param_scope(a=value):
        assert (param_scope.a | default) is value


def test_what_does_not_convert_passes_through() -> None:
    for text, default in [
        *[("0.5", 1), ("1e-3", 1), ("1e999999999", 1), ("-1e-999999999", 1), ("inf", 1), ("nan", 1), ("", 1)],
        *[
            ("1,5", 0.5),
            ("", 0.5),
            ("0x10", 1),
            ("maybe", True),
            ("2", True),
            ("", False),
            ("[1]", [2]),
            ("None", None),
        ],
    ]:
        assert convert(text, default) == text
    assert convert("1e23", 0) == 10**23, "exact, where a float is not"
