"""From the run files of a ledger back to the cells that they stand for: what a strategy is told of earlier runs.

A run file says what a run was, in whichever state of the search config it was proposed. The cell is looked for among
those that say the same, and it is the right one when it expands to the identity in the ledger: the file may have been
rewritten since to fit into memory, and what cannot matter is written at its default.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

from sequifier.artifacts.ledger import Record
from sequifier.config.fields import FROM_METADATA
from sequifier.config.identity import plain
from sequifier.config.loading.yaml12 import parse_file
from sequifier.errors import ConfigError
from sequifier.results.run_files import value_at
from sequifier.search.expand import Expanded, Expander
from sequifier.search.ranges import Continuous
from sequifier.search.space import Alternative, Axis, Cell, Dimension, Space

MAX_TRIED = 2_000
"""Cells that are tried for one run."""

BATCH = ("training_spec.batch_size", "training_spec.accumulation_steps")
"""What a retry rewrites."""

Choice = tuple[int, tuple[float, ...]]
"""A choice in one dimension, with the shares of its ranges."""


class Recall:
    """Finds the cells of runs, and remembers them.

    Args:
        space: to find them in.
        expander: of that space.
        folder: of the run files.
    """

    def __init__(self, space: Space, expander: Expander, folder: Path) -> None:
        self._space, self._expander, self._folder = space, expander, folder
        self._found: dict[str, tuple[Cell, Expanded] | None] = {}

    def find(self, record: Record) -> tuple[Cell, Expanded] | None:
        """The cell of a run and what it expands to; None when it lies outside the space, or its run file is gone."""
        if record.identity not in self._found:
            document = self._document(record)
            if document is None:
                return None
            self._found[record.identity] = self._search(document, record.identity)
        return self._found[record.identity]

    def _document(self, record: Record) -> Mapping[str, Any] | None:
        path = self._folder / f"{record.name}.yaml"
        try:
            values = parse_file(path).values if path.exists() else None
        except ConfigError:  # torn by a power cut, or edited by hand
            return None
        return values if isinstance(values, Mapping) else None

    def _search(self, document: Mapping[str, Any], identity: str) -> tuple[Cell, Expanded] | None:
        matching = [list(_matching(dimension, document)) for dimension in self._space.dimensions]
        every = [
            list(islice(_possible(dimension, document), MAX_TRIED)) if dimension.size <= MAX_TRIED else []
            for dimension in self._space.dimensions
        ]
        likely = [one or other for one, other in zip(matching, every, strict=True)]
        with_any_batch = [
            other if {*dimension.keys} & {*BATCH} else one
            for dimension, one, other in zip(self._space.dimensions, likely, every, strict=True)
        ]
        return self._first(likely, identity) or self._first(with_any_batch, identity)

    def _first(self, choices: Sequence[Sequence[Choice]], identity: str) -> tuple[Cell, Expanded] | None:
        for chosen in islice(product(*choices), MAX_TRIED):
            cell = Cell(tuple(digit for digit, _ in chosen), tuple(draws for _, draws in chosen))
            try:
                expanded = self._expander.expand(cell)
            except ConfigError:
                continue  # no run, so not this one
            if expanded.identity == identity:
                return cell, expanded
        return None


def _matching(dimension: Dimension, document: Mapping[str, Any]) -> Iterator[Choice]:
    """The choices that say what the document says."""
    for place, alternative in enumerate(dimension.alternatives):
        options = {axis.key: {each.option for each in alternative.axes} for axis in alternative.axes if axis.option}
        if all(
            key in FROM_METADATA or _without(value_at(document, key, math.nan), options.get(key)) == plain(value)
            for key, value in alternative.fixed.items()
        ):
            places, draws = [], _draws(alternative, document)
            for axis in alternative.axes:
                places.append(0 if isinstance(axis.values, Continuous) else _index(axis, document))
            if draws is not None and None not in places:
                yield dimension.digit(place, alternative.index(place for place in places if place is not None)), draws


def _possible(dimension: Dimension, document: Mapping[str, Any]) -> Iterator[Choice]:
    """Every choice whose ranges contain the numbers of the document."""
    for place, alternative in enumerate(dimension.alternatives):
        draws = _draws(alternative, document)
        if draws is not None:
            yield from ((dimension.digit(place, index), draws) for index in range(alternative.size))


def _draws(alternative: Alternative, document: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The shares at which the document's numbers lie; None when one lies outside its range."""
    shares = []
    for axis in alternative.axes:
        if isinstance(axis.values, Continuous):
            value = _value(axis, document)
            if not isinstance(value, int | float) or not axis.values.low <= value <= axis.values.high:
                return None
            shares.append(axis.values.share_of(value))
    return tuple(shares)


def _index(axis: Axis, document: Mapping[str, Any]) -> int | None:
    assert not isinstance(axis.values, Continuous)
    try:
        return axis.values.index(_value(axis, document))
    except ValueError:
        return None


def _value(axis: Axis, document: Mapping[str, Any]) -> Any:
    value = value_at(document, axis.key, math.nan)
    if axis.option:
        value = value.get(axis.option, math.nan) if isinstance(value, Mapping) else math.nan
    return value


def _without(value: Any, options: set[str] | None) -> Any:
    """An optimizer or scheduler without some of its options."""
    if options and isinstance(value, Mapping):
        return {name: below for name, below in value.items() if name not in options}
    return value
