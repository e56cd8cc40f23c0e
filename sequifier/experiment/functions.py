"""The functions of an experiment beside the main one: hooks and analyses."""

from collections.abc import Callable
from typing import Any, TypeVar

Hook = Callable[..., Any]
Decorated = TypeVar("Decorated", bound=Hook)


class Functions:
    """Keeps functions by what they are for."""

    def __init__(self) -> None:
        self._hooks: dict[str, list[Hook]] = {}
        self._analyses: list[Hook] = []

    def hook(self, name: str, replace: bool = True, default: bool = False) -> Callable[[Decorated], Decorated]:
        """Decorate a function that `apply_hook(name)` calls.

        Args:
            name: of the point.
            replace: take the place of what was there, so that a child's hook replaces its parent's; False is called
                after it.
            default: only when nothing is there yet.
        """

        def decorate(function: Decorated) -> Decorated:
            there = self._hooks.setdefault(name, [])
            if not (default and there):
                self._hooks[name] = [function] if replace else [*there, function]
            return function

        return decorate

    def apply_hook(self, name: str, /, default: Any = None, **context: Any) -> Any:
        """Call the hooks of a point one after another with this experiment and the context.

        Returns:
            What the last one returned, or `default` where there is none.
        """
        result = default
        for function in self._hooks.get(name, ()):
            result = function(self, **context)
        return result

    def analysis(self, function: Decorated) -> Decorated:
        """Decorate a function that runs after the experiment; a child's comes after its parent's."""
        self._analyses.append(function)
        return function
