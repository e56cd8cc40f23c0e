"""An exported model's properties: everything needed to use it, as JSON text inside the ONNX file.

One writer and one reader. Without this package, five lines read them:

    session = onnxruntime.InferenceSession("model.onnx")
    properties = session.get_modelmeta().custom_metadata_map
    vocabularies = json.loads(properties["vocabularies"])   # {column: [category of id 1, of id 2, ...]}
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sequifier import __version__
from sequifier.artifacts.atomic import atomic_path
from sequifier.config.architecture import Architecture, architecture_from_json
from sequifier.errors import ModelError

if TYPE_CHECKING:
    import onnx

Category = str | int | bool
END_TO_END = "end_to_end"  # the property that only a model that takes raw values has


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
    end_to_end: bool = False  # takes raw values and gives labels and original units


def model_properties(
    architecture: Architecture,
    *,
    vocabularies: Mapping[str, Sequence[Category]],
    statistics: Mapping[str, Mapping[Any, float]],
    data: Mapping[str, Any],
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
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
    }
    return {"sequifier_version": __version__} | {key: _json(value) for key, value in content.items()}


def add_properties(model: "onnx.ModelProto", properties: Mapping[str, str]) -> None:
    """Put properties into a model that is not written yet."""
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)


def write_model(path: Path, model: "onnx.ModelProto") -> None:
    """Write an ONNX file; it appears whole or not at all.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def read_model_file(path: Path) -> ModelFile:
    """Read what a model says about itself; its weights are not used.

    Raises:
        ModelError: the file is missing, damaged, or was not exported by Sequifier.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot read the model: {error.strerror}", where=str(path)) from error
    except DecodeError as error:
        raise ModelError(
            "this is not an ONNX file, or it is cut off", where=str(path), fix="export or copy the model again"
        ) from error
    properties = {prop.key: prop.value for prop in model.metadata_props}
    if "sequifier_version" not in properties:
        raise ModelError(
            "this ONNX file was not exported by Sequifier, or it is cut off",
            where=str(path),
            fix="give a model from models/ of a project, or export it again",
        )
    return model_file(
        properties,
        inputs=tuple(value.name for value in model.graph.input),
        outputs=tuple(value.name for value in model.graph.output),
        path=path,
    )


def model_file(
    properties: Mapping[str, str], *, inputs: tuple[str, ...], outputs: tuple[str, ...], path: Path
) -> ModelFile:
    """What the properties of a model say.

    Raises:
        ModelError: they are those of another version, or damaged.
    """
    try:
        return ModelFile(
            version=properties["sequifier_version"],
            architecture=architecture_from_json(json.loads(properties["architecture"])),
            **{key: json.loads(properties[key]) for key in _PLAIN},
            inputs=inputs,
            outputs=outputs,
            end_to_end=END_TO_END in properties,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the model's properties cannot be read ({error!r}); it says version {properties['sequifier_version']}, "
            f"this is {__version__}",
            where=str(path),
            fix="export the model again with this version",
        ) from error


_PLAIN = ("columns", "vocabularies", "statistics", "data", "config", "metrics", "parity")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
