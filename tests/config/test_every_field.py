"""Every field of every config says what it is for, what it takes, what it interacts with, and when to change it."""

import re
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Gt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sequifier.config.base import Named, field_about, plain_type
from sequifier.config.help.describe import describe
from sequifier.config.help.explain import Place, all_fields
from sequifier.config.help.reference import reference
from sequifier.config.loading.kinds import KINDS

FIELDS = list(all_fields())
UNBOUNDED = {"world_size", "num_workers", "device_max_concat_length"}  # accepted without effect


def names(place: Place) -> str:
    return f"{place.kind}.{place.key}"


def holds(annotation: Any, wanted: tuple[type, ...]) -> bool:
    """Whether a type is, or a list or map of it has, one of the wanted ones."""
    if get_origin(annotation) in (Union, UnionType, list, dict, Annotated):
        arguments = get_args(annotation)
        if get_origin(annotation) is dict:
            arguments = arguments[1:]
        if get_origin(annotation) is Annotated:
            arguments = arguments[:1]
        return any(holds(argument, wanted) for argument in arguments)
    return annotation in wanted


def is_section(field: FieldInfo) -> bool:
    """Whether the field holds others, which say it themselves."""
    kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if kind is not NoneType]
    kind = plain_type(kinds[0])
    return isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, Named)


def is_unused(place: Place) -> bool:
    return bool(field_about(place.field).get("unused"))


def test_each_field_says_what_it_is_for() -> None:
    lacking = [
        names(place) for place in FIELDS if not re.search(r"\w{3}.*\.$", place.field.description or "", re.DOTALL)
    ]
    assert not lacking


def test_each_number_says_what_it_counts() -> None:
    numbers = [place for place in FIELDS if not is_unused(place) and holds(place.field.annotation, (int, float))]
    assert len(numbers) > 50
    assert not [names(place) for place in numbers if not field_about(place.field).get("unit")], "a unit, or `no unit`"


def test_each_number_says_how_far_it_goes() -> None:
    numbers = [place for place in FIELDS if plain_type(place.field.annotation) in (int, float)]
    unbounded = [names(place) for place in numbers if not any(isinstance(b, Gt | Ge) for b in place.field.metadata)]
    assert not [name for name in unbounded if name.rpartition(".")[2] not in UNBOUNDED]


def test_each_field_says_what_it_interacts_with_and_when_to_change_it() -> None:
    told = [place for place in FIELDS if not is_unused(place) and not is_section(place.field)]
    assert len(told) > 150
    for said in ("interacts", "change"):
        texts = {names(place): field_about(place.field).get(said, "") for place in told}
        assert not [name for name, text in texts.items() if not text], f"{said} is missing (or base.ALONE)"
        assert not [name for name, text in texts.items() if text.endswith(".") or text != text.strip()]


def test_each_default_is_documented() -> None:
    lacking = {place.key for place in FIELDS if describe(place.field).default == "see there"}
    assert not lacking
    assert [place.key for place in FIELDS if place.field.is_required() != (describe(place.field).default == "")] == []


def test_the_reference_has_an_entry_for_each_field_and_a_link_to_it() -> None:
    text = reference()
    anchors = re.findall(r'<a id="([\w.]+)"></a>', text)
    assert len(anchors) == len({*anchors})
    assert {*re.findall(r"\]\(#([\w.]+)\)", text)} == {*anchors}
    described = {anchor.rpartition(".")[2] for anchor in anchors} | {*re.findall(r"^- `(\w+)`: ", text, re.MULTILINE)}
    assert described == {place.key.rpartition(".")[2] for place in FIELDS}
    assert [kind for kind in KINDS if f"## {kind}.yaml" not in text] == []


def test_each_text_continues_the_sentence_that_it_is_printed_in() -> None:
    """Interacts with ..., Change it ...."""
    for place in FIELDS:
        change = field_about(place.field).get("change", "to ")
        assert not re.search(r"\w\. [A-Z]", change + field_about(place.field).get("interacts", "")), names(place)
        assert change.split(" ")[0] in ("to", "when", "for", "only", "with", "first"), f"{names(place)}: {change}"


def test_what_other_libraries_call_a_field_is_no_field_of_the_same_section() -> None:
    for place in FIELDS:
        section = place.key.rpartition(".")[0]
        siblings = {other.key for other in FIELDS if other.kind == place.kind}
        for word in field_about(place.field).get("synonyms", "").split():
            assert f"{section}.{word}".lstrip(".") not in siblings, names(place)


def test_fields_without_effect_have_no_reasons_to_change_them() -> None:
    assert not [place for place in FIELDS if is_unused(place) and "change" in field_about(place.field)]
