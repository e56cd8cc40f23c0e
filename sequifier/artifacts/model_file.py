"""An exported model's properties: everything needed to use it, as JSON text inside the ONNX file.

One writer and one reader. Without this package, five lines read them:

    session = onnxruntime.InferenceSession("model.onnx")
    properties = session.get_modelmeta().custom_metadata_map
    vocabularies = json.loads(properties["vocabularies"])   # {column: [category of id 1, of id 2, ...]}

The last property, `sha256`, is the SHA-256 of all bytes of the file before it: graph, weights and properties. Any tool
can check it, since it is always as long: `head -c -76 MODEL.onnx | sha256sum`.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sequifier import __version__
from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.format_version import check_format
from sequifier.artifacts.metadata import RawValueRules
from sequifier.artifacts.read_file import parse_json, wrap_read_errors
from sequifier.config.architecture import Architecture, architecture_from_json
from sequifier.errors import ModelError
from sequifier.regular_file import check_is_file

if TYPE_CHECKING:
    import onnx

Category = str | int | bool
END_TO_END = "end_to_end"  # the property that only a model that takes raw values has
DROPOUT = "dropout"  # the property that only a graph with dropout in it has
SHA256 = "sha256"
FORMAT_VERSION = 1
"""Of the properties. A file without a version is older than the checksum; one with a version has a checksum."""
_LARGEST = (1 << 31) - 1
"""Bytes of a protobuf message, so of an ONNX file that holds its weights."""


@dataclass(frozen=True)
class ModelFile:
    """What an exported model says about itself."""

    version: str  # of Sequifier, when it was exported
    architecture: Architecture
    columns: Mapping[str, list[dict[str, str]]]  # inputs and targets: [{name, kind}, ...]
    vocabularies: Mapping[str, list[Category]]  # of categorical columns; the first category has id 1
    statistics: Mapping[str, Mapping[str, float]]  # of real columns: mean and std
    data: Mapping[str, Any]  # of the raw data: sequence_column, position_column, fingerprint
    config: Mapping[str, Any]  # the resolved train.yaml
    metrics: Mapping[str, Any]  # of the exported epoch
    parity: Mapping[str, float]  # tolerance and largest_difference against torch
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reading: RawValueRules  # what is done to raw values before they are encoded
    end_to_end: bool = False  # takes raw values and gives labels and original units
    has_dropout: bool = False  # drops activations unless its ratio is set to 0
    has_checksum: bool = True  # False: written before files had one


def model_properties(
    architecture: Architecture,
    *,
    vocabularies: Mapping[str, Sequence[Category]],
    statistics: Mapping[str, Mapping[Any, float]],
    data: Mapping[str, Any],
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    reading: RawValueRules | None = None,
) -> dict[str, str]:
    """The properties of one model. Of vocabularies and statistics, those of its columns are kept."""
    kinds = {name: "categorical" for name, _ in architecture.categorical} | dict.fromkeys(architecture.real, "real")
    targets: dict[str, str] = {target.name: target.kind for target in architecture.targets}
    used = kinds | targets
    columns = {
        "inputs": [{"name": name, "kind": kind} for name, kind in kinds.items()],
        "targets": [{"name": name, "kind": kind} for name, kind in targets.items()],
    }
    content = {
        "architecture": architecture.as_json(),
        "columns": columns,
        "vocabularies": {name: list(vocabularies[name]) for name, kind in used.items() if kind == "categorical"},
        "statistics": {name: dict(statistics[name]) for name, kind in used.items() if kind == "real"},
        "data": dict(data),
        "config": dict(config),
        "metrics": dict(metrics),
        "reading": (reading or RawValueRules()).model_dump(),
    }
    about = {"sequifier_version": __version__, "format_version": str(FORMAT_VERSION)}
    return about | {key: _json(value) for key, value in content.items()}


def add_properties(model: "onnx.ModelProto", properties: Mapping[str, str]) -> None:
    """Put properties into a model that is not written yet."""
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)


def write_model(path: Path, model: "onnx.ModelProto") -> None:
    """Write an ONNX file with its checksum; it appears whole or not at all.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    content = model.SerializeToString()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        # Protobuf messages are joined by writing one behind the other: this adds one property to those in `content`.
        file.write(_checksum_property(hashlib.sha256(content).hexdigest()))


def _checksum_property(digest: str) -> bytes:
    import onnx

    last = onnx.ModelProto()
    last.metadata_props.add(key=SHA256, value=digest)
    content: bytes = last.SerializeToString()
    return content


def read_model_file(path: Path) -> ModelFile:
    """Read what a model says about itself.

    Raises:
        ModelError: the file is missing, damaged, or was not exported by Sequifier.
    """
    model, has_checksum = load_model(path)
    return model_file(
        {prop.key: prop.value for prop in model.metadata_props},
        inputs=tuple(value.name for value in model.graph.input),
        outputs=tuple(value.name for value in model.graph.output),
        has_checksum=has_checksum,
        path=path,
    )


def load_model(path: Path) -> "tuple[onnx.ModelProto, bool]":
    """Read an ONNX file that Sequifier wrote, weights included.

    Returns:
        The model, and whether it has a checksum, which it then fits.

    Raises:
        ModelError: the file is missing, damaged, was changed, or was not exported by Sequifier.
    """
    import onnx

    with wrap_read_errors("the model", path, fix=_AGAIN, error=ModelError):
        content = _content(path)
        try:
            model = onnx.load_model_from_string(content)
        except Exception as error:  # protobuf's own
            raise ValueError(_NO_ONNX) from error
    properties = {prop.key: prop.value for prop in model.metadata_props}
    if "sequifier_version" not in properties:
        raise ModelError(
            "this ONNX file was not exported by Sequifier, or it is cut off",
            where=str(path),
            fix="give a model from models/ of a project, or export it again",
        )
    end = len(content) - len(_checksum_property("0" * 64))
    stored = _checksum_property(hashlib.sha256(content[:end]).hexdigest())
    has_checksum = SHA256 in properties or "format_version" in properties
    if has_checksum and content[end:] != stored:
        raise changed(path)
    if any(weight.data_location == onnx.TensorProto.EXTERNAL for weight in model.graph.initializer):
        raise ModelError(
            "the model's weights are in another file; Sequifier writes them into the model",
            where=str(path),
            fix="export the model again",
        )
    return model, has_checksum


def changed(path: Path) -> ModelError:
    """The error for a model that is not what was written."""
    return ModelError(
        "the model file was changed or damaged since it was exported: its content does not fit its SHA-256",
        where=str(path),
        fix="copy or export the model again",
    )


_AGAIN = "check the path, or export or copy the model again"
_NO_ONNX = "it is not an ONNX file, or it is cut off"


def _content(path: Path) -> bytes:
    """The bytes of a file that may be ONNX, as far as its size and its first byte say.

    Raises:
        OSError, ValueError: it is not.
    """
    check_is_file(path)
    if (size := path.stat().st_size) > _LARGEST:
        raise ValueError(f"it is not an ONNX file: it has {size:,} bytes, and ONNX files have {_LARGEST:,} at most")
    with path.open("rb") as file:
        # Every ONNX file begins with its first field, the version of the format; no need to read on without.
        start = file.read(1)
        if start not in (b"\x08", b""):
            raise ValueError(_NO_ONNX)
        return start + file.read()


def model_file(
    properties: Mapping[str, str],
    *,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    path: Path,
    has_checksum: bool,
) -> ModelFile:
    """What the properties of a model say.

    Raises:
        ModelError: they are those of a newer version, or damaged.
    """
    format_version = properties.get("format_version")
    if format_version is not None:
        found = int(format_version) if format_version.isascii() and format_version.isdigit() else format_version
        check_format(found, FORMAT_VERSION, "the model", path, error=ModelError)
    try:
        file = ModelFile(
            version=properties["sequifier_version"],
            architecture=architecture_from_json(parse_json(properties["architecture"])),
            **{key: _map(properties, key) for key in _PLAIN},
            reading=RawValueRules.model_validate_json(properties.get("reading", "{}")),
            inputs=inputs,
            outputs=outputs,
            end_to_end=END_TO_END in properties,
            has_dropout=DROPOUT in properties,
            has_checksum=has_checksum,
        )
        _check(file)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(
            f"the model's properties cannot be read ({_shown(error)}); it says version "
            f"{properties['sequifier_version']}, this is {__version__}",
            where=str(path),
            fix="export the model again with this version",
        ) from error
    return file


_PLAIN = ("columns", "vocabularies", "statistics", "data", "config", "metrics", "parity")


def _shown(error: Exception) -> str:
    return text if len(text := repr(error)) <= 300 else f"{text[:300]}..."


def _map(properties: Mapping[str, str], key: str) -> dict[str, Any]:
    found = parse_json(properties[key])
    if not isinstance(found, dict):
        raise ValueError(f"{key} is not a map")
    return found


def _check(file: ModelFile) -> None:
    """Check that vocabularies, statistics and rules are those of the columns.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: they are not.
    """
    shape = file.architecture
    targets = {target.name: target for target in shape.targets}
    n_classes = dict(shape.categorical) | {name: t.n_classes for name, t in targets.items() if t.kind == "categorical"}
    for column, size in n_classes.items():
        vocabulary = file.vocabularies[column]
        kinds = {type(category) for category in vocabulary}
        if len(vocabulary) != size - 1 or len(kinds) > 1 or not kinds <= {str, int, bool}:
            raise ValueError(f"the vocabulary of {column} is not one of {size - 1:,} texts, integers or booleans")
    for column in {*shape.real, *(name for name, target in targets.items() if target.kind == "real")}:
        mean, std = (file.statistics[column][key] for key in ("mean", "std"))
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ValueError(f"the statistics of {column} are not a mean and a standard deviation above 0")
    for what, names in (("inputs", shape.input_columns), ("targets", tuple(targets))):
        if tuple(column["name"] for column in file.columns[what]) != names:
            raise ValueError(f"the {what} are not the columns of the architecture")
    types = {column: stored_type(file.vocabularies.get(column)) for column in {*shape.input_columns, *targets}}
    fills = {column: fill for column, fill in file.reading.fill_null.items() if column in types}
    RawValueRules(fill_null=fills).check(types)


def stored_type(vocabulary: Sequence[Category] | None) -> str:
    """The type of a raw column with that vocabulary; None for a real column."""
    if vocabulary is None:
        return "Float64"
    first = next(iter(vocabulary), "")
    return "Boolean" if isinstance(first, bool) else "Int64" if isinstance(first, int) else "String"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
