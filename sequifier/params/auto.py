"""`auto_param`: parameters of a function from the scope in which it is called."""

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple, TypeVar, overload

from sequifier.params.convert import convert
from sequifier.params.current import innermost, start
from sequifier.params.level import MISSING, Level, find

Target = TypeVar("Target", bound=Callable[..., Any])

_innermost = innermost.get


@overload
def auto_param(namespace: Target, /) -> Target: ...
@overload
def auto_param(namespace: str | None = None, /) -> Callable[[Target], Target]: ...
def auto_param(namespace: Any = None, /) -> Any:
    """Bind the parameters of a function or class to the keys `namespace.*`.

    A value comes from the call itself, by position or by name; else from the scope in which the call is made; else it
    is the default. A string from the scope is converted to the type of the default, see `convert`. A parameter
    without a default may come from a scope too.

    Args:
        namespace: None, or `@auto_param` without parentheses, means the name of the function; "" means keys without
            dots.

    Returns:
        A decorator. A class remains the same class; its `__init__` is bound, or its `__new__` where it has only that.
        Async functions, generators and async generators remain such for `inspect` and `asyncio`; their values are
        read when they are called, not when they begin to run.
    """
    if callable(namespace):
        return _bound(namespace, _name(namespace))
    return lambda target: _bound(target, _name(target) if namespace is None else namespace)


def _name(target: Any) -> str:
    return str(getattr(target, "__func__", target).__name__)


def _bound(target: Any, namespace: str) -> Any:
    if isinstance(target, type):
        return _bound_class(target, namespace)
    if isinstance(target, staticmethod | classmethod):
        return type(target)(_bound(target.__func__, namespace))
    function = _bound_function(target, namespace)
    return _Lazy(target, function) if _is_lazy(target) else function


def _is_lazy(target: Any) -> bool:
    """Whether a call of a function does not run it yet."""
    import inspect

    kinds = inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction
    return inspect.isfunction(target) and any(is_kind(target) for is_kind in kinds)


class _Parameter(NamedTuple):
    name: str
    key: str
    default: Any  # MISSING where there is none


def _bound_function(function: Callable[..., Any], namespace: str) -> Callable[..., Any]:
    import inspect  # takes longer to import than everything else here

    kinds = inspect.Parameter
    prefix = f"{namespace}." if namespace else ""
    nameless: list[_Parameter] = []  # positional-only
    named: list[_Parameter] = []
    by_name_only: list[_Parameter] = []
    for name, found in inspect.signature(function).parameters.items():
        parameter = _Parameter(name, prefix + name, MISSING if found.default is kinds.empty else found.default)
        if found.kind is kinds.POSITIONAL_ONLY:
            nameless.append(parameter)
        elif found.kind is kinds.POSITIONAL_OR_KEYWORD:
            named.append(parameter)
        elif found.kind is kinds.KEYWORD_ONLY:
            by_name_only.append(parameter)
    n_nameless, n_named = len(nameless), len(named)
    # The parameters that may be passed by name after n positional arguments.
    left = [(*named[max(n - n_nameless, 0) :], *by_name_only) for n in range(n_nameless + n_named + 1)]

    @functools.wraps(function)
    def bound(*arguments: Any, **by_name: Any) -> Any:
        level = _innermost() or start()
        n = len(arguments)
        if n < n_nameless:
            arguments += _by_position(level, nameless[n:])
            n = len(arguments)
        values, rest = level.values, level.rest
        for name, key, default in left[n] if n < len(left) else by_name_only:
            if name not in by_name:
                value = values.get(key, MISSING)
                if value is MISSING:
                    if rest is None:
                        continue
                    value = find(rest, key)
                    if value is MISSING:
                        continue
                by_name[name] = convert(value, default) if isinstance(value, str) else value
        return function(*arguments, **by_name)

    return bound


def _by_position(level: Level, parameters: list[_Parameter]) -> tuple[Any, ...]:
    """Return values for positional-only parameters, up to the first without one."""
    values = []
    for _, key, default in parameters:
        value = find(level, key)
        if value is MISSING:
            value = default
        if value is MISSING:
            break
        values.append(convert(value, default) if isinstance(value, str) else value)
    return tuple(values)


class _Lazy:
    """An async function, a generator or an async generator whose parameters are bound when it is called.

    `inspect` and `asyncio` recognise it by the attributes of a function, above all its code.
    """

    def __init__(self, function: Callable[..., Any], bound: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            setattr(self, name, getattr(function, name))
        self.__bound__ = bound

    def __call__(self, /, *arguments: Any, **by_name: Any) -> Any:
        return self.__bound__(*arguments, **by_name)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<bound {self.__wrapped__!r}>"  # type: ignore[attr-defined]

    def __reduce__(self) -> str:
        return self.__qualname__  # type: ignore[attr-defined, no-any-return]


def _bound_class(cls: type[Any], namespace: str) -> type:
    if cls.__init__ is not object.__init__:
        cls.__init__ = _bound_function(_own_init(cls), namespace)
    elif vars(object)["__new__"] is not cls.__new__:
        cls.__new__ = staticmethod(_bound_function(_own_new(cls), namespace))
    return cls


def _own_init(cls: type[Any]) -> Callable[..., None]:
    """Return the class's own `__init__`, or one that calls `super()`, which depends on the parents of a subclass."""
    if "__init__" in vars(cls):
        return cls.__init__  # type: ignore[no-any-return]

    @functools.wraps(cls.__init__)
    def init(self: Any, /, *arguments: Any, **by_name: Any) -> None:
        super(cls, self).__init__(*arguments, **by_name)

    return init


def _own_new(cls: type[Any]) -> Callable[..., Any]:
    if "__new__" in vars(cls):
        return cls.__new__

    @functools.wraps(cls.__new__)
    def new(kind: type[Any], /, *arguments: Any, **by_name: Any) -> Any:
        return super(cls, kind).__new__(kind, *arguments, **by_name)

    return new
