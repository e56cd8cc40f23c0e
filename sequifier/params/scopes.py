"""`param_scope`: parameters by dotted key, for as long as a `with` block lasts."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from opcode import opmap
from sys import _getframe
from types import FrameType, TracebackType
from typing import Any, Self

from sequifier.params.bottom import freeze
from sequifier.params.current import GENERATOR, enter, is_left_in, leave, level_of, newest_level, write
from sequifier.params.level import FEW, MISSING, Home, Level, find, flat, flattened
from sequifier.params.path import Method, Path, checked, kept, lay, level_at, no_deletion, no_value, put

_newest = newest_level.get
_set_newest = newest_level.set

_EXIT_STACK = contextlib.ExitStack.enter_context.__code__
"""Enters a scope for somebody else, who may be a generator."""


class Scope:
    """Parameters that hold in a `with` block; made by calling `param_scope`.

    In its block it reads what held when it was entered, its own values over that, and what was written to it since.
    Before and after, it reads its own values over the current ones. It may be entered again, also while it is entered,
    and in several threads at once.
    """

    __slots__ = ("__given__", "__homes__")
    __given__: dict[str, Any]
    __homes__: list[Home]  # generators in which it is entered; not there for want of any
    __is_empty__ = False  # whether nothing from around it holds

    def __enter__(self) -> Self:
        outer, code = _newest(), _getframe(1).f_code
        if outer.is_watched or code.co_flags & GENERATOR or code is _EXIT_STACK:
            _enter(self, _getframe(1))
            return self
        # What `enter` does, in line: this is the case that has to be fast.
        level = Level()
        level.owner = self
        level.outer = outer
        around = outer.values
        if len(around) > FEW:
            level.values = self.__given__
            level.rest = outer
        else:
            level.values = around | self.__given__ if around else self.__given__
            level.rest = outer.rest
        _set_newest(level)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        level = _newest()
        outer = level.outer
        if level.owner is self and outer is not None and not level.is_watched:
            _set_newest(outer)
            return
        frame = _getframe(1)
        is_left = leave(self, frame)
        for home in [home for home in _homes(self) if is_left_in(home, frame)]:
            _homes(self).remove(home)
            if not is_left:  # a generator that is closed in another thread or task than it entered the scope in
                home.close()

    def __getattr__(self, name: str) -> Path:
        if name in _METHODS:
            return Method(self, _METHODS[name])
        return Path(self, checked(name))

    def __getitem__(self, key: object) -> Any:
        return _item(self, key, _getframe(1))

    def __setattr__(self, name: str, value: Any) -> None:
        put(self, checked(name), value)

    def __setitem__(self, key: str, value: Any) -> None:
        put(self, key, value)

    def __delattr__(self, name: str) -> None:
        raise no_deletion(name)

    def __contains__(self, key: object) -> bool:
        return find(level_at(self), f"{key}") is not MISSING

    def __iter__(self) -> Iterator[str]:
        return iter(keys(self))

    def __repr__(self) -> str:
        return f"<scope of {_shown(self.__given__)}>"

    def __reduce__(self) -> Any:
        return _new, (type(self), self.__given__)


class EmptyScope(Scope):
    """A scope in which nothing from around it holds."""

    __slots__ = ()
    __is_empty__ = True

    def __enter__(self) -> Self:
        _enter(self, _getframe(1))
        return self


class CurrentScope(Scope):
    """The parameters that hold here and now; calling it makes a scope that lays others over them."""

    __slots__ = ("__dict__",)

    def __call__(self, /, *words: str | Mapping[str, Any], **values: Any) -> Scope:
        """A scope to enter.

        Args:
            words: each `key=value`, or a map of values. They count for more than the named values.
            values: by dotted key, `**{"train.lr": 0.1}`; maps in them are flattened. The map given stays as it is.

        Raises:
            ValueError: a word has no `=`, or nothing before it.
        """
        scope = Scope()
        if words:
            values = _given(words, values)
        else:
            for value in values.values():
                if isinstance(value, dict):
                    values = flattened(values)
                    break
        _set_given(scope, values)
        return scope

    def __enter__(self) -> Self:
        raise TypeError("write `with param_scope():`, with parentheses")

    def __getattr__(self, name: str) -> Path:
        return kept(self.__dict__, name, None, checked(name))

    def __getitem__(self, key: object) -> Any:
        return _item(None, key, _getframe(1))

    def __setattr__(self, name: str, value: Any) -> None:
        put(None, checked(name), value)

    def __setitem__(self, key: str, value: Any) -> None:
        put(None, key, value)

    def __contains__(self, key: object) -> bool:
        return find(level_at(None), f"{key}") is not MISSING

    def __iter__(self) -> Iterator[str]:
        return iter(keys(None))

    def __repr__(self) -> str:
        return f"<param_scope: {_shown(flat(level_at(None)))}>"

    def __reduce__(self) -> Any:
        return "param_scope"


def empty(scope: Scope | None, /, *words: str | Mapping[str, Any], **values: Any) -> Scope:
    """A scope in which nothing from around it holds."""
    return _new(EmptyScope, _given(words, values))


def frozen(scope: Scope | None, /) -> None:
    """Let threads that start from now on begin with what holds now."""
    freeze(level_at(scope))


def keys(scope: Scope | None, /) -> list[str]:
    """The keys that have a value."""
    return list(flat(level_at(scope)))


def clear(scope: Scope | None, /) -> None:
    """Let nothing hold until the end of the scope."""
    if scope is None or level_of(scope) is not None:
        write(level_at(scope), {}, None)
    else:
        object.__setattr__(scope, "__class__", EmptyScope)
        _set_given(scope, {})


def get(scope: Scope | None, /, key: str, default: Any = None) -> Any:
    """The value of a key, or the default."""
    return Path(scope, key) | default


def update(scope: Scope | None, /, *words: str | Mapping[str, Any], **values: Any) -> None:
    """Set keys until the end of the scope, given as to `param_scope` itself."""
    lay(scope, _given(words, values))


_METHODS: dict[str, Callable[..., Any]] = {
    method.__name__: method for method in (empty, frozen, keys, clear, get, put, update)
}


@contextlib.contextmanager
def frozen_scope(*words: str | Mapping[str, Any], **values: Any) -> Iterator[Scope]:
    """A scope whose values also those threads begin with that start inside it; later ones begin as before.

    Args:
        words: as for `param_scope`.
        values: as for `param_scope`.
    """
    with param_scope(*words, **values) as scope:
        before = freeze(level_at(scope))
        try:
            yield scope
        finally:
            freeze(before)


_set_given = Scope.__dict__["__given__"].__set__


def _new(kind: type[Scope], given: dict[str, Any]) -> Scope:
    scope = kind()
    _set_given(scope, given)
    return scope


def _enter(scope: Scope, frame: FrameType) -> None:
    home = enter(scope, scope.__given__, is_empty=scope.__is_empty__, frame=frame)
    if home is not None:
        _homes(scope).append(home)


def _homes(scope: Scope) -> list[Home]:
    try:
        return scope.__homes__
    except AttributeError:
        object.__setattr__(scope, "__homes__", [])
        return scope.__homes__


def _given(words: tuple[Any, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a call, flattened."""
    given = flattened(dict(values))
    for word in words:
        if isinstance(word, Mapping):
            given |= flattened({f"{key}": value for key, value in word.items()})
            continue
        if not isinstance(word, str):
            raise TypeError(f"expected `key=value` or a map, got {word!r}; a list of words is passed as *words")
        key, equals, text = word.partition("=")
        if not key or not equals:
            raise ValueError(f"{word!r} is not key=value")
        given[key] = text
    return given


def _item(scope: Scope | None, key: object, frame: FrameType) -> Any:
    """The path of a key; its value where a map of all of them is being made: `dict(scope)`, `{**scope}`, `f(**scope)`.

    Those ask for `keys()` and for each item, as a program does that says `scope[key]`. Only the instruction that the
    asking frame executes tells them apart: a call or a subscript.
    """
    if frame.f_code.co_code[frame.f_lasti] not in _COPYING:
        return Path(scope, f"{key}")
    value = find(level_at(scope), f"{key}")
    if value is MISSING:
        raise no_value(scope, f"{key}")
    return value


_COPYING = frozenset(number for name, number in opmap.items() if name.startswith(("CALL", "PRECALL", "DICT_")))


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in values.items()) or "nothing"


param_scope = CurrentScope()
param_scope.__dict__.update({name: Method(None, method) for name, method in _METHODS.items()})
