"""Which cell of a space a run of the ledger is: what a strategy learns from is cells with results.

A record holds the searched values of its run, and those that its cell wrote in another form, so each dimension is one
lookup. Records of older versions hold the form of the run file alone: there, a choice whose value may have become the
run's (null, or attention heads that do not divide) is tried, and the right one expands to the identity in the ledger.
"""

from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Any

from sequifier.artifacts.ledger import Record
from sequifier.config.fields import FROM_METADATA
from sequifier.config.identity import plain
from sequifier.errors import ConfigError
from sequifier.search.expand import Expanded, Expander
from sequifier.search.ranges import Continuous
from sequifier.search.space import Alternative, Axis, Cell, Dimension, Space

MAX_TRIED = 200
"""Cells that are tried for a run of an older version."""

REWRITTEN = frozenset(
    {
        *("model_spec.attention_type", "model_spec.n_kv_heads", "model_spec.rope_theta"),
        *("training_spec.layer_autocast", "training_spec.scheduler", "training_spec.optimizer"),
    }
)
"""Fields whose value in a run file may be another one than its cell's, see config/identity.py."""

Choice = tuple[int, tuple[float, ...]]
"""A choice in one dimension, with the fractions of its ranges."""


class KnownCells:
    """Finds the cells of runs, and remembers them.

    Args:
        space: to find them in.
        expander: of that space.
    """

    def __init__(self, space: Space, expander: Expander) -> None:
        self._expander = expander
        self._dimensions = [_Choices(dimension) for dimension in space.dimensions]
        self._found: dict[str, tuple[Cell, Expanded] | None] = {}

    def find(self, record: Record) -> tuple[Cell, Expanded] | None:
        """The cell of a run and what it expands to; None when it is outside the space, or its settings are unknown."""
        if record.settings is None:
            return None
        if record.identity not in self._found:
            self._found[record.identity] = self._search(record)
        return self._found[record.identity]

    def _search(self, record: Record) -> tuple[Cell, Expanded] | None:
        choices = [dimension.matching(record) for dimension in self._dimensions]
        for chosen in islice(product(*choices), MAX_TRIED):
            cell = Cell(tuple(digit for digit, _ in chosen), tuple(draws for _, draws in chosen))
            try:
                expanded = self._expander.expand(cell)
            except ConfigError:
                continue  # no run, so not this one
            if expanded.identity == record.identity:
                return cell, expanded
        return None


class _Choices:
    """The choices of one dimension by their values."""

    def __init__(self, dimension: Dimension) -> None:
        self._dimension = dimension
        self._places: dict[str, list[int]] = {}
        self._forms: dict[str, Alternative] = {}  # which keys an alternative fixes -> the first one that does
        for place, alternative in enumerate(dimension.alternatives):
            fixed = {key: plain(value) for key, value in alternative.fixed.items() if key not in FROM_METADATA}
            self._forms.setdefault(repr([(axis.key, axis.option) for axis in alternative.axes]), alternative)
            self._places.setdefault(_signature(fixed, alternative), []).append(place)

    def matching(self, record: Record) -> list[Choice]:
        """The choices that the record names; where there is none, those that may have become what it says."""
        keys = [key for key in self._dimension.keys if key not in FROM_METADATA]
        settings = {key: record.setting(key) for key in keys}
        for values in ({**settings, **{key: record.proposed[key] for key in keys if key in record.proposed}}, settings):
            places = [
                place
                for form in self._forms.values()
                for place in self._places.get(_signature({k: values[k] for k in form.fixed if k in values}, form), [])
            ]
            if found := [choice for place in places for choice in self._choices(place, values, exact=True)]:
                return found
        alternatives = enumerate(self._dimension.alternatives)
        likely = (place for place, alternative in alternatives if _may_become(alternative, settings))
        return [choice for place in likely for choice in self._choices(place, settings, exact=False)]

    def _choices(self, place: int, values: Mapping[str, Any], *, exact: bool) -> Iterator[Choice]:
        """The combinations of an alternative's axes that have these values."""
        alternative = self._dimension.alternatives[place]
        draws, places = [], []
        for axis in alternative.axes:
            value = _value(axis, values)
            if isinstance(axis.values, Continuous):
                places.append([0])
                if not isinstance(value, int | float) or not axis.values.low <= value <= axis.values.high:
                    return
                draws.append(axis.values.share_of(value))
                continue
            try:
                places.append([axis.values.index(value)])
            except ValueError:
                places.append([] if exact or axis.key not in REWRITTEN else [*range(axis.size)])
        for chosen in product(*places):
            yield self._dimension.digit(place, alternative.index(chosen)), tuple(draws)


def _signature(values: Mapping[str, Any], alternative: Alternative) -> str:
    """The fixed values of an alternative as text, an optimizer or scheduler without the options that are axes."""
    options = _options(alternative)
    return repr([(key, _without(value, options.get(key))) for key, value in sorted(values.items())])


def _options(alternative: Alternative) -> dict[str, set[str]]:
    """The options of an optimizer or scheduler that are axes of their own, by dotted key."""
    return {axis.key: {each.option for each in alternative.axes} for axis in alternative.axes if axis.option}


def _may_become(alternative: Alternative, settings: Mapping[str, Any]) -> bool:
    """Whether a run with these settings may be of this alternative."""
    options = _options(alternative)
    return all(
        key in REWRITTEN or value is None or plain(value) == _without(settings[key], options.get(key))
        for key, value in alternative.fixed.items()
        if key not in FROM_METADATA
    )


def _value(axis: Axis, values: Mapping[str, Any]) -> Any:
    value = values[axis.key]
    if axis.option:
        return value.get(axis.option) if isinstance(value, Mapping) else None
    return value


def _without(value: Any, options: set[str] | None) -> Any:
    """An optimizer or scheduler without some of its options."""
    if options and isinstance(value, Mapping):
        return {name: below for name, below in value.items() if name not in options}
    return value
