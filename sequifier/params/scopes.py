"""`param_scope`: parameters by dotted key for the duration of a `with` block."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from sequifier.params.current import freeze, innermost, leave, level_of, replace, start, thaw
from sequifier.params.level import MISSING, find, flat, flattened, new_level, over
from sequifier.params.path import Method, Path, cached_path, checked, level_at, no_deletion, put, set_values

_innermost = innermost.get
_set_innermost = innermost.set


class Scope:
    """Parameters of a `with` block, made by calling `param_scope`.

    Inside its block a scope reads the values that were current when it was entered, its own values over them, and what
    was written to it since. Before and after, it reads its own values over the current ones. It may be entered again,
    also inside its own block and in several threads at once.
    """

    __slots__ = ("__given__",)
    __given__: dict[str, Any]
    __is_empty__ = False  # whether it hides the values around it

    @property
    def __scope__(self) -> "Scope | None":
        """The scope that the methods read and write; None for the innermost one."""
        return self

    def __enter__(self) -> Self:
        _set_innermost(over(_innermost() or start(), self.__given__, self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        level = _innermost()
        if level is not None and level.owner is self:
            _set_innermost(level.outer)
        else:
            leave(self)

    def __getattr__(self, name: str) -> Path:
        return Method(self, _METHODS[name]) if name in _METHODS else Path(self, checked(name))

    def __getitem__(self, key: object) -> Path:
        return Path(self.__scope__, f"{key}")

    def __setattr__(self, name: str, value: Any) -> None:
        put(self.__scope__, checked(name), value)

    def __setitem__(self, key: str, value: Any) -> None:
        put(self.__scope__, key, value)

    def __delattr__(self, name: str) -> None:
        raise no_deletion(name)

    def __contains__(self, key: object) -> bool:
        return find(level_at(self.__scope__), f"{key}") is not MISSING

    def __iter__(self) -> Iterator[str]:
        return iter(keys(self.__scope__))

    def __repr__(self) -> str:
        return f"<scope of {_shown(self.__given__)}>"

    def __reduce__(self) -> Any:
        return _new, (type(self), self.__given__)


class EmptyScope(Scope):
    """A scope that hides the values around it."""

    __slots__ = ()
    __is_empty__ = True

    def __enter__(self) -> Self:
        _set_innermost(new_level(self.__given__, None, self, _innermost() or start()))
        return self


class CurrentScope(Scope):
    """The innermost scope at the time of reading; calling it makes a new scope."""

    __slots__ = ("__dict__",)

    @property
    def __scope__(self) -> None:
        return None

    def __call__(self, /, *words: str | Mapping[str, Any], **values: Any) -> Scope:
        """Return a scope to enter.

        Args:
            words: each a string `key=value` or a map of values. They take precedence over the named values.
            values: by dotted key, `**{"train.lr": 0.1}`; maps in them are flattened, and are not changed.

        Raises:
            ValueError: a string has no `=`, or no key before it.
        """
        scope = Scope()
        _set_given(scope, _given(words, values) if words else flattened(values))
        return scope

    def __enter__(self) -> Self:
        raise TypeError("write `with param_scope():`, with parentheses")

    def __getattr__(self, name: str) -> Path:
        return cached_path(self.__dict__, name, None, checked(name))

    def __repr__(self) -> str:
        return f"<param_scope: {_shown(flat(level_at(None)))}>"

    def __reduce__(self) -> Any:
        return "param_scope"


def empty(scope: Scope | None, /, *words: str | Mapping[str, Any], **values: Any) -> Scope:
    """Return a scope that hides the values around it."""
    return _new(EmptyScope, _given(words, values))


def frozen(scope: Scope | None, /) -> None:
    """Make the scope's values the starting values of threads that start from now on."""
    freeze(level_at(scope))


def keys(scope: Scope | None, /) -> list[str]:
    """Return the keys that have a value."""
    return list(flat(level_at(scope)))


def as_dict(scope: Scope | None, /) -> dict[str, Any]:
    """Return the values by dotted key, as a new dict."""
    return flat(level_at(scope))


def clear(scope: Scope | None, /) -> None:
    """Remove all values until the end of the scope."""
    if scope is None or level_of(scope) is not None:
        level = level_at(scope)
        replace(level, new_level({}, None, level.owner, level.outer))
    else:
        object.__setattr__(scope, "__class__", EmptyScope)
        _set_given(scope, {})


def get(scope: Scope | None, /, key: str, default: Any = None) -> Any:
    """Return the value of a key, or the default."""
    return Path(scope, key) | default


def update(scope: Scope | None, /, *words: str | Mapping[str, Any], **values: Any) -> None:
    """Set keys until the end of the scope; the arguments are those of `param_scope`."""
    set_values(scope, _given(words, values))


_METHODS: dict[str, Callable[..., Any]] = {
    method.__name__: method for method in (as_dict, empty, frozen, keys, clear, get, put, update)
}


@contextlib.contextmanager
def frozen_scope(*words: str | Mapping[str, Any], **values: Any) -> Iterator[Scope]:
    """A scope whose values are also the starting values of threads that start inside it.

    Args:
        words: as for `param_scope`.
        values: as for `param_scope`.
    """
    with param_scope(*words, **values) as scope:
        freeze(level_at(scope), owner=scope)
        try:
            yield scope
        finally:
            thaw(scope)


_set_given = Scope.__dict__["__given__"].__set__


def _new(kind: type[Scope], given: dict[str, Any]) -> Scope:
    scope = kind()
    _set_given(scope, given)
    return scope


def _given(words: tuple[Any, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a call by dotted key."""
    given = flattened(dict(values))
    for word in words:
        if isinstance(word, Mapping):
            given |= flattened({f"{key}": value for key, value in word.items()})
            continue
        if not isinstance(word, str):
            raise TypeError(f"expected `key=value` or a map, got {word!r}; pass a list of strings as *words")
        key, equals, text = word.partition("=")
        if not key or not equals:
            raise ValueError(f"{word!r} is not key=value")
        given[key] = text
    return given


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in values.items()) or "nothing"


param_scope = CurrentScope()
param_scope.__dict__.update({name: Method(None, method) for name, method in _METHODS.items()})
