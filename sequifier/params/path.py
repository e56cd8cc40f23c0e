"""Keys, written as attributes: `param_scope.train.lr | 0.1` reads, `param_scope.train.lr = 0.1` writes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sequifier.params.convert import convert
from sequifier.params.current import current, level_of, newest_level, resolve, write
from sequifier.params.level import MISSING, Level, find, flat, flattened, new_level, over

if TYPE_CHECKING:
    from sequifier.params.scopes import Scope

_MAX_KEPT = 1000
"""Paths that a path keeps, so that reaching them again takes no call; names made up at run time have no end."""

_newest = newest_level.get


class Path:
    """A key that is not read yet.

    All attributes of its own are dunder names, and dunder names are no keys, so that any other name is a key.
    """

    __slots__ = ("__dict__", "__key__", "__scope__")
    __key__: str
    __scope__: "Scope | None"

    def __init__(self, scope: "Scope | None", key: str) -> None:
        object.__setattr__(self, "__scope__", scope)  # None: what is current when it is read
        object.__setattr__(self, "__key__", key)

    def __getattr__(self, name: str) -> "Path":
        return kept(self.__dict__, name, self.__scope__, f"{self.__key__}.{checked(name)}")

    def __getitem__(self, key: object) -> "Path":
        """The path of a key below this one."""
        return Path(self.__scope__, f"{self.__key__}.{key}")

    def __setattr__(self, name: str, value: Any) -> None:
        put(self.__scope__, f"{self.__key__}.{checked(name)}", value)

    def __setitem__(self, key: object, value: Any) -> None:
        put(self.__scope__, f"{self.__key__}.{key}", value)

    def __delattr__(self, name: str) -> None:
        raise no_deletion(f"{self.__key__}.{name}")

    __iter__ = None  # else Python would try the keys 0, 1, 2 and so on for ever
    __contains__ = None

    def __or__(self, default: Any) -> Any:
        """The value, or the default where there is none. Text becomes what the default is, see `convert`."""
        scope = self.__scope__
        if scope is None:
            level = _newest()
            if level.is_watched:
                level = resolve(level)
        else:
            level = level_at(scope)
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
        """The value, as `|` gives it.

        Raises:
            KeyError: there is none, and no default.
        """
        value = self | default
        if value is MISSING:
            raise no_value(self.__scope__, self.__key__)
        return value

    def __bool__(self) -> bool:
        """Whether there is a value that counts as true."""
        return bool(self | False)

    def __repr__(self) -> str:
        value = self | MISSING
        return f"<parameter {self.__key__}: {'no value' if value is MISSING else repr(value)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Path, (self.__scope__, self.__key__)


class Method(Path):
    """A method of a scope. Its name can be a key all the same: `param_scope.keys | 3`, `param_scope.frozen.n(2)`."""

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


def kept(paths: dict[str, Any], name: str, scope: "Scope | None", key: str) -> Path:
    """A new path, kept in the attributes of the one above it if these are not too many."""
    path = Path(scope, key)
    if len(paths) < _MAX_KEPT:
        paths[name] = path
    return path


def level_at(scope: "Scope | None") -> Level:
    """The level that a scope reads: its own where it is entered, else its values over what holds."""
    if scope is None:
        return current()
    level = level_of(scope)
    if level is not None:
        return level
    if scope.__is_empty__:
        return new_level(scope.__given__)
    return new_level(*over(current(), scope.__given__))


def put(scope: "Scope | None", key: str, value: Any, /) -> None:
    """Set a key until the end of the scope."""
    lay(scope, flattened({f"{key}": value}))


def lay(scope: "Scope | None", values: dict[str, Any]) -> None:
    """Lay values over those of a scope until its end; None is the innermost one."""
    if scope is None or level_of(scope) is not None:
        level = level_at(scope)
        write(level, level.values | values, level.rest)
    else:
        object.__setattr__(scope, "__given__", scope.__given__ | values)


def checked(name: str) -> str:
    """A name that can be written as an attribute.

    Raises:
        AttributeError: one for which Python's own protocols look: copying, pickling, inspecting.
    """
    if name[:2] == "__" and name[-2:] == "__":
        raise AttributeError(f"`{name}` is no attribute; a parameter of this name is reached by [{name!r}]")
    return name


def no_deletion(key: str) -> AttributeError:
    """The error for `del param_scope.key`."""
    return AttributeError(f"`{key}` cannot be deleted; the end of its scope takes it away")


def no_value(scope: "Scope | None", key: str) -> KeyError:
    """The error for a parameter that has to be given."""
    from sequifier.errors import nearest

    known = list(flat(level_at(scope)))
    near = [other for other in known if other.startswith(f"{key}.")][:3] or nearest(key, known)
    hint = f"; there {'is' if len(near) == 1 else 'are'} " + ", ".join(f"`{other}`" for other in near) if near else ""
    return KeyError(f"parameter `{key}` is required and has no value{hint}")
