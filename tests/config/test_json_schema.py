"""The exported schemas: what our loader takes they take, and what editors should underline they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest

from sequifier.config.help.json_schema import DRAFT, json_schema, json_schemas
from sequifier.config.loading.kinds import KINDS, kind_of
from sequifier.config.loading.yaml12 import parse, parse_file

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "sequifier" / "project" / "templates").glob("*-*.yaml"))
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "number": (int, float),
    "integer": (int, float),
}
RUN = "metadata_config_path: m.json\nmodel_name: first\ntarget_columns: [item]\n"
SEARCH = "metadata_config_path: m.json\nhp_search_name: s\ntarget_columns: [item]\n"


def faults(value: Any, schema: Any, root: Any, place: str = "") -> list[str]:
    """What JSON Schema 2020-12 says against a value, for the keywords that we use."""
    if "$ref" in schema:
        assert schema["$ref"].startswith("#/$defs/")
        return faults(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, place)
    found = []
    if "anyOf" in schema and not any(faults(value, branch, root, place) == [] for branch in schema["anyOf"]):
        found.append(f"{place}: no branch fits")
    if "enum" in schema and not any(value == known and type(value) is type(known) for known in schema["enum"]):
        found.append(f"{place}: {value} is not in enum")
    kind = schema.get("type")
    if kind is not None:
        fits = isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        if not fits or (kind == "integer" and value != int(value)):
            return [*found, f"{place}: {value!r} is no {kind}"]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            found.append(f"{place}: {value} is out of bounds")
        if value <= schema.get("exclusiveMinimum", value - 1) or value >= schema.get("exclusiveMaximum", value + 1):
            found.append(f"{place}: {value} is out of bounds")
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            found.append(f"{place}: too short")
        for index, item in enumerate(value):
            found += faults(item, schema.get("items", {}), root, f"{place}[{index}]")
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        found.append(f"{place}: too short")
    if isinstance(value, dict):
        found += [f"{place}.{key} is missing" for key in schema.get("required", ()) if key not in value]
        for key, below in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties", True))
            if inner is False:
                found.append(f"{place}.{key} is unknown")
            elif isinstance(inner, dict):
                found += faults(below, inner, root, f"{place}.{key}")
    return found


def check(kind: str, text: str) -> list[str]:
    schema = json_schema(kind)
    return faults(parse(text).values, schema, schema)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_the_example_configs_fit_their_schemas(path: Path) -> None:
    values = parse_file(path).values
    schema = json_schema(kind_of(path))
    assert faults(values, schema, schema) == []
    assert faults(values, json_schemas(), json_schemas()) == []


@pytest.mark.parametrize("path", [path for path in TEMPLATES if "PLEASE" not in path.read_text()], ids=lambda p: p.name)
def test_what_make_writes_fits_the_schemas(path: Path) -> None:
    kind = path.stem.partition("-")[2]
    schema = json_schema(kind)
    if "$" not in path.read_text():  # filled in from a table
        assert faults(parse_file(path).values, schema, schema) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_of_the_named_draft_and_describes_every_field(kind: str) -> None:
    schema = json.loads(json.dumps(json_schema(kind), allow_nan=False))
    assert schema["$schema"] == DRAFT == "https://json-schema.org/draft/2020-12/schema"
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    for name, field in KINDS[kind].model_fields.items():
        described = schema["properties"][name]
        assert described["title"] == name
        assert described["description"].startswith((field.description or "")[:40])
        assert ("default" in described) <= (not field.is_required())


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("train", RUN + "training_spec: {learning_rate: 3e-4, epochs: 1e1, optimizer: AdamW}\n"),
        ("train", RUN + "target_column_types: null\ntraining_spec: {optimizer: {name: adamw, betas: [0.9, 0.95]}}\n"),
        ("train", "base_config_path: default.yaml\nsections: {quick: {training_spec: {epochs: 1}}}\n"),
        ("train", RUN.replace("[item]", "item") + "input_columns: item\nuser: {anything: [1, {a: b}]}\n"),
        ("train", RUN.replace("metadata_config_path", "ddconfig_path") + "metadata_config_path: m.json\n"),
        ("infer", "model_path: [a.onnx]\nsampler: {top_p: 0.9}\n"),
        ("infer", "model_path: a.onnx\nsampler: best.json:standard\n"),
        ("preprocess", "data_path: d.csv\nseq_length: 8\nfill_null: {price: mean, day: 0.5}\nmin_count: {item: 3}\n"),
        ("hyperparameter_search", SEARCH + "model_hyperparameter_sampling: {dim_model: [32, 64], n_head: 4}\n"),
        ("hyperparameter_search", SEARCH + "training_hyperparameter_sampling: {dropout: {low: 0, high: 0.5}}\n"),
        ("hyperparameter_search", SEARCH + "keep_models: 3\ninput_columns: [[item], null]\nseq_length: 8\n"),
        ("hyperparameter_search", SEARCH + "base_config_path: b.yaml\noverrides: {model_spec: {dim_model: [8, 16]}}\n"),
    ],
)
def test_what_the_loader_takes_the_schema_takes(kind: str, text: str) -> None:
    assert check(kind, text) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("train", RUN + "sede: 3\n"),
        ("train", RUN + "seed: -1\n"),
        ("train", RUN + "training_spec: {epochs: 0}\n"),
        ("train", RUN + "training_spec: {epochs: 1.5}\n"),
        ("train", RUN + "training_spec: {dropout: 1}\n"),
        ("train", RUN + "training_spec: {optimizer: {weight_decay: 0.1}}\n"),
        ("train", RUN + "model_spec: {activation_fn: tanh}\n"),
        ("train", RUN + "sections: {quick: {training_spec: {epoch: 1}}}\n"),
        ("train", RUN + "target_column_types: {item: float}\n"),
        ("train", "model_name: first\n"),
        ("train", RUN.replace("[item]", "[]")),
        ("infer", "model_path: a.onnx\nsampler: {topp: 0.9}\n"),
        ("preprocess", "data_path: d.csv\nseq_length: 8\nsplit_ratios: [0.5, 0]\n"),
        ("preprocess", "data_path: d.csv\nseq_length: 8\nfill_null: {price: median}\n"),
        ("hyperparameter_search", SEARCH + "model_hyperparameter_sampling: {dim_model: [32, 0]}\n"),
        ("hyperparameter_search", SEARCH + "model_hyperparameter_sampling: {activation_fn: {low: 1, high: 2}}\n"),
        ("hyperparameter_search", SEARCH + "training_hyperparameter_sampling: {device: [cpu, cuda]}\n"),
        ("hyperparameter_search", SEARCH + "base_config_path: b.yaml\noverrides: {dim_model: [8, 16]}\n"),
    ],
)
def test_what_is_wrong_in_one_field_the_schema_refuses(kind: str, text: str) -> None:
    assert check(kind, text) != []


def test_a_renamed_key_is_marked_as_such() -> None:
    old = json_schema("train")["properties"]["model_spec"]["properties"]["nhead"]
    assert old["deprecated"] is True
    assert "n_head" in old["deprecationMessage"]


def test_the_schemas_are_valid_for_the_library_where_it_is_installed() -> None:
    validators = pytest.importorskip("jsonschema").validators
    for kind in KINDS:
        schema = json_schema(kind)
        of_schemas = validators.validator_for(schema)
        assert list(of_schemas(of_schemas.META_SCHEMA).iter_errors(schema)) == []
