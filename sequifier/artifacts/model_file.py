"""The properties of an exported model: all that is needed to use it, as JSON text inside the ONNX file.

They can be read without this package:

    session = onnxruntime.InferenceSession("model.onnx")
    properties = session.get_modelmeta().custom_metadata_map
    vocabularies = json.loads(properties["vocabularies"])   # {column: [category of id 1, of id 2, ...]}

The last property, `sha256`, is the SHA-256 of all bytes of the file before it: graph, weights and properties. Its
length is fixed, so any tool can check it: `head -c -76 MODEL.onnx | sha256sum`.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sequifier import __version__
from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.events import POSITION
from sequifier.artifacts.format_version import check_format
from sequifier.artifacts.metadata import RawValueRules
from sequifier.artifacts.read_file import parse_json, wrap_read_errors
from sequifier.artifacts.time_rules import TimeRules
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Architecture, architecture_from_json
from sequifier.config.base import Category, category_text
from sequifier.errors import ModelError
from sequifier.regular_file import check_is_file

if TYPE_CHECKING:
    import onnx

END_TO_END = "end_to_end"  # property of models that take raw values
DROPOUT = "dropout"  # property of graphs with dropout
SHA256 = "sha256"
FORMAT_VERSION = 1
"""Version of the properties. Files without a version are older and have no checksum."""
_LARGEST = (1 << 31) - 1
"""Largest size in bytes of a protobuf message, and so of an ONNX file with its weights."""


@dataclass(frozen=True)
class ModelFile:
    """The properties of an exported model."""

    version: str  # version of Sequifier at the export
    architecture: Architecture
    columns: Mapping[str, list[dict[str, str]]]  # inputs and targets: [{name, kind}, ...]
    vocabularies: Mapping[str, list[Category]]  # categorical columns; the first class has id 1, END is the last
    statistics: Mapping[str, Mapping[str, float]]  # mean and std of real columns
    data: Mapping[str, Any]  # sequence_column, position_column, fingerprint, end_event, ... of the raw data
    config: Mapping[str, Any]  # the resolved train.yaml
    metrics: Mapping[str, Any]  # metrics of the exported epoch
    parity: Mapping[str, float]  # tolerance, and largest_difference from torch
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reading: RawValueRules  # rules for raw values before the encoding
    time: TimeRules  # columns that are computed from dates
    distributions: Mapping[str, list[float]]  # target -> what its distribution needs of the training split
    end_to_end: bool = False  # takes raw values and returns labels and original units
    has_dropout: bool = False  # drops activations unless its ratio is 0
    has_checksum: bool = True  # False for files of older versions

    def scale(self, column: str) -> Scale:
        """Return how the values of a real column are standardised."""
        statistics = self.statistics[column]
        return self.reading.scale(column, statistics, self.time.seconds_per_unit(column))

    @property
    def by_sequence(self) -> list[str]:
        """The columns of the model that are standardised by mean and std of their sequence."""
        used = {*self.architecture.input_columns, *(target.name for target in self.architecture.targets)}
        return [column for column in self.reading.by_sequence if column in used]

    @property
    def events_per_sequence(self) -> float:
        """The mean number of events of a training sequence, without START and the end of observation."""
        n_rows, n_sequences = (self.data[key][0] for key in ("rows", "sequences"))
        return float(n_rows / n_sequences) - self.time.has_start - self.time.has_end

    @property
    def sequence_columns(self) -> list[str]:
        """The input columns that have one value in all events of a sequence."""
        named = self.data.get("sequence_columns", [])
        return [column for column in self.architecture.input_columns if column in named]

    @property
    def predicts_times(self) -> bool:
        """Whether the times of generated events are known: the model predicts the time between positions."""
        return any(
            column.feature == "gap" and column.date_column == POSITION
            for target in self.architecture.targets
            if (column := self.time.derived.get(target.name))
        )

    @property
    def clocked(self) -> list[str]:
        """The columns of generated events that follow from their times, where these are known."""
        if not self.predicts_times:
            return []
        inputs = self.architecture.input_columns
        used = dict.fromkeys([*inputs, *(target.name for target in self.architecture.targets)])
        of_positions = [
            column for name in used if (column := self.time.derived.get(name)) and column.date_column == POSITION
        ]
        return [
            column.name for column in of_positions if column.categories or (column.is_elapsed and column.name in inputs)
        ]

    @property
    def not_generated(self) -> list[str]:
        """The input columns that generated events have no value of, unless it follows from their times (`clocked`)."""
        known = {*self.sequence_columns, *(target.name for target in self.architecture.targets)}
        return [column for column in self.architecture.input_columns if column not in known]

    @property
    def raw_targets(self) -> list[str]:
        """The targets that are columns of the table which the model reads, and not computed from dates."""
        targets = {target.name for target in self.architecture.targets} - self.time.derived.keys()
        return [column for column in self.architecture.input_columns if column in targets]

    @property
    def end_ids(self) -> dict[str, int]:
        """The id of END in each column of the model that has it."""
        columns = self.data.get("end_event", ())
        return {column: len(self.vocabularies[column]) for column in columns if column in self.vocabularies}

    def raw_vocabulary(self, column: str) -> list[Category]:
        """Return the categories of a column without END."""
        vocabulary = self.vocabularies[column]
        return vocabulary[:-1] if column in self.end_ids else vocabulary

    def class_ids(self, column: str) -> dict[str, int]:
        """Return the id of each class of a column, END included, by its text."""
        return {category_text(value): id for id, value in enumerate(self.vocabularies[column], start=1)}

    def stored_type(self, column: str) -> str:
        """Return the type of a column in the raw data."""
        if column not in self.vocabularies:
            return "Float64"
        first = next(iter(self.raw_vocabulary(column)), "")
        return "Boolean" if isinstance(first, bool) else "Int64" if isinstance(first, int) else "String"


def model_properties(
    architecture: Architecture,
    *,
    vocabularies: Mapping[str, Sequence[Category]],
    statistics: Mapping[str, Mapping[Any, float]],
    data: Mapping[str, Any],
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    reading: RawValueRules | None = None,
    distributions: Mapping[str, list[float]] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the properties of a model, with the vocabularies and statistics of its own columns."""
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
    if distributions:  # left out where there is none, as in earlier releases
        content["distributions"] = dict(distributions)
    about = {"sequifier_version": __version__, "format_version": str(FORMAT_VERSION)}
    return about | {key: _json(value) for key, value in content.items()}


def add_properties(model: "onnx.ModelProto", properties: Mapping[str, str]) -> None:
    """Add properties to a model in memory."""
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
        # Protobuf messages are merged when they are concatenated: this adds a property to those in `content`.
        file.write(_checksum_property(hashlib.sha256(content).hexdigest()))


def _checksum_property(digest: str) -> bytes:
    import onnx

    last = onnx.ModelProto()
    last.metadata_props.add(key=SHA256, value=digest)
    content: bytes = last.SerializeToString()
    return content


def read_model_file(path: Path) -> ModelFile:
    """Read the properties of a model.

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
        The model, and whether it has a checksum, which is then correct.

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
            "this ONNX file was not exported by Sequifier, or it is truncated",
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
    """Return the error for a model that was changed after it was written."""
    return ModelError(
        "the model file was changed or damaged since it was exported: its content does not fit its SHA-256",
        where=str(path),
        fix="copy or export the model again",
    )


_AGAIN = "check the path, or export or copy the model again"
_NO_ONNX = "it is not an ONNX file, or it is truncated"


def _content(path: Path) -> bytes:
    """Return the bytes of a file that may be ONNX, by its size and first byte.

    Raises:
        OSError, ValueError: the file cannot be ONNX.
    """
    check_is_file(path)
    if (size := path.stat().st_size) > _LARGEST:
        raise ValueError(f"it is not an ONNX file: it has {size:,} bytes, and ONNX files have {_LARGEST:,} at most")
    with path.open("rb") as file:
        # An ONNX file starts with its first field, the version of the format.
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
    """Return the properties of a model.

    Raises:
        ModelError: the properties have a newer version, or are damaged.
    """
    format_version = properties.get("format_version")
    if format_version is not None:
        found = int(format_version) if format_version.isascii() and format_version.isdigit() else format_version
        check_format(found, FORMAT_VERSION, "the model", path, error=ModelError)
    try:
        data = _map(properties, "data")
        file = ModelFile(
            version=properties["sequifier_version"],
            architecture=architecture_from_json(parse_json(properties["architecture"])),
            **{key: _map(properties, key) for key in _PLAIN},
            reading=RawValueRules.model_validate_json(properties.get("reading", "{}")),
            time=TimeRules.model_validate({key: data[key] for key in TimeRules.model_fields if key in data}),
            distributions=_map(properties, "distributions") if "distributions" in properties else {},
            inputs=inputs,
            outputs=outputs,
            end_to_end=END_TO_END in properties,
            has_dropout=DROPOUT in properties,
            has_checksum=has_checksum,
        )
        _check(file)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(
            f"cannot read the model's properties ({_shown(error)}); it was exported by version "
            f"{properties['sequifier_version']}, and this is version {__version__}",
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
    """Check that vocabularies, statistics and rules fit the columns.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: they do not.
    """
    shape = file.architecture
    targets = {target.name: target for target in shape.targets}
    n_classes = dict(shape.categorical) | {name: t.n_classes for name, t in targets.items() if t.kind == "categorical"}
    for column, size in n_classes.items():
        vocabulary = file.vocabularies[column]
        kinds = {type(category) for category in file.raw_vocabulary(column)}
        if len(vocabulary) != size - 1 or len(kinds) > 1 or not kinds <= {str, int, bool}:
            raise ValueError(f"the vocabulary of {column} does not have {size - 1:,} texts, integers or booleans")
    for column in {*shape.real, *(name for name, target in targets.items() if target.kind == "real")}:
        mean, std = (file.statistics[column][key] for key in ("mean", "std"))
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ValueError(f"the statistics of {column} are not a mean and a standard deviation above 0")
    for what, names in (("inputs", shape.input_columns), ("targets", tuple(targets))):
        if tuple(column["name"] for column in file.columns[what]) != names:
            raise ValueError(f"the {what} are not the columns of the architecture")
    types = {column: file.stored_type(column) for column in {*shape.input_columns, *targets}}
    rules = file.reading
    RawValueRules(
        fill_null={column: fill for column, fill in rules.fill_null.items() if column in types},
        transforms={column: transform for column, transform in rules.transforms.items() if column in types},
    ).check(types)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
