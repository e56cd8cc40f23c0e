"""From a search config to its space: one dimension for each linked group and each independent field."""

from collections.abc import Iterator, Sequence
from typing import Any

from sequifier.config.base import Named
from sequifier.config.fields import searchable
from sequifier.config.ranges import Range, Searched
from sequifier.config.search import SearchConfig
from sequifier.config.search_sections import LINKED, is_whole, searchable_fields, train_key
from sequifier.config.searched import searched_options, takes_whole_numbers
from sequifier.results.settings import shown
from sequifier.search.ranges import numbers
from sequifier.search.space import Alternative, Axis, Dimension, Space


def build_space(config: SearchConfig) -> Space:
    """The space that a search config describes, its dimensions in the order of the grid."""
    groups = config.groups()
    group_of = {name: group for group, names in groups.items() for name in names}
    in_order: dict[str, None] = {}
    for name in searchable_fields():
        group = group_of.get(name, name)
        if group in LINKED or group == name:
            in_order.setdefault(group)
    in_order |= {group: None for group in groups if group not in LINKED}

    dimensions: list[Dimension] = []
    fixed: dict[str, Any] = {}
    notes: list[str] = []
    for name in in_order:
        members = groups.get(name, (name,))
        alternatives = _alternatives(config, members)
        if len(alternatives) == 1 and not alternatives[0].axes:
            fixed |= alternatives[0].fixed
        else:
            dimensions.append(Dimension(name, alternatives))
        if len(members) > 1 and len(alternatives) > 1:
            notes += _repeated(config, members, len(alternatives))
    return Space(tuple(dimensions), fixed, tuple(notes))


def _alternatives(config: SearchConfig, names: Sequence[str]) -> tuple[Alternative, ...]:
    """One alternative for each index of a group's lists; single values are repeated, a range is an axis."""
    searched = {name: values for name in names if (values := config.searched(name)) is not None}
    ranges = [
        Axis(train_key(name), "", numbers(values, whole=is_whole(name)))
        for name, values in searched.items()
        if isinstance(values, Range)
    ]
    lists = {name: values for name, values in searched.items() if not isinstance(values, Range)}
    count = max((len(values) for values in lists.values()), default=1)
    alternatives = []
    for index in range(count):
        fixed, axes = {}, []
        for name, values in lists.items():
            value = values[index if len(values) > 1 else 0]
            if name in ("optimizer", "scheduler"):
                value, of_entry = _entry(name, value)
                axes += of_entry
            fixed[train_key(name)] = value
        alternatives.append(Alternative(fixed, (*ranges, *axes)))
    return tuple(alternatives)


def _entry(name: str, entry: Named) -> tuple[Named, list[Axis]]:
    """An optimizer or scheduler without its searched options, and these as axes."""
    searched: dict[str, Searched] = searched_options(name, entry)
    kept = {option: value for option, value in entry.options.items() if option not in searched}
    axes = [
        Axis(
            train_key(name),
            option,
            numbers(values, whole=takes_whole_numbers(name, entry, option)) if isinstance(values, Range) else values,
        )
        for option, values in searched.items()
    ]
    return Named(name=entry.name, **kept), axes


def _repeated(config: SearchConfig, names: Sequence[str], count: int) -> Iterator[str]:
    """Notes on how single values of a linked group are combined with its lists."""
    lists = {name: values for name in names if isinstance(values := config.searched(name), Sequence)}
    anchor = next(name for name, values in lists.items() if len(values) == count)
    for name in names:
        if isinstance(config.searched(name), Range):
            yield f"{name} is a range: it is combined with each of the {count} values of {anchor}"
        elif name not in lists:
            yield f"{name} is not given: it is {searchable()[name].about['default']}"
        elif len(lists[name]) == 1 and (config.is_given(name) or lists[name][0] is not None):
            default = "" if config.is_given(name) else "its default "
            yield f"{name} is {default}{shown(lists[name][0])} with every {anchor}"
