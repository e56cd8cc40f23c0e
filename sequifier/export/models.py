"""The model files that a run leaves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.model_file import model_properties
from sequifier.artifacts.torch_model_file import write_torch_model
from sequifier.config.architecture import Architecture
from sequifier.config.train import TrainConfig
from sequifier.export.end_to_end import export_end_to_end
from sequifier.export.onnx import export_onnx
from sequifier.export.raw_columns import raw_columns
from sequifier.model.transformer import Transformer

EMBEDDING, END_TO_END = "-embedding", "-end-to-end"  # in the names of files
OF_THE_MACHINE = ("windows_per_second", "events_per_second", "peak_memory_bytes")
"""What an epoch's entry says of the machine: no part of a model file."""


@dataclass(frozen=True)
class Exports:
    """Which files a model is written to."""

    predictions: bool
    embedding: bool
    onnx: bool
    pt: bool
    end_to_end: bool

    @classmethod
    def of(cls, config: TrainConfig) -> Self:
        """What a run was asked for."""
        return cls(
            config.export_generative_model,
            config.export_embedding_model,
            config.export_onnx,
            config.export_pt,
            config.export_end_to_end,
        )

    def endings(self) -> list[tuple[str, str]]:
        """(what stands behind `best` or `last`, suffix) of each file."""
        kinds = [kind for kind, wanted in (("", self.predictions), (EMBEDDING, self.embedding)) if wanted]
        formats = [suffix for suffix, wanted in (("onnx", self.onnx), ("pt", self.pt)) if wanted]
        found = [(kind, suffix) for kind in kinds for suffix in formats]
        return found + [(END_TO_END, "onnx")] * self.end_to_end


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
    last_epoch: int | str,
    root: Path,
    exports: Exports | None = None,
) -> dict[str, str]:
    """Write `models/sequifier-[model_name]-{best,last}[-embedding]-[last_epoch].{onnx,pt}` and
    `-{best,last}-end-to-end-[last_epoch].onnx`, as far as they are asked for.

    Versions of the same weights are exported once and copied.

    Args:
        model: takes the weights of each version in turn.
        architecture: its shape.
        versions: what to export.
        config: resolved.
        metadata: vocabularies and statistics to put into the files.
        last_epoch: the last epoch trained; `step-[n]` for weights from within an epoch.
        root: the project's folder.
        exports: what to write; None: what the config asks for.

    Returns:
        What -> path below root: `best_onnx`, `last_onnx`, `best-embedding_onnx`, ...

    Raises:
        ModelError: an exported graph does not compute what torch does, or two of its names collide.
        RunError: a file cannot be written.
    """
    files: dict[str, str] = {}
    written: list[tuple[Version, str, Path]] = []
    seed, endings = config.seed or 0, (exports or Exports.of(config)).endings()
    # Takes a look at every vocabulary, so only where a graph needs it: a search exports after each run.
    columns = raw_columns(architecture, metadata) if (END_TO_END, "onnx") in endings else {}
    with_dropout = config.export_with_dropout and architecture.dropout > 0
    for version in versions:
        model.load_state_dict(version.weights)
        properties = model_properties(
            architecture,
            vocabularies={column: metadata.categories(column) for column in metadata.categorical_columns},
            statistics=metadata.selected_columns_statistics,
            data=metadata.sequifier.model_dump(exclude={"column_hashes", "reading"}),
            config=config.model_dump(mode="json"),
            metrics={"epoch": version.epoch, **finite(version.metrics)},
            reading=metadata.sequifier.reading,
        )
        for kind, suffix in endings:
            name = f"sequifier-{config.model_name}-{version.name}{kind}-{last_epoch}.{suffix}"
            path = root / "models" / name
            same = next((file for other, end, file in written if end == kind + suffix and _same(other, version)), None)
            if same is not None:
                with atomic_path(path) as temporary:
                    temporary.write_bytes(same.read_bytes())
            elif kind == END_TO_END:
                export_end_to_end(
                    path, architecture, model, columns, properties=properties, seed=seed, with_dropout=with_dropout
                )
            elif suffix == "onnx":
                embedding = kind == EMBEDDING
                export_onnx(
                    path,
                    architecture,
                    model,
                    properties=properties,
                    seed=seed,
                    embedding=embedding,
                    with_dropout=with_dropout,
                )
            else:
                write_torch_model(path, version.weights, properties)
            written.append((version, kind + suffix, path))
            files[f"{version.name}{kind}_{suffix}"] = str(path.relative_to(root))
    return files


def _same(one: Version, other: Version) -> bool:
    """Whether two versions have equal weights; of one epoch, they may be those of different steps."""
    pairs = ((value, other.weights[name]) for name, value in one.weights.items())
    return one.epoch == other.epoch and all(torch.equal(value.float(), same.float()) for value, same in pairs)


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among the values that JSON can hold."""
    return {key: value for key, value in values.items() if isinstance(value, (int, float)) and math.isfinite(value)}
