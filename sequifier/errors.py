"""Errors that a user can fix: each says what is wrong, where, and how to fix it.

`ValueError` is for a mistake of the calling code, `assert` for what cannot happen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from sequifier.printable import printable


class SequifierError(Exception):
    """A problem that the user can fix.

    Args:
        what: the problem, with the values.
        where: file, line, key, column or row; empty where the message names it already.
        fix: how to fix it.

    Attributes:
        is_shared: whether the cause is an input of every run of a search (data, metadata, a hook's module), so that the
            next run would fail too.
    """

    is_shared = False

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix:   {self.fix}")
        return printable("\n".join(lines))

    def in_one_line(self) -> str:
        """Return what, where and fix without line breaks, for logs and ledgers."""
        return printable("; ".join(part.replace("\n", " ") for part in (self.what, self.where, self.fix) if part))


class DataError(SequifierError):
    """Events, splits or metadata are not valid."""


class ModelError(SequifierError):
    """A model, checkpoint or exported file cannot be used."""


class RunError(SequifierError):
    """A training run or a search cannot start or continue."""


@dataclass(frozen=True)
class Problem:
    """One problem in a config: where it is, and what to write instead."""

    key: str  # dotted path, "" for the file itself
    message: str  # what is wrong, with the offending value
    source: str = ""  # "configs/train.yaml:12", "-D", "--seed"
    fix: str = ""

    def __str__(self) -> str:
        place = f"{self.source}: " if self.source else ""
        name = self.key.replace("\n", "\\n")  # a key may have any character
        key = f"`{name}`: " if name else ""
        fix = f"\n    fix: {self.fix}" if self.fix else ""
        return f"{place}{key}{self.message}{fix}"


class ConfigError(SequifierError):
    """All problems in a config, reported together."""

    def __init__(self, problems: Sequence[Problem], *, where: str = "") -> None:
        self.problems = tuple(problems)
        self.repaired: object = None  # the config without its wrong values, to look for further problems
        count = f"{len(problems)} problems" if len(problems) != 1 else "1 problem"
        place = f" in {where}" if where else ""
        super().__init__(f"{count}{place}\n" + "\n".join(f"  {problem}" for problem in problems))

    def in_one_line(self) -> str:
        """Return the problems on one line."""
        return "; ".join(" ".join(str(problem).split()) for problem in self.problems)


def nearest(word: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """Return the known words that are most similar to `word`, best first; matching ignores case."""
    by_lower = {str(name).lower(): str(name) for name in known}
    return [by_lower[match] for match in get_close_matches(word.lower(), by_lower, n=limit, cutoff=0.6)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a fix for a misspelt name: the most similar names, or all known names where none is similar."""
    known = [str(name) for name in known]
    near = nearest(word, known)
    if near:
        return "did you mean " + " or ".join(f"`{name}`" for name in near) + "?"
    if len(known) <= 30:
        return "use one of: " + ", ".join(known)
    return f"use one of the {len(known)} known names (none is similar)"
