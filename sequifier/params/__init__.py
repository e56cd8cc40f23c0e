"""Scoped parameters: read anywhere by a dotted name with a default, set for the duration of a `with` block.

    from sequifier.params import auto_param, param_scope

    @auto_param("train")
    def train(lr=1e-3, epochs=10): ...

    with param_scope("train.lr=5e-4"):
        train()                            # lr = 0.0005
        param_scope.train.epochs | 10      # 10

Standard library only. Guide: docs/params.md.
"""

from collections.abc import Mapping
from typing import Any

from sequifier.params import scopes as _scopes
from sequifier.params.auto import auto_param
from sequifier.params.current import PARAMS_FILE
from sequifier.params.path import Path
from sequifier.params.path import put as _put
from sequifier.params.scopes import CurrentScope, Scope, frozen_scope, param_scope

scope = param_scope
param = auto_param

__all__ = [
    "PARAMS_FILE",
    "CurrentScope",
    "Path",
    "Scope",
    "as_dict",
    "auto_param",
    "clear",
    "empty",
    "frozen",
    "frozen_scope",
    "get",
    "keys",
    "param",
    "param_scope",
    "put",
    "scope",
    "update",
]


def empty(*words: str | Mapping[str, Any], **values: Any) -> Scope:
    """Return a scope that hides the values around it; the arguments are those of `param_scope`."""
    return _scopes.empty(None, *words, **values)


def frozen() -> None:
    """Make the current values the starting values of threads that start from now on; a second call replaces them."""
    _scopes.frozen(None)


def keys() -> list[str]:
    """Return the keys that have a value."""
    return _scopes.keys(None)


def as_dict() -> dict[str, Any]:
    """Return the current values by dotted key, as a new dict."""
    return _scopes.as_dict(None)


def clear() -> None:
    """Remove all values until the end of the innermost scope."""
    _scopes.clear(None)


def get(key: str, default: Any = None) -> Any:
    """Return the value of a key, or the default; a string is converted to the type of the default."""
    return _scopes.get(None, key, default)


def put(key: str, value: Any) -> None:
    """Set a key until the end of the innermost scope."""
    _put(None, key, value)


def update(*words: str | Mapping[str, Any], **values: Any) -> None:
    """Set keys until the end of the innermost scope; the arguments are those of `param_scope`."""
    _scopes.update(None, *words, **values)
