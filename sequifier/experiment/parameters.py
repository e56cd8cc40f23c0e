"""The parameters of an experiment: the uppercase variables of its modules, read and written as one dict.

A change of a parameter changes the variable in the modules too, so that a function that reads the bare variable sees
the same value. Where an experiment extends another one, the last module that defines a name sets the value for all.
"""

import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sequifier.errors import ConfigError, Problem, did_you_mean
from sequifier.experiment.convert import fit, kind_of

SPECIAL: dict[str, tuple[Any, str, str]] = {
    "__DEBUG__": (False, "bool", "Write each run to the folder `debug`; its cache is kept."),
    "__TESTING__": (False, "bool", "Run the `testing` function first, for a short run that tries everything."),
    "__REPRODUCIBLE__": (False, "bool", "Store installed packages, environment and imported sources in the record."),
    "__CACHING__": (True, "bool", "Whether `e.cache` loads and saves."),
    "__PREFIX__": ("", "str", "First part of the folder's name."),
}
"""Name -> default, type and description of the parameters that every experiment has."""

Variables = dict[str, Any]


class Parameters(dict[str, Any]):
    """Name -> value, kept equal to the variables of the modules.

    Attributes:
        modules: the globals of the experiment's modules, from the first parent to the last child.
    """

    def __init__(self, initial: Mapping[str, Any]) -> None:
        super().__init__(initial)
        self.modules: list[Variables] = []

    def add(self, module: Variables) -> None:
        """Add a module, whose variables take precedence over those of the modules before it."""
        self.modules.append(module)
        self.refresh()

    def refresh(self) -> None:
        """Read the variables again, after the modules may have assigned to them."""
        for module in self.modules:
            for name in [name for name, value in module.items() if is_parameter(name, value)]:
                super().__setitem__(name, module[name])
        for name, value in self.items():
            self._write(name, value)

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self._write(name, value)

    def update(self, *others: Any, **values: Any) -> None:
        """As for a dict."""
        for name, value in dict(*others, **values).items():
            self[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As for a dict."""
        if name not in self:
            self[name] = default
        return self[name]

    def __ior__(self, other: Any) -> "Parameters":  # type: ignore[override,misc]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # without the modules

    def find(self, name: str) -> Any:
        """Return the value of a parameter.

        Raises:
            AttributeError: there is no parameter with this name.
        """
        if name in self:
            return self[name]
        raise AttributeError(f"there is no parameter `{name}`; {did_you_mean(name, self)}")

    def _write(self, name: str, value: Any) -> None:
        for module in self.modules:
            if name in module and module[name] is not value:
                module[name] = value


def is_parameter(name: str, value: Any) -> bool:
    """Whether a variable is a parameter: uppercase, and not a module, or a function or class with that name."""
    if not name.isupper() or name == "TYPE_CHECKING" or isinstance(value, types.ModuleType | TypeVar):
        return False
    return not (callable(value) and getattr(value, "__name__", None) == name)


def special() -> dict[str, Any]:
    """Return the parameters that every experiment has, with their defaults."""
    return {name: default for name, (default, _, _) in SPECIAL.items()}


def fitted(
    given: Mapping[str, Any],
    known: Mapping[str, Any],
    kinds: Mapping[str, Any],
    *,
    where: str,
    prefix: str = "",
    place: Callable[[str], str] = lambda name: "",
) -> dict[str, Any]:
    """Convert values from code or YAML to the types of their parameters, by the rules of the command line.

    Without an annotation, a string is converted to the type of the parameter's present value; other values are not
    converted.

    Args:
        given: name -> value.
        known: the experiment's parameters.
        kinds: parameter -> its annotation, where it has one.
        where: the source of all values, for messages.
        prefix: put before names in messages.
        place: returns the place of a name, for messages.

    Raises:
        ConfigError: lists all parameters that do not exist and all values that do not fit.
    """
    problems = []
    found = {}
    for name, value in given.items():
        if name not in known:
            own = [each for each in known if each not in SPECIAL]
            fix = did_you_mean(name, own or known)
            problems.append(Problem(prefix + name, "there is no such parameter", place(name), fix))
            continue
        kind = kinds.get(name)
        if kind is None:
            kind = kind_of(known[name]) if isinstance(value, str) else Any
        try:
            found[name] = fit(value, kind)
        except ValueError as error:
            problems.append(Problem(prefix + name, f"{value!r} does not fit: {error}", place(name)))
    if problems:
        raise ConfigError(problems, where=where)
    return found
