"""The model files of a run."""

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
from sequifier.errors import ModelError
from sequifier.export.end_to_end import export_end_to_end
from sequifier.export.onnx import export_onnx
from sequifier.export.raw_columns import RawColumn, raw_columns
from sequifier.export.top_labels import Top
from sequifier.model.transformer import Transformer

EMBEDDING, END_TO_END = "-embedding", "-end-to-end"  # in the names of files
OF_THE_MACHINE = ("windows_per_second", "events_per_second", "peak_memory_bytes")
"""Fields of an epoch's entry that depend on the machine: not stored in a model file."""


@dataclass(frozen=True)
class Exports:
    """Which kinds and formats of files are written."""

    predictions: bool
    embedding: bool
    onnx: bool
    pt: bool
    end_to_end: bool
    top_k: int | None = None  # of the end-to-end model; None: the config's

    @classmethod
    def of(cls, config: TrainConfig) -> Self:
        """Return the exports that a config requests."""
        return cls(
            config.export_generative_model,
            config.export_embedding_model,
            config.export_onnx,
            config.export_pt,
            config.export_end_to_end,
        )

    def endings(self) -> list[tuple[str, str]]:
        """Return (part of the name after `best` or `last`, suffix) of each file."""
        kinds = [kind for kind, wanted in (("", self.predictions), (EMBEDDING, self.embedding)) if wanted]
        formats = [suffix for suffix, wanted in (("onnx", self.onnx), ("pt", self.pt)) if wanted]
        found = [(kind, suffix) for kind in kinds for suffix in formats]
        return found + [(END_TO_END, "onnx")] * self.end_to_end


@dataclass(frozen=True)
class Version:
    """Weights of one epoch, the best or the last one."""

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
    """Write the model files that are requested.

    They are `models/sequifier-[model_name]-{best,last}[-embedding]-[last_epoch].{onnx,pt}` and
    `-{best,last}-end-to-end-[last_epoch].onnx`. Versions of the same weights are exported once and copied.

    Args:
        model: the weights of each version are loaded into it in turn.
        architecture: its shape.
        versions: the weights to export.
        config: resolved.
        metadata: vocabularies and statistics, which are stored in the files.
        last_epoch: the last epoch trained; `step-[n]` for weights from within an epoch.
        root: the project's folder.
        exports: the files to write; None: those that the config requests.

    Returns:
        Kind of file -> path below root: `best_onnx`, `last_onnx`, `best-embedding_onnx`, ...

    Raises:
        ModelError: an exported graph does not compute what torch does, or two of its names collide.
        RunError: a file cannot be written.
    """
    files: dict[str, str] = {}
    written: list[tuple[Version, str, Path]] = []
    endings = (exports or Exports.of(config)).endings()
    writer = _Writer(
        model,
        architecture,
        config,
        metadata,
        top=Top.of(config, exports.top_k if exports else None),
        # This reads every vocabulary, so only a graph that needs it pays: a search exports after each run.
        columns=_columns(architecture, metadata) if (END_TO_END, "onnx") in endings else {},
    )
    for version in versions:
        model.load_state_dict(version.weights)
        properties = model_properties(
            architecture,
            vocabularies={column: metadata.categories(column) for column in metadata.categorical_columns},
            statistics=metadata.selected_columns_statistics,
            distributions=_statistics_of_distributions(architecture, version.weights),
            data=metadata.sequifier.model_dump(exclude={"column_hashes", "reading", *metadata.sequifier.unused_keys}),
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
            else:
                writer.write(path, kind, version.weights, properties)
            written.append((version, kind + suffix, path))
            files[f"{version.name}{kind}_{suffix}"] = str(path.relative_to(root))
    return files


@dataclass(frozen=True)
class _Writer:
    """Writes files of a model that has the weights of one version after another; arguments as of `export_models`."""

    model: Transformer
    architecture: Architecture
    config: TrainConfig
    metadata: Metadata
    top: Top
    columns: Mapping[str, RawColumn]  # of the graph that takes raw values; empty where it is not written

    def write(self, path: Path, kind: str, weights: Mapping[str, Tensor], properties: Mapping[str, str]) -> None:
        """Write one file; its ending is its format."""
        shape, seed = self.architecture, self.config.seed or 0
        with_dropout = self.config.export_with_dropout and shape.dropout > 0
        if path.suffix == ".pt":
            write_torch_model(path, weights, properties)
        elif kind == END_TO_END:
            export_end_to_end(
                path,
                shape,
                self.model,
                self.columns,
                properties=properties,
                seed=seed,
                with_dropout=with_dropout,
                top=self.top,
                times=self.metadata.sequifier,
            )
        else:
            export_onnx(
                path,
                shape,
                self.model,
                properties=properties,
                column_scales={t.name: self.metadata.scale(t.name) for t in shape.targets if t.kind == "real"},
                seed=seed,
                embedding=kind == EMBEDDING,
                with_dropout=with_dropout,
            )


def _columns(architecture: Architecture, metadata: Metadata) -> dict[str, RawColumn]:
    """Return the columns of the graph that takes raw values.

    Raises:
        ModelError: a column is standardised by sequence.
    """
    columns = raw_columns(architecture, metadata)
    if by_sequence := [name for name in columns if name in metadata.by_sequence]:
        raise ModelError(
            f"a model that takes raw values sees a window, not the sequence, by which {', '.join(by_sequence)} are "
            "standardised",
            fix="use `sequifier infer`, or preprocess with standardize: global",
        )
    return columns


def _statistics_of_distributions(shape: Architecture, weights: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Return what the distribution of each target needs of the training split, where it needs something."""
    names = {target.name: f"heads.linear.{index}.statistics" for index, target in enumerate(shape.targets)}
    return {target: weights[name].double().tolist() for target, name in names.items() if name in weights}


def _same(one: Version, other: Version) -> bool:
    """Whether two versions have equal weights. One epoch may have weights of different steps."""
    pairs = ((value, other.weights[name]) for name, value in one.weights.items())
    return one.epoch == other.epoch and all(torch.equal(value.float(), same.float()) for value, same in pairs)


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers among the values: JSON has no others."""
    return {key: value for key, value in values.items() if isinstance(value, (int, float)) and math.isfinite(value)}
