"""Names that YAML parses as something else: a model called 007, a column called 2023, 1e3 or null.

Where a field holds names, an unquoted word of the file is kept letter by letter: the integer 7 is not the name 007.
"""

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from sequifier.config.base import KeyPath, allows_none
from sequifier.config.loading.old_names import renames


def in_file(values: Mapping[str, Any], texts: Mapping[KeyPath, str], model: type[BaseModel]) -> dict[str, Any]:
    """The values of a config file, its sections included, with names as written; see `names_as_written`."""
    found: dict[str, Any] = names_as_written(values, texts, model)
    if isinstance(sections := found.get("sections"), dict):
        found["sections"] = {
            name: names_as_written(below, texts, model, ("sections", name)) for name, below in sections.items()
        }
    return found


def names_as_written(values: Any, texts: Mapping[KeyPath, str], annotation: Any, at: KeyPath = ()) -> Any:
    """Restore the text as written wherever the annotation takes strings and no numbers.

    A null that is the whole value of a field stays null: `model_name: null` means that there is no name.

    Args:
        values: as parsed.
        texts: the text of each scalar that was parsed as a number, a boolean or null, by its place.
        annotation: of the values, or a config model.
        at: the place of the values.
    """
    if isinstance(values, dict):
        kind = next((member for member in _members(annotation) if _is_map(member)), None)
        return {
            key: names_as_written(below, texts, _annotation_below(kind, key), (*at, key))
            for key, below in values.items()
        }
    if isinstance(values, list):
        kinds = [get_args(member)[0] for member in _members(annotation) if get_origin(member) is list]
        of_item = kinds[0] if kinds else Any
        return [names_as_written(below, texts, of_item, (*at, index)) for index, below in enumerate(values)]
    if at not in texts or not takes_names(annotation):
        return values
    is_entry = bool(at) and isinstance(at[-1], int)
    if values is None and (not is_entry or allows_none(annotation)):
        return None
    return texts[at]


def takes_names(annotation: Any) -> bool:
    """Whether a scalar here can only be a name: a string is allowed, alone or as a list of one, and a number is not."""
    members = [*_members(annotation)]
    return any(_is_name(member) for member in members) and not any(
        member in (int, float, bool, Any) for member in members
    )


def takes_maps(annotation: Any) -> bool:
    """Whether a map is allowed here, alone or beside names."""
    return any(_is_map(member) for member in _members(annotation))


def _is_name(member: Any) -> bool:
    if get_origin(member) is list:
        return any(_is_name(below) for below in _members(get_args(member)[0]))
    return member is str


def _members(annotation: Any) -> Iterator[Any]:
    """The members of a union, or the annotation alone, without `Annotated[...]`."""
    kind = annotation
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        for member in get_args(kind):
            yield from _members(member)
    else:
        yield kind


def _is_map(member: Any) -> bool:
    return get_origin(member) is dict or (isinstance(member, type) and issubclass(member, BaseModel))


def _annotation_below(kind: Any, key: str) -> Any:
    if kind is None:
        return Any
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    key, _, rest = key.partition(".")  # `training_spec.criterion`, as `start_with` may have it
    shapes = getattr(kind, "SHAPES", {})
    known = kind.model_fields.get(renames(kind, ())[key].field if key in renames(kind, ()) else key)
    annotation = shapes.get(key, Any if known is None else known.annotation)
    if not rest:
        return annotation
    return _annotation_below(next((member for member in _members(annotation) if _is_map(member)), None), rest)
