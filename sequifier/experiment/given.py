"""Values for the parameters of an experiment that come from code or YAML: one check for both."""

from collections.abc import Callable, Mapping
from typing import Any

from sequifier.errors import ConfigError, Problem, did_you_mean
from sequifier.experiment.convert import fit, kind_of
from sequifier.experiment.parameters import SPECIAL


def fitted(
    given: Mapping[str, Any],
    known: Mapping[str, Any],
    kinds: Mapping[str, Any],
    *,
    where: str,
    prefix: str = "",
    place: Callable[[str], str] = lambda name: "",
) -> dict[str, Any]:
    """The values, by the types of their parameters: refused are those that the command line refuses.

    Without an annotation, text is converted by the type of the value that the parameter has, and other values are taken
    as they are.

    Args:
        given: name -> value.
        known: the experiment's parameters.
        kinds: parameter -> its annotation, where it has one.
        where: all of them stand.
        prefix: of the names in messages.
        place: name -> where this one stands.

    Raises:
        ConfigError: parameters that do not exist and values that do not fit, all at once.
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
