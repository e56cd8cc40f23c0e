"""The configs as JSON Schema (draft 2020-12) for editors: completion, help on hover, underlined mistakes.

An editor with the YAML language server reads the schema that the first line of a file names:

    # yaml-language-server: $schema=../.schemas/train.schema.json

A schema has the values of each field; `sequifier config validate` checks rules between fields, names of columns and
options of optimizers.
"""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sequifier.config.base import NO_UNIT, Named, field_about, is_section, list_of_one
from sequifier.config.catalogue.torch_names import Family, known_names
from sequifier.config.fields import SEARCH_SECTIONS, SEARCHED_AT_ROOT
from sequifier.config.help.describe import describe
from sequifier.config.identity import plain
from sequifier.config.loading.kinds import KINDS
from sequifier.config.loading.old_names import renames
from sequifier.config.ranges import Range
from sequifier.config.searched import ValuesOf

DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]
_PRIMITIVES: dict[Any, str] = {int: "integer", float: "number", str: "string", bool: "boolean"}
_FAMILIES: dict[str, Family] = {"optimizer": "optimizers", "scheduler": "schedulers", "criterion": "criteria"}
_LIMITS = {
    Gt: ("exclusiveMinimum", "gt"),
    Ge: ("minimum", "ge"),
    Lt: ("exclusiveMaximum", "lt"),
    Le: ("maximum", "le"),
}


def json_schema(kind: str) -> Schema:
    """The schema of one kind of config.

    Args:
        kind: a key of `KINDS`.
    """
    model = KINDS[kind]
    schema = _object(model, model, ())
    required = schema.pop("required")
    properties = schema["properties"]
    properties.setdefault(
        "base_config_path", {"type": "string", "description": "The file that this one inherits from."}
    )
    if "overrides" in properties:
        properties["overrides"] |= _overrides(properties)
    partial = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    properties["sections"] = {
        "type": "object",
        "description": "Variants by name: --config-section merges one of them into the file.",
        "additionalProperties": partial,
    }
    inherits = {"required": ["base_config_path"]}
    head = {"$schema": DRAFT, "title": f"Sequifier: {kind}.yaml"}
    # The mandatory keys may be in the inherited file.
    return {**head, **schema, "anyOf": [{"required": required}, inherits]} if required else {**head, **schema}


def json_schemas() -> Schema:
    """One schema that takes a config of any kind, each kind under `$defs`."""
    kinds = {kind: json_schema(kind) for kind in KINDS}
    for schema in kinds.values():
        del schema["$schema"]
    anyone = [{"$ref": f"#/$defs/{kind}"} for kind in kinds]
    return {"$schema": DRAFT, "title": "Sequifier: any config", "$defs": kinds, "anyOf": anyone}


def _object(model: type[BaseModel], root: type[BaseModel], path: tuple[str, ...]) -> Schema:
    properties = {name: _field(name, field, root, (*path, name)) for name, field in model.model_fields.items()}
    for other, renamed in renames(root, path).items():
        same = properties[renamed.field]
        if not renamed.is_old:
            properties[other] = {**same, "title": other}
            continue
        said = f"The old name of {renamed.field}."
        same = {key: value for key, value in same.items() if key not in ("title", "default")}
        properties[other] = {**same, "description": said, "deprecated": True, "deprecationMessage": said}
    return {
        "type": "object",
        "description": (model.__doc__ or "").strip().split("\n")[0],
        "properties": properties,
        "required": [name for name, field in model.model_fields.items() if field.is_required()],
        "additionalProperties": False,
    }


def _field(name: str, field: FieldInfo, root: type[BaseModel], path: tuple[str, ...]) -> Schema:
    described = describe(field)
    unit = field_about(field).get("unit", NO_UNIT)
    help_text = [described.purpose, *([f"Unit: {unit}."] if unit != NO_UNIT else []), *described.advice]
    said: Schema = {"title": name, "description": " ".join(help_text)}
    schema = {**said, **_values(name, field, root, path), **said}
    if not field.is_required() and field.default_factory is None and not is_section(type(field.default)):
        schema["default"] = plain(field.default)
    if described.unused:
        schema |= {"deprecated": True, "deprecationMessage": "Accepted without effect."}
    return schema


def _values(name: str, field: FieldInfo, root: type[BaseModel], path: tuple[str, ...]) -> Schema:
    values = next((item for item in field.metadata if isinstance(item, ValuesOf)), None)
    if values is None:
        return _limited(_type(field.annotation, name, root, path), field.metadata)
    owned = values.owner.model_fields[values.name]
    one = _limited(_type(owned.annotation, name, root, path), owned.metadata)
    if not values.searched:
        return one
    choices = [one, {"type": "array", "items": one, "minItems": 1}]
    if values.is_number:
        choices.append(_object(Range, root, path))
    return {"anyOf": choices}


def _type(annotation: Any, name: str, root: type[BaseModel], path: tuple[str, ...]) -> Schema:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        metadata = [part for item in arguments[1:] for part in getattr(item, "metadata", [item])]
        return _limited(_type(arguments[0], name, root, path), metadata)
    if origin in (Union, UnionType):
        branches = [_type(member, name, root, path) for member in arguments]
        return {"anyOf": [inner for branch in branches for inner in branch.get("anyOf", [branch])]}
    if annotation is NoneType:
        return {"type": "null"}
    if annotation in _PRIMITIVES:
        return {"type": _PRIMITIVES[annotation]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if isinstance(annotation, type) and issubclass(annotation, Named):
        return _named(name)
    if is_section(annotation):
        return _object(annotation, root, path)
    if origin is list:
        return {"type": "array", "items": _type(arguments[0], name, root, path)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(arguments[1], name, root, path)}
    return {}


def _overrides(properties: Schema) -> Schema:
    """What is searched in a base: the structure of train.yaml, with the values that a search takes."""
    taken = {name: properties[name] for name in SEARCHED_AT_ROOT}
    taken |= {section: properties[searched] for section, searched in SEARCH_SECTIONS.items()}
    return {"properties": taken, "additionalProperties": False}


def _named(name: str) -> Schema:
    """A class of a library: today's names are completed, and any spelling is accepted."""
    known: Schema = {"type": "string"}
    if name in _FAMILIES:
        known = {"anyOf": [{"enum": known_names(_FAMILIES[name])}, {"type": "string"}]}
    options = {"type": "object", "properties": {"name": known}, "required": ["name"], "additionalProperties": True}
    return {"anyOf": [known, options]}


def _limited(schema: Schema, metadata: list[Any]) -> Schema:
    """Add bounds to numbers and lists, also inside a union."""
    if not metadata:
        return schema
    if "anyOf" in schema:
        branches = [_limited(branch, metadata) for branch in schema["anyOf"]]
        return {"anyOf": [inner for branch in branches for inner in branch.get("anyOf", [branch])]}
    limits: Schema = {}
    kind = schema.get("type")
    for item in metadata:
        for limit, (keyword, attribute) in _LIMITS.items():
            if isinstance(item, limit) and kind in ("integer", "number"):
                limits[keyword] = getattr(item, attribute)
        if kind == "string" and (pattern := getattr(item, "pattern", None)):
            limits["pattern"] = pattern
        if isinstance(item, MinLen) and kind in ("array", "string"):
            limits["minItems" if kind == "array" else "minLength"] = item.min_length
    limited = {**schema, **limits}
    if kind == "array" and any(getattr(item, "func", None) is list_of_one for item in metadata):
        return {"anyOf": [limited, schema["items"]]}  # a single name counts as a list of one
    return limited
