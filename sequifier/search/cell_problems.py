"""The place of a cell's problem in the search config: the entry of a list, and the other entries that it involves."""

import re
from dataclasses import replace

from sequifier.config.fields import SEARCH_SECTIONS
from sequifier.config.ranges import Range
from sequifier.config.search import SearchConfig
from sequifier.errors import Problem
from sequifier.results.settings import shown
from sequifier.search.run_parts import MODEL, TRAINING, section_and_field
from sequifier.search.space import Cell, Space

INVOLVED = {
    "scheduler": ("epochs", "batch_size", "accumulation_steps", "seq_length", "window_stride"),
    "feature_embedding_dims": ("input_columns",),
    "initial_embedding_dim": ("input_columns",),
    "known_future": ("input_columns",),
}
"""Fields that a problem of another field may follow from although its message does not name them."""

WITH = " (with "
"""Starts the part of a message that names other values of the cell."""


class CellProblems:
    """Locates the problems of cells.

    Args:
        config: the search.
        space: its space.
    """

    def __init__(self, config: SearchConfig, space: Space) -> None:
        self._config, self._space = config, space

    def located(self, problem: Problem, cell: Cell) -> Problem:
        """The problem at its key in the search config, with the other list entries that it involves.

        The key names the entry, `dropout[2]`, so that the line in the file is the one of the value; entries of other
        fields that the message involves come after the message.
        """
        first = problem.message.split(":")[0].split(" ")[0]
        if not problem.key and section_and_field(first)[0] in (MODEL, TRAINING):  # a rule of the whole run
            problem = replace(problem, key=first, message=problem.message.removeprefix(f"{first}: "))
        entries = self._entries(cell)
        own = next((key for key in (problem.key, f"{problem.key}.{first}".lstrip(".")) if key in entries), None)
        own = own or next((key for key in entries if problem.key.startswith(f"{key}.")), None)
        words = {*re.findall(r"\w+", problem.message), *INVOLVED.get((own or problem.key).rpartition(".")[2], ())}
        others = [
            entry
            for key, (_, entry) in entries.items()
            if key != own and key.rpartition(".")[2] in words and entry.replace(" ", ": ", 1) not in problem.message
        ]
        message = problem.message + (f"{WITH}{', '.join(others)})" if others else "")
        if own is None:
            return _of_search(replace(problem, message=message))
        below = problem.key.removeprefix(own) if problem.key.startswith(own) else ""
        message = message.removeprefix(f"{first}: ") if own.endswith(f".{first}") else message  # the key has it
        return _of_search(replace(problem, key=f"{own}{entries[own][0]}{below}", message=message))

    def _entries(self, cell: Cell) -> dict[str, tuple[str, str]]:
        """Field with several values -> its index as `[2]`, "" in a range, and the entry with its value."""
        entries = {}
        for dimension, digit, draws in zip(self._space.dimensions, cell.digits, cell.draws, strict=True):
            place, _ = dimension.parts(digit)
            values = dimension.values(digit, draws)
            for key in dimension.keys:
                name = key.rpartition(".")[2]
                several = self._config.searched(name)
                is_list = isinstance(several, list) and len(several) > 1
                if (
                    is_list
                    or isinstance(several, Range)
                    or any(axis.key == key for axis in dimension.alternatives[place].axes)
                ):
                    index = f"[{place}]" if is_list else ""
                    entries[key] = index, f"{name}{index} {shown(values[key])}"
        return entries


def _of_search(problem: Problem) -> Problem:
    """A problem of a run at the key of the search config."""
    for section, searched in SEARCH_SECTIONS.items():
        if problem.key == section or problem.key.startswith(f"{section}."):
            return replace(problem, key=searched + problem.key.removeprefix(section))
    return problem
