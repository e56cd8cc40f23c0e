"""What a scope is: reading, writing, names, methods, and that all of it ends with the block."""

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sequifier import params
from sequifier.errors import RunError
from sequifier.params import clear, empty, get, keys, param, param_scope, put, scope, update


def test_writes_in_a_scope_end_with_it() -> None:
    with param_scope(a=1) as ps:
        param_scope.a = 2
        param_scope.b.c = 3
        param_scope["d.e"] = 4
        param_scope.b["f"] = 5
        ps.g = {"h": 6, "i": {"j": 7}}
        with param_scope() as inner:
            inner.a = 8
            put("k", 9)
            update({"l": 10}, "m=11", n=12)
            assert param_scope.as_dict()["a"] == 8
            assert {"k", "l", "m", "n"} <= set(keys())
        assert ps.as_dict() == {"a": 2, "b.c": 3, "d.e": 4, "b.f": 5, "g.h": 6, "g.i.j": 7}
    assert keys() == []
    assert param_scope.a | 0 == 0


def test_an_error_ends_a_scope_too() -> None:
    with pytest.raises(ZeroDivisionError), param_scope(a=1):
        raise ZeroDivisionError
    assert "a" not in param_scope


def test_nested_maps_become_dotted_keys_and_stay_as_they_were() -> None:
    given: dict[str, Any] = {"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f.g": {"h": 2, 3: 4}, "i": {}}
    before = copy.deepcopy(given)
    with param_scope(**given) as ps:
        assert ps.as_dict() == {"a.b.c": 1, "a.d": [1, {"e": 2}], "f.g.h": 2, "f.g.3": 4}
        ps.a.b.c = 5
        ps.clear()
    assert given == before
    with param_scope(given) as ps:
        assert param_scope.f.g.h() == 2
    assert given == before


@pytest.mark.parametrize(
    ("word", "key", "text"),
    [("a.b=1", "a.b", "1"), ("a=b=c", "a", "b=c"), ("a=", "a", ""), ("a = b", "a ", " b"), ("a==", "a", "=")],
)
def test_words_are_split_at_the_first_equals_sign(word: str, key: str, text: str) -> None:
    with param_scope(word):
        assert param_scope.as_dict() == {key: text}


def test_words_count_for_more_than_named_values() -> None:
    with param_scope("a=1", {"a": 2, "b": 3}, "b=4", a=5, c=6) as ps:
        assert ps.as_dict() == {"a": 2, "b": "4", "c": 6}


def test_invalid_names_are_refused() -> None:
    for word in ("a", "", "=1"):
        with pytest.raises(ValueError, match="is not key=value"):
            param_scope(word)
    with pytest.raises(TypeError, match=r"as \*words"):
        param_scope(["a=1"])  # type: ignore[arg-type]


NAMES = [
    *("get", "put", "keys", "items", "values", "update", "clear", "empty", "frozen", "pop", "copy", "setdefault"),
    *("self", "scope", "default", "key", "words", "values", "owner", "level", "_x", "__x", "_", "x_", "mro", "name"),
    *("class", "lambda", "None", "1", "a b", "ä", "__class__", "__dict__", "__init__", "__key__", "__given__", ""),
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_is_reserved(name: str) -> None:
    with param_scope(**{name: 1, f"{name}.below": 2, f"above.{name}": 3}) as ps:
        for here in (param_scope, ps):
            assert here[name] | 0 == 1
            assert here[name]["below"] | 0 == 2
            assert here["above"][name] | 0 == 3
            if not name.endswith("__"):
                assert getattr(here, name) | 0 == 1
                assert getattr(here, name).below() == 2
                assert getattr(here.above, name)() == 3
        if not name.endswith("__"):
            setattr(param_scope, name, 4)
            setattr(param_scope.above, name, 5)
        param_scope[name] = 6
        assert param_scope[name]() == ps[name]() == 6
        assert param_scope.as_dict()[name] == 6
    assert name not in param_scope


@pytest.mark.parametrize("name", ["__class__", "__iter__", "__deepcopy__", "__wrapped__", "__len__", "__dict__"])
def test_a_dunder_name_is_a_key_in_brackets_only(name: str) -> None:
    for here in (param_scope, param_scope.a, param_scope(), param_scope.keys):
        assert not isinstance(getattr(here, name, None), params.Path)
    with pytest.raises(AttributeError, match="is not an attribute"):
        param_scope.a.__nothing__ = 1
    with pytest.raises(AttributeError, match=r"write \['__nothing__'\] for a parameter"):
        _ = param_scope.__nothing__


def test_a_path_kept_in_a_variable_stays_that_path() -> None:
    model = param_scope.model
    with param_scope(**{"model.a": 1, "model.b.c": 2, "model": 3}):
        assert (model.a | 0, model.b.c | 0, model.a | 0, model | 0) == (1, 2, 1, 3)
        model.d = 4
        assert param_scope.model.d() == 4
    assert model.a | 0 == 0


def test_a_required_parameter_that_is_missing_says_which_are_near() -> None:
    with param_scope(**{"train.learning_rate": 1, "train.optimizer.name": "Adam", "train.optimizer.beta": 2}):
        with pytest.raises(KeyError, match=r"`train\.optimizer` .* there are `train.optimizer.name`, `train.optim"):
            param_scope.train.optimizer()
        with pytest.raises(KeyError, match=r"`train\.learning_rat` .* there is `train\.learning_rate`"):
            param_scope.train.learning_rat()
        with pytest.raises(KeyError, match=r"`a\.b`"):
            param_scope["a.b"]()


def test_values_are_values_whatever_they_are() -> None:
    huge = 10**5000
    with param_scope(none=None, no=False, zero=0, empty="", huge=huge, negative=-huge):
        assert param_scope.none | 1 is None
        assert param_scope.no | True is False
        assert param_scope.zero(5) == 0
        assert param_scope.empty | "x" == ""
        assert param_scope.huge | 1 == huge
        assert param_scope.negative | 0.5 == -huge


def test_truth_equals_the_truth_of_the_value() -> None:
    with param_scope(yes=True, no=0, word="off"):
        assert param_scope.yes
        assert not param_scope.no
        assert not param_scope.word
        assert not param_scope.missing


def test_the_methods_and_functions() -> None:
    assert (scope, param) == (param_scope, params.auto_param)
    with param_scope(a="1", b=2) as ps:
        assert get("a") == param_scope.get("a") == ps.get("a", default="0") == "1"
        assert get("a", 0) == 1
        assert param_scope.get("c") is None
        assert param_scope.keys() == ps.keys() == list(ps) == list(param_scope) == ["a", "b"]
        with param_scope.empty("c=3", d=4) as nothing_else:
            assert nothing_else.as_dict() == param_scope.as_dict() == {"c": "3", "d": 4}
            with empty():
                assert keys() == []
                put("e", 5)
                assert keys() == ["e"]
        with param_scope():
            clear()
            assert keys() == []
            ps.put("f", 6)
            assert keys() == [], "an inner scope keeps what it was entered with"
        assert ps.as_dict() == {"a": "1", "b": 2, "f": 6}
        ps.clear()
        ps.update(g=7)
        assert param_scope.as_dict() == {"g": 7}


def test_a_scope_has_items_that_are_paths_and_a_dict_of_its_values() -> None:
    with param_scope(**{"a.b": 1, "c": "2"}) as ps:
        for here in (ps, param_scope):
            assert here.as_dict() == {"a.b": 1, "c": "2"}
            assert {key: here[key]() for key in here.keys()} == here.as_dict()  # noqa: SIM118
            assert [here[key] | 0 for key in here] == [1, 2]
            assert "c" in here
            assert "a" not in here
        assert params.as_dict() == ps.as_dict()
        ps.as_dict()["c"] = 3
        assert ps.c() == "2", "it is a copy"
        assert "c='2'" in repr(ps) and "a.b=1" in repr(param_scope) and repr(ps.c) == "<parameter c: '2'>"
        with pytest.raises(TypeError):
            iter(ps.a)
        with pytest.raises(TypeError):
            _ = 1 in param_scope.a


def test_a_parameter_that_was_not_read_is_not_a_value() -> None:
    """`dict(scope)` and `**scope` give paths: passed on as values, they would be read much later, or for ever."""
    wrong: list[Callable[[Any], Any]] = [
        lambda ps: param_scope(**ps),
        lambda ps: param_scope(dict(ps)),
        lambda ps: param_scope(x={"y": ps.a}),
        lambda ps: put("x", ps.a),
        lambda ps: ps.update(x=param_scope.a),
    ]
    with param_scope(a=1) as ps:
        for give in wrong:
            with pytest.raises(TypeError, match=r"was given a parameter, not a value; .* `scope.as_dict\(\)`"):
                give(ps)
        assert ps.as_dict() == {"a": 1}


def test_a_scope_object_reads_its_own_block() -> None:
    with param_scope(a=1) as outer, param_scope(a=2, b=3) as inner:
        assert (outer.a | 0, inner.a | 0, outer.b | 0, param_scope.a | 0) == (1, 2, 0, 2)
        outer.a = 4
        outer.c = 5
        assert (outer.a | 0, inner.a | 0, param_scope.c | 0) == (4, 2, 0)
    assert outer.a | 0 == 1, "left: what it was made of"


def test_a_scope_can_be_made_first_and_entered_often() -> None:
    made = param_scope(a=1)
    made.b = 2
    for _ in range(2):
        with made, param_scope(a=3), made:
            assert param_scope.as_dict() == {"a": 1, "b": 2}
            param_scope.b = 4
        assert keys() == []
    made.clear()
    made.put("c", 5)
    with param_scope(a=1), made:
        assert keys() == ["c"]


def test_scopes_may_be_left_in_any_order() -> None:
    first, second = param_scope(a=1), param_scope(b=2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert second.b | 0 == 2
    second.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert keys() == []


def test_many_and_large_scopes_hold() -> None:
    with ExitStack() as stack:
        for number in range(300):
            stack.enter_context(param_scope({f"k{number}.{i}": number for i in range(number % 40)}, last=number))
            stack.enter_context(param_scope(**{f"one.{number}": number}))
        expected = {f"k{n}.{i}": n for n in range(300) for i in range(n % 40)} | {f"one.{n}": n for n in range(300)}
        assert param_scope.as_dict() == expected | {"last": 299}
        assert param_scope.k39["38"]() == 39
        put("k39.38", 0)
        assert param_scope.k39["38"]() == 0
    assert keys() == []


def test_with_needs_a_call() -> None:
    with pytest.raises(TypeError, match="with parentheses"), param_scope:
        pass


def test_nothing_is_deleted() -> None:
    with param_scope(a=1) as ps:
        for here in (param_scope, ps):
            with pytest.raises(AttributeError, match="cannot be deleted"):
                del here.a
        with pytest.raises(AttributeError, match=r"`a\.b` cannot be deleted"):
            del param_scope.a.b


def test_copies_and_pickles_are_what_they_were() -> None:
    made = empty(a={"b": 1})
    for again in (copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))):
        assert again(param_scope) is param_scope
        assert again(param_scope.a.b)(7) == 7
        assert again(param_scope.keys)() == []
        with param_scope(c=1), again(made):
            assert param_scope.as_dict() == {"a.b": 1}


@contextmanager
def with_threshold(value: float) -> Iterator[None]:
    with param_scope(threshold=value):
        yield


def test_a_context_manager_that_is_a_generator_lends_its_scope() -> None:
    with with_threshold(0.5), ExitStack() as stack:
        stack.enter_context(with_threshold(0.6))
        assert param_scope.threshold | 0 == 0.6
        with with_threshold(0.7):
            assert param_scope.threshold | 0 == 0.7
    assert "threshold" not in param_scope


@pytest.fixture
def lent() -> Iterator[None]:
    with param_scope(lent=True):
        yield
        assert param_scope.lent | False


@pytest.mark.usefixtures("lent")
def test_a_fixture_lends_its_scope() -> None:
    assert param_scope.lent | False


PROGRAM = """
import sys
from sequifier.params import param_scope
with param_scope(a=1):
    print(param_scope.as_dict())
print(param_scope.user.threshold | 0.5, sorted(param_scope.keys()))
"""


def program(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_process_begins_with_the_parameters_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "experiment_meta.json"
    path.write_text(json.dumps({"name": "x", "parameters": {"user": {"threshold": 0.8}, "seed": 3}}))
    told = program(SEQUIFIER_PARAMS=str(path))
    assert told.stdout.splitlines() == [
        "{'user.threshold': 0.8, 'seed': 3, 'a': 1}",
        "0.8 ['seed', 'user.threshold']",
    ]
    assert program(SEQUIFIER_PARAMS="").stdout.splitlines()[1] == "0.5 []"


@pytest.mark.parametrize("content", [None, "{", "{}", '{"parameters": 3}', "[]"])
def test_parameters_that_cannot_be_read_are_an_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "meta.json"
    if content is not None:
        path.write_text(content)
    failed = program(SEQUIFIER_PARAMS=str(path))
    assert failed.returncode == 1
    assert RunError.__name__ in failed.stderr
    assert f"SEQUIFIER_PARAMS={path}" in failed.stderr


def test_importing_it_is_quick_and_loads_no_library(tmp_path: Path) -> None:
    code = "import sys; before = set(sys.modules); import sequifier.params; print(*set(sys.modules) - before)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(2):  # the second time from compiled files
        run = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**environment, "PYTHONPYCACHEPREFIX": str(tmp_path)},
        )
    loaded = {module.split(".")[0] for module in run.stdout.split()} - {"sequifier"}
    assert loaded <= sys.stdlib_module_names
    assert not loaded & {"inspect", "asyncio", "json"}, "these take longer than all the rest"
