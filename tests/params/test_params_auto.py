"""`auto_param` on everything that can be called: what it binds, and that it stays what it was."""

import asyncio
import functools
import inspect
import itertools
import pickle
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from sequifier.params import auto_param, param_scope


@auto_param("train")
def train(lr: float = 0.1, steps: int = 10, name: str = "a", quick: bool = False) -> tuple[Any, ...]:
    """Train."""
    return lr, steps, name, quick


@auto_param("mixed")
def mixed(a: Any, b: Any = 2, /, c: Any = 3, *rest: Any, d: Any, e: Any = 5, **more: Any) -> tuple[Any, ...]:
    return a, b, c, rest, d, e, more


def test_the_call_comes_first_then_the_scope_then_the_default() -> None:
    assert train() == (0.1, 10, "a", False)
    with param_scope(train={"lr": 0.5, "steps": 7}):
        assert train() == (0.5, 7, "a", False)
        assert train(0.2) == (0.2, 7, "a", False)
        assert train(steps=1) == (0.5, 1, "a", False)
        assert train(0.2, 1, "b", True) == (0.2, 1, "b", True)
        assert train(None) == (None, 7, "a", False)  # type: ignore[arg-type]


def test_text_becomes_what_the_default_is() -> None:
    with param_scope("train.lr=5e-4", "train.steps=1e3", "train.name=7", "train.quick=YES"):
        assert train() == (0.0005, 1000, "7", True)
        assert train("0.3") == ("0.3", 1000, "7", True)  # type: ignore[arg-type]
    with param_scope("train.lr=fast", "train.steps=0.5", "train.quick=perhaps"):
        assert train() == ("fast", "0.5", "a", "perhaps")


def test_every_kind_of_parameter() -> None:
    with param_scope(mixed={"a": 10, "b": 20, "c": 30, "d": 40, "e": 50, "rest": 60, "more": 70}):
        assert mixed() == (10, 20, 30, (), 40, 50, {})  # type: ignore[call-arg]
        assert mixed(1) == (1, 20, 30, (), 40, 50, {})  # type: ignore[call-arg]
        assert mixed(1, 2, 3, 4, d=5, f=6) == (1, 2, 3, (4,), 5, 50, {"f": 6})
        assert mixed(1, a=7, b=8) == (1, 20, 30, (), 40, 50, {"a": 7, "b": 8})  # type: ignore[call-arg]
    with param_scope(mixed={"b": 20}):
        assert mixed(1, d=4) == (1, 20, 3, (), 4, 5, {})
        with pytest.raises(TypeError, match="missing 1 required"):
            mixed(d=4)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'d'"):
        mixed(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes from 0 to 4 positional arguments"):
        train(1, 2, "3", True, 5)  # type: ignore[call-arg]


def test_any_mix_of_sources_is_bound_as_python_would() -> None:
    """Against the rule itself, over all ways to split three parameters between call, scope and default."""

    @auto_param("f")
    def f(a: str = "default", b: str = "default", *, c: str = "default") -> tuple[str, str, str]:
        return a, b, c

    for where in itertools.product(("default", "scope", "name", "position"), repeat=3):
        if where[2] == "position" or (where[1] == "position" and where[0] != "position"):
            continue
        by_position = ["position" for source in where if source == "position"]
        by_name = {key: "name" for key, source in zip("abc", where, strict=True) if source == "name"}
        for hidden in (False, True):  # the scope says something about what the call gives as well
            said = {
                f"f.{key}": "scope" for key, source in zip("abc", where, strict=True) if source == "scope" or hidden
            }
            with param_scope(**said):
                expected = tuple("scope" if hidden and source == "default" else source for source in where)
                assert f(*by_position, **by_name) == expected


def test_the_namespace() -> None:
    @auto_param
    def bare(x: int = 1) -> int:
        return x

    @auto_param()
    def called(x: int = 1) -> int:
        return x

    @auto_param("a.b")
    def dotted(x: int = 1) -> int:
        return x

    @auto_param("")
    def without(x: int = 1) -> int:
        return x

    with param_scope(**{"bare.x": 2, "called.x": 3, "a.b.x": 4, "x": 5}):
        assert (bare(), called(), dotted(), without()) == (2, 3, 4, 5)
    assert (bare(), called(), dotted(), without()) == (1, 1, 1, 1)


def test_a_function_stays_what_it_was() -> None:
    assert (train.__name__, train.__doc__, train.__module__) == ("train", "Train.", __name__)
    assert str(inspect.signature(train)).startswith("(lr: float = 0.1, steps: int = 10")
    assert pickle.loads(pickle.dumps(train)) is train
    with param_scope("partial.x=2"):
        assert auto_param("partial")(functools.partial(lambda y, x=1: (y, x), 5))() == (5, 2)


@auto_param("later")
async def coroutine(x: int = 1) -> int:
    await asyncio.sleep(0)
    return x


@auto_param("later")
def generator(x: int = 1) -> Iterator[int]:
    yield from range(x)


@auto_param("later")
async def async_generator(x: int = 1) -> AsyncIterator[int]:
    for number in range(x):
        await asyncio.sleep(0)
        yield number


async def collected(numbers: AsyncIterator[int]) -> list[int]:
    return [number async for number in numbers]


def test_functions_that_run_later_take_their_values_when_they_are_called() -> None:
    with param_scope("later.x=3"):
        assert asyncio.run(coroutine()) == 3
        assert list(generator()) == [0, 1, 2]
        assert asyncio.run(collected(async_generator())) == [0, 1, 2]
        assert asyncio.run(coroutine(2)) == 2
        begun = coroutine(), generator(), async_generator()
    assert asyncio.run(begun[0]) == 3  # type: ignore[arg-type]
    assert list(begun[1]) == [0, 1, 2]
    assert asyncio.run(collected(begun[2])) == [0, 1, 2]
    assert list(generator()) == [0]


def test_functions_that_run_later_stay_such() -> None:
    assert inspect.iscoroutinefunction(coroutine)
    assert asyncio.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)
    assert not inspect.iscoroutinefunction(generator)
    assert str(inspect.signature(generator)) == "(x: int = 1) -> collections.abc.Iterator[int]"
    for function in (coroutine, generator, async_generator):
        assert pickle.loads(pickle.dumps(function)) is function
        assert function.__qualname__ in repr(function)


class Methods:
    @auto_param("m")
    def method(self, x: int = 1) -> tuple[object, int]:
        return self, x

    @auto_param("m")
    @classmethod
    def of_class(cls, x: int = 1) -> tuple[object, int]:
        return cls, x

    @classmethod
    @auto_param("m")
    def of_class_too(cls, x: int = 1) -> tuple[object, int]:
        return cls, x

    @auto_param("m")
    @staticmethod
    def static(x: int = 1) -> int:
        return x

    @auto_param("m")
    async def later(self, x: int = 1) -> tuple[object, int]:
        return self, x

    @auto_param("m")
    def numbers(self, x: int = 1) -> Iterator[tuple[object, int]]:
        yield self, x


def test_methods() -> None:
    one = Methods()
    with param_scope("m.x=2", "m.self=3", "m.cls=4"):
        assert one.method() == (one, 2)
        assert one.method(5) == (one, 5)
        assert Methods.of_class() == Methods.of_class_too() == (Methods, 2)
        assert one.static() == Methods.static() == 2
        assert asyncio.run(one.later()) == (one, 2)
        assert list(one.numbers()) == [(one, 2)]
    assert inspect.iscoroutinefunction(one.later)
    assert inspect.isgeneratorfunction(one.numbers)


@auto_param("model")
class Model:
    """A model."""

    def __init__(self, width: int = 8, *, dropout: float = 0.0) -> None:
        self.width, self.dropout = width, dropout

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


class Larger(Model):
    def __init__(self, depth: int = 2, **more: Any) -> None:
        super().__init__(**more)
        self.depth = depth


@auto_param("deep")
class Deep(Larger):
    pass


@auto_param("shape")
class Shape(NamedTuple):
    rows: int = 1
    columns: int = 2


@auto_param("options")
@dataclass(frozen=True)
class Options:
    rate: float = 0.1
    names: list[str] = field(default_factory=list)
    strict: bool = False


@auto_param("base")
class Base(ABC):
    def __init__(self, x: int = 1) -> None:
        self.x = x

    @abstractmethod
    def f(self) -> None: ...


@auto_param("nothing")
class Nothing:
    pass


def test_a_class_is_bound_and_stays_a_class() -> None:
    with param_scope("model.width=16", "model.dropout=0.5"):
        made = Model()
        assert (made.width, made.dropout) == (16, 0.5)
        assert (Model(4).width, Model(width=5).width, Model(dropout=0.1).dropout) == (4, 5, 0.1)
    assert isinstance(Model, type)
    assert type(made) is Model
    assert isinstance(made, Model)
    assert (Model.__name__, Model.__doc__) == ("Model", "A model.")
    assert str(inspect.signature(Model)) == "(width: int = 8, *, dropout: float = 0.0) -> None"
    assert pickle.loads(pickle.dumps(made)) == made
    assert pickle.loads(pickle.dumps(Model)) is Model


def test_a_subclass_of_a_bound_class() -> None:
    with param_scope("model.width=16", "deep.depth=5", "deep.width=32", "model.depth=7"):
        assert vars(Larger()) == {"width": 16, "dropout": 0.0, "depth": 2}
        assert vars(Larger(width=1)) == {"width": 1, "dropout": 0.0, "depth": 2}
        assert vars(Deep()) == {"width": 16, "dropout": 0.0, "depth": 5}
        assert vars(Deep(3, width=1)) == {"width": 1, "dropout": 0.0, "depth": 3}
    assert issubclass(Deep, Model)
    assert vars(Deep()) == {"width": 8, "dropout": 0.0, "depth": 2}
    assert pickle.loads(pickle.dumps(Deep())) == Deep()


def test_special_classes() -> None:
    with param_scope("shape.rows=3", "options.rate=1e-3", "options.strict=on", "base.x=2"):
        assert Shape() == (3, 2)
        assert Shape(5) == (5, 2)
        assert pickle.loads(pickle.dumps(Shape(7, 8))) == (7, 8)
        assert Shape(1, 2)._replace(columns=4) == (1, 4)
        assert Options() == Options(0.001, [], True)

        class Concrete(Base):
            def f(self) -> None: ...

        assert Concrete().x == 2
        with pytest.raises(TypeError, match="abstract"):
            Base()  # type: ignore[abstract]
        assert isinstance(Nothing(), Nothing)


def test_a_class_without_its_own_init_follows_the_order_of_its_parents() -> None:
    class Left:
        def __init__(self, x: int = 1) -> None:
            self.left = x
            super().__init__()

    class Right:
        def __init__(self) -> None:
            self.right = True
            super().__init__()

    @auto_param("both")
    class Both(Left):
        pass

    class Most(Both, Right):
        pass

    with param_scope("both.x=2"):
        assert vars(Most()) == {"left": 2, "right": True}


def test_a_bound_function_leaves_no_trace_in_the_scope() -> None:
    with param_scope("train.lr=0.5") as ps:
        train(steps=3)
        assert ps.as_dict() == {"train.lr": "0.5"}


def test_what_cannot_be_bound_says_so() -> None:
    wrong: list[Callable[[], Any]] = [lambda: auto_param("x")(3), lambda: auto_param()(functools.partial(train))]
    for bind in wrong:
        with pytest.raises((TypeError, AttributeError)):
            bind()
