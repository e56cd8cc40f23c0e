"""The parameters of an experiment: the uppercase variables of its modules, read and written as one dict.

A parameter that is changed here is changed in the modules too, so that a function which reads the bare variable sees
the same value. With several modules (an experiment that extends another) the last one that defines a name wins, and the
others get its value.
"""

import types
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from sequifier.errors import did_you_mean

SPECIAL: dict[str, tuple[Any, str, str]] = {
    "__DEBUG__": (False, "bool", "Use one folder, `debug`, again and again; its cache is kept."),
    "__TESTING__": (
        False,
        "bool",
        "Run the `testing` function first: a quick run that shows whether everything works.",
    ),
    "__REPRODUCIBLE__": (False, "bool", "Keep installed packages, environment and imported sources in the record."),
    "__CACHING__": (True, "bool", "Whether `e.cache` loads and saves."),
    "__PREFIX__": ("", "str", "Stands at the beginning of the folder's name."),
}
"""Name -> default, type and purpose of the parameters that every experiment has."""

Variables = dict[str, Any]


class Parameters(dict[str, Any]):
    """Name -> value, in step with the variables of the modules.

    Args:
        given: values to begin with.
        modules: the globals of the experiment's modules, from the first parent to the last child.
    """

    def __init__(self, given: Mapping[str, Any], modules: Iterable[Variables] = ()) -> None:
        super().__init__(given)
        self._modules: list[Variables] = []
        for module in modules:
            self.add(module)

    def add(self, module: Variables) -> None:
        """Take in a module whose variables win over those of the modules before it."""
        self._modules.append(module)
        self.refresh()

    def refresh(self) -> None:
        """Read the variables again: what was assigned since counts."""
        for module in self._modules:
            for name in [name for name, value in module.items() if is_parameter(name, value)]:
                super().__setitem__(name, module[name])
        for name, value in self.items():
            self._write(name, value)

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self._write(name, value)

    def update(self, *others: Any, **values: Any) -> None:
        """As of a dict."""
        for name, value in dict(*others, **values).items():
            self[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        if name not in self:
            self[name] = default
        return self[name]

    def __ior__(self, other: Any) -> "Parameters":  # type: ignore[override,misc]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # the variables of the modules do not travel

    def find(self, name: str) -> Any:
        """The value of a parameter.

        Raises:
            AttributeError: there is none of this name.
        """
        if name in self:
            return self[name]
        raise AttributeError(f"there is no parameter `{name}`; {did_you_mean(name, self)}")

    def _write(self, name: str, value: Any) -> None:
        for module in self._modules:
            if name in module and module[name] is not value:
                module[name] = value


def is_parameter(name: str, value: Any) -> bool:
    """Whether a variable of a module is a parameter: uppercase, and no module, function or class of that name."""
    if not name.isupper() or name == "TYPE_CHECKING" or isinstance(value, types.ModuleType | TypeVar):
        return False
    return not (callable(value) and getattr(value, "__name__", None) == name)


def special() -> dict[str, Any]:
    """The parameters that every experiment has, with their defaults."""
    return {name: default for name, (default, _, _) in SPECIAL.items()}
