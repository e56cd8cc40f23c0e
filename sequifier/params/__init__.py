"""Scoped parameters: read anywhere by a dotted name with a default, set for the length of a `with` block.

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
from sequifier.params.bottom import PARAMS_FILE
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
    """A scope in which nothing from around it holds; its own values are given as to `param_scope`."""
    return _scopes.empty(None, *words, **values)


def frozen() -> None:
    """Let threads that start from now on begin with what holds now. A second call replaces the first."""
    _scopes.frozen(None)


def keys() -> list[str]:
    """The keys that have a value."""
    return _scopes.keys(None)


def clear() -> None:
    """Let nothing hold until the end of the innermost scope."""
    _scopes.clear(None)


def get(key: str, default: Any = None) -> Any:
    """The value of a key, or the default; text becomes what the default is."""
    return _scopes.get(None, key, default)


def put(key: str, value: Any) -> None:
    """Set a key until the end of the innermost scope."""
    _put(None, key, value)


def update(*words: str | Mapping[str, Any], **values: Any) -> None:
    """Set keys until the end of the innermost scope, given as to `param_scope`."""
    _scopes.update(None, *words, **values)
