"""The command line of an experiment: `--NAME value` for each parameter, `-D NAME=value`, `--help`.

Flags win over `-D`. Values are converted by the parameter's annotation and never evaluated.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sequifier.errors import ConfigError, Problem, did_you_mean
from sequifier.experiment.convert import convert, is_known, kind_of, takes_several
from sequifier.experiment.description import About
from sequifier.experiment.parameters import SPECIAL, Parameters

_DEFINE = ("-D", "--define")
_HELP = ("-h", "--help")


@dataclass
class _Words:
    """A command line, split into its parts."""

    flags: dict[str, list[str]] = field(default_factory=dict)
    defines: list[str] = field(default_factory=list)
    wants_help: bool = False
    problems: list[Problem] = field(default_factory=list)


class ArgumentParser:
    """Sets the parameters of an experiment from a command line.

    Args:
        parameters: the parameters.
        about: their types and descriptions.
        defines: receives the words of `-D`; `param_scope` has those that are not parameters.
        description: description of the experiment, for `--help`.
        program: name of the program, for `--help`.
    """

    def __init__(
        self,
        parameters: Parameters,
        about: Mapping[str, About],
        defines: list[str],
        *,
        description: str = "",
        program: str = "",
    ) -> None:
        self._parameters, self._about, self._defines = parameters, about, defines
        self._description, self._program = description, program

    def parse(self, words: Sequence[str] | None = None) -> Parameters:
        """Set parameters from a command line.

        Args:
            words: the command line; None for the one of the process.

        Returns:
            All parameters.

        Raises:
            ConfigError: lists all names that do not exist and all values that do not fit; nothing is set then.
            SystemExit: after `--help`.
        """
        given = self._split(list(sys.argv[1:] if words is None else words))
        if given.wants_help:
            print(self.format_help())
            raise SystemExit(0)
        values: dict[str, Any] = {}
        problems = given.problems
        for word in given.defines:
            name, equals, text = word.partition("=")
            if not equals or not name.strip():
                problems.append(Problem("", f"-D {word!r} is not NAME=value", fix="write -D NAME=value"))
            elif name in self._parameters:
                self._convert(name, [text], "-D", values, problems)
            elif name.isupper() or name.partition(".")[0] in self._parameters:  # a map is set as a whole
                problems.append(self._unknown(f"-D {name}", name))
        for name, texts in given.flags.items():
            self._convert(name, texts, f"--{name}", values, problems)
        if problems:
            raise ConfigError(problems, where="the command line")
        self._defines[:] = given.defines
        self._parameters.update(values)
        return self._parameters

    def format_help(self) -> str:
        """Return the text of `--help`."""
        lines = [f"Usage: {self._program or 'experiment.py'} [--NAME value]... [-D NAME=value]...", ""]
        if self._description.strip():
            lines += [self._description.strip(), ""]
        own = [name for name in self._parameters if name not in SPECIAL]
        for title, names in (("Parameters", own), ("Special parameters", list(SPECIAL))):
            lines += [f"{title}:"] if names else []
            for name in names:
                about = self._about.get(name, About())
                kind = f" ({about.type})" if about.type else ""
                lines.append(f"  --{name}{kind}, default {_short(self._parameters[name])}")
                lines += [f"      {about.description}"] if about.description else []
        return "\n".join(lines)

    def _split(self, words: list[str]) -> _Words:
        given = _Words()
        while words:
            word = words.pop(0)
            name, equals, text = word.removeprefix("--").partition("=")
            if word in _HELP:
                given.wants_help = True
            elif word in _DEFINE:
                given.defines += _taken(words)
            elif word.startswith("-D") and len(word) > 2:
                given.defines.append(word[2:])
            elif not word.startswith("--"):
                given.problems.append(Problem("", f"{word!r} does not belong to a parameter", fix="write --NAME value"))
            elif name not in self._parameters:
                given.problems.append(self._unknown(f"--{name}", name))
                if not equals:
                    _ = list(_taken(words))
            elif equals:
                given.flags[name] = [text]
            else:
                given.flags[name] = self._words_of(name, words)
        return given

    def _words_of(self, name: str, words: list[str]) -> list[str]:
        """Return the words of a flag; `--__TESTING__` alone means true."""
        if takes_several(self._kind(name)):
            return list(_taken(words))
        if self._kind(name) is bool and (not words or words[0].startswith("-")):
            return ["true"]
        if words and not words[0].startswith("--"):
            return [words.pop(0)]
        return []

    def _kind(self, name: str) -> Any:
        kind = self._about.get(name, About()).kind
        return kind_of(self._parameters[name]) if kind is None or not is_known(kind) else kind

    def _convert(
        self, name: str, texts: list[str], source: str, values: dict[str, Any], problems: list[Problem]
    ) -> None:
        kind = self._kind(name)
        type_name = self._about.get(name, About()).type or getattr(kind, "__name__", "")
        try:
            if not texts and not takes_several(kind):
                raise ValueError("a value is missing")
            values[name] = convert(texts, kind)
        except ValueError as error:
            shown = " ".join(texts)
            of_type = f" of type {type_name}" if type_name else ""
            problems.append(Problem(name, f"{shown!r} is not a value{of_type}: {error}", source))

    def _unknown(self, source: str, name: str) -> Problem:
        own = [known for known in self._parameters if known not in SPECIAL]
        return Problem("", f"there is no parameter `{name}`", source, fix=did_you_mean(name, own or self._parameters))


def _taken(words: list[str]) -> Iterator[str]:
    """Take words up to the next flag; -1 and -.5 are not flags."""
    while words and (not words[0].startswith("-") or words[0][1:2].isdigit() or words[0][1:2] == "."):
        yield words.pop(0)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
