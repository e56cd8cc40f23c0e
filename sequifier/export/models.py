"""The model files that a run leaves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.model_file import model_properties
from sequifier.config.architecture import Architecture
from sequifier.config.train import TrainConfig
from sequifier.export.onnx import export_onnx
from sequifier.model.transformer import Transformer


@dataclass(frozen=True)
class Version:
    """The weights of one epoch."""

    name: str  # best or last
    weights: Mapping[str, Tensor]
    epoch: int
    metrics: Mapping[str, Any]  # of that epoch


def export_models(
    model: Transformer,
    architecture: Architecture,
    versions: list[Version],
    config: TrainConfig,
    metadata: Metadata,
    *,
    last_epoch: int,
    root: Path,
) -> dict[str, str]:
    """Write `models/sequifier-[model_name]-{best,last}[-embedding]-[last_epoch].{onnx,pt}`, as the config asks.

    Versions of the same epoch are exported once and copied.

    Args:
        model: takes the weights of each version in turn.
        architecture: its shape.
        versions: what to export.
        config: resolved.
        metadata: vocabularies and statistics to put into the files.
        last_epoch: the last epoch trained.
        root: the project's folder.

    Returns:
        What -> path below root: `best_onnx`, `last_onnx`, `best-embedding_onnx`, ...

    Raises:
        ModelError: an exported graph does not compute what torch does.
        RunError: a file cannot be written.
    """
    files: dict[str, str] = {}
    written: dict[tuple[int, str], Path] = {}
    kinds = {"": config.export_generative_model, "-embedding": config.export_embedding_model}
    formats = {"onnx": config.export_onnx, "pt": config.export_pt}
    endings = [(kind, suffix) for kind in kinds for suffix in formats if kinds[kind] and formats[suffix]]
    for version in versions:
        model.load_state_dict(version.weights)
        properties = model_properties(
            architecture,
            vocabularies={column: metadata.categories(column) for column in metadata.categorical_columns},
            statistics=metadata.selected_columns_statistics,
            data=metadata.sequifier.model_dump(exclude={"column_hashes"}),
            config=config.model_dump(mode="json"),
            metrics={"epoch": version.epoch, **finite(version.metrics)},
        )
        for kind, suffix in endings:
            name = f"sequifier-{config.model_name}-{version.name}{kind}-{last_epoch}.{suffix}"
            path = root / "models" / name
            same = written.get((version.epoch, kind + suffix))
            if same is not None:
                with atomic_path(path) as temporary:
                    temporary.write_bytes(same.read_bytes())
            elif suffix == "onnx":
                export_onnx(
                    path, architecture, model, properties=properties, seed=config.seed or 0, embedding=bool(kind)
                )
            else:
                with atomic_path(path) as temporary:
                    torch.save({"weights": dict(version.weights), **properties}, temporary)
            written.setdefault((version.epoch, kind + suffix), path)
            files[f"{version.name}{kind}_{suffix}"] = str(path.relative_to(root))
    return files


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among the values that JSON can hold."""
    return {key: value for key, value in values.items() if isinstance(value, (int, float)) and math.isfinite(value)}
