"""What the modules of an experiment say about it, in metadata and `--help`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sequifier.experiment.command_line import About
from sequifier.experiment.functions import Hook
from sequifier.experiment.parameters import SPECIAL, Variables
from sequifier.experiment.sources import read_module

_TYPES = {"bool": bool, "str": str}


def about_parameters(modules: Iterable[Variables]) -> dict[str, About]:
    """Types and comments of parameters; the last module that says something of one wins."""
    about = {name: About(_TYPES[kind], kind, text) for name, (_, kind, text) in SPECIAL.items()}
    for read in map(read_module, modules):
        for name in {*read.types, *read.parameters}:
            known = about.get(name, About())
            about[name] = About(
                read.kinds.get(name, known.kind),
                read.types.get(name, known.type),
                read.parameters.get(name, known.description),
            )
    return about


def description(modules: Sequence[Variables]) -> str:
    """The docstring of the last module that has one."""
    return next((str(text) for module in reversed(modules) if (text := module.get("__doc__"))), "").strip()


def described(
    modules: Sequence[Variables], parameters: Iterable[str], hooks: Mapping[str, Sequence[Hook]]
) -> dict[str, Any]:
    """Metadata: what the experiment is, what its parameters are, which hooks it has."""
    text = description(modules)
    about = about_parameters(modules)
    return {
        "description": text,
        "short_description": " ".join(text.split("\n\n")[0].split()),
        "parameter_info": {
            name: {"type": about[name].type, "description": about[name].description}
            for name in parameters
            if name in about
        },
        "hooks": _hooks_in_words(modules, hooks),
    }


def files_of(modules: Sequence[Variables], others: Iterable[Path] = ()) -> dict[str, Path]:
    """Name in code/ -> file of each module, the last first; one whose name is taken gets its folder before it.

    Args:
        modules: of the experiment.
        others: files that belong to it too.
    """
    files = [Path(module["__file__"]) for module in reversed(modules) if module.get("__file__")]
    found: dict[str, Path] = {}
    for file in [*others, *files]:
        name = file.name if file.name not in found else f"{file.absolute().parent.name}/{file.name}"
        found[name] = file
    return found


def _hooks_in_words(modules: Iterable[Variables], hooks: Mapping[str, Sequence[Hook]]) -> dict[str, dict[str, Any]]:
    """Name -> its functions, and the comment `# :hook NAME:` of the modules."""
    comments = {name: text for read in map(read_module, modules) for name, text in read.hooks.items()}
    return {
        name: {
            "functions": [getattr(function, "__qualname__", str(function)) for function in hooks.get(name, ())],
            "description": comments.get(name, ""),
        }
        for name in {**hooks, **comments}
    }
