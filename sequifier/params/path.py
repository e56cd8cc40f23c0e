"""Keys, written as attributes: `param_scope.train.lr | 0.1` reads, `param_scope.train.lr = 0.1` writes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sequifier.params.convert import convert
from sequifier.params.current import current, innermost, level_of, replace, start
from sequifier.params.level import MISSING, Level, Unread, find, flat, flattened, new_level, over

if TYPE_CHECKING:
    from sequifier.params.scopes import Scope

_MAX_CACHED = 1000
"""The number of paths that a path caches as attributes, so that the next access takes no call. There is a limit because
programs may make up names without end."""

_innermost = innermost.get


class Path(Unread):
    """The key of a parameter, which is read by `|` or a call.

    Its own attributes have dunder names, which are not keys, so that any other name can be a key.
    """

    __slots__ = ("__dict__", "__key__", "__scope__")
    __key__: str
    __scope__: "Scope | None"

    def __init__(self, scope: "Scope | None", key: str) -> None:
        object.__setattr__(self, "__scope__", scope)  # None: the innermost scope at the time of reading
        object.__setattr__(self, "__key__", key)

    def __getattr__(self, name: str) -> "Path":
        return cached_path(self.__dict__, name, self.__scope__, f"{self.__key__}.{checked(name)}")

    def __getitem__(self, key: object) -> "Path":
        """Return the path of a key below this one."""
        return Path(self.__scope__, f"{self.__key__}.{key}")

    def __setattr__(self, name: str, value: Any) -> None:
        put(self.__scope__, f"{self.__key__}.{checked(name)}", value)

    def __setitem__(self, key: object, value: Any) -> None:
        put(self.__scope__, f"{self.__key__}.{key}", value)

    def __delattr__(self, name: str) -> None:
        raise no_deletion(f"{self.__key__}.{name}")

    __iter__ = None  # else Python would try the keys 0, 1, 2, ... without end
    __contains__ = None

    def __or__(self, default: Any) -> Any:
        """Return the value, or the default where there is none; a string is converted to the default's type."""
        scope = self.__scope__
        level = (_innermost() or start()) if scope is None else level_at(scope)
        value = level.values.get(self.__key__, MISSING)
        if value is MISSING:
            if level.rest is None:
                return default
            value = find(level.rest, self.__key__)
            if value is MISSING:
                return default
        if isinstance(value, str) and not isinstance(default, str):
            return convert(value, default)
        return value

    def __call__(self, default: Any = MISSING) -> Any:
        """Return the value, as `|` does.

        Raises:
            KeyError: there is neither a value nor a default.
        """
        value = self | default
        if value is MISSING:
            raise _no_value(self.__scope__, self.__key__)
        return value

    def __bool__(self) -> bool:
        """Whether there is a value that is true."""
        return bool(self | False)

    def __repr__(self) -> str:
        value = self | MISSING
        return f"<parameter {self.__key__}: {'no value' if value is MISSING else repr(value)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Path, (self.__scope__, self.__key__)


class Method(Path):
    """A method of a scope. Its name can still be a key: `param_scope.keys | 3`, `param_scope.frozen.n(2)`."""

    __slots__ = ("__function__",)
    __function__: Callable[..., Any]

    def __init__(self, scope: "Scope | None", function: Callable[..., Any]) -> None:
        super().__init__(scope, function.__name__)
        object.__setattr__(self, "__function__", function)

    def __call__(self, /, *arguments: Any, **named: Any) -> Any:
        """Call the method."""
        return self.__function__(self.__scope__, *arguments, **named)

    def __repr__(self) -> str:
        return f"<method {self.__key__} of {self.__scope__ or 'param_scope'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Method, (self.__scope__, self.__function__)


def cached_path(paths: dict[str, Any], name: str, scope: "Scope | None", key: str) -> Path:
    """Return a new path, and cache it in the attributes of the one above it."""
    path = Path(scope, key)
    if len(paths) < _MAX_CACHED:
        paths[name] = path
    return path


def level_at(scope: "Scope | None") -> Level:
    """Return the level that a scope reads: its own where it is entered, else its values over the current ones."""
    if scope is None:
        return current()
    level = level_of(scope)
    if level is not None:
        return level
    return new_level(scope.__given__) if scope.__is_empty__ else over(current(), scope.__given__, scope)


def put(scope: "Scope | None", key: str, value: Any, /) -> None:
    """Set a key until the end of the scope."""
    set_values(scope, flattened({f"{key}": value}))


def set_values(scope: "Scope | None", values: dict[str, Any]) -> None:
    """Set keys until the end of a scope; None is the innermost one."""
    if scope is None or level_of(scope) is not None:
        level = level_at(scope)
        replace(level, new_level(level.values | values, level.rest, level.owner, level.outer))
    else:
        object.__setattr__(scope, "__given__", scope.__given__ | values)


def checked(name: str) -> str:
    """Return a name that can be a key as an attribute.

    Raises:
        AttributeError: Python's own protocols look for this name: copying, pickling, inspecting.
    """
    if name[:2] == "__" and name[-2:] == "__":
        raise AttributeError(f"`{name}` is not an attribute; write [{name!r}] for a parameter of this name")
    return name


def no_deletion(key: str) -> AttributeError:
    """Return the error for `del param_scope.key`."""
    return AttributeError(f"`{key}` cannot be deleted; it is removed at the end of its scope")


def _no_value(scope: "Scope | None", key: str) -> KeyError:
    """Return the error for a required parameter without a value."""
    from sequifier.errors import nearest

    known = list(flat(level_at(scope)))
    near = [other for other in known if other.startswith(f"{key}.")][:3] or nearest(key, known)
    hint = f"; there {'is' if len(near) == 1 else 'are'} " + ", ".join(f"`{other}`" for other in near) if near else ""
    return KeyError(f"parameter `{key}` is required and has no value{hint}")
