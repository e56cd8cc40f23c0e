"""Reading a checkpoint of a finished, pruned or interrupted run, to export a model from it.

A checkpoint has weights, config and shape. Vocabularies and statistics are in the metadata of the data, which must be
the data of the training.
"""

import glob
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from sequifier.artifacts.checkpoint import (
    checkpoints_of,
    earlier_folder,
    epoch_checkpoints,
    read_checkpoint,
    resume_path,
    step_checkpoints,
)
from sequifier.artifacts.metadata import Metadata, find_metadata, read_metadata
from sequifier.config.architecture import Architecture, architecture
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, ModelError, RunError, did_you_mean
from sequifier.export.models import OF_THE_MACHINE, Exports, Version


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, with the metadata of its data.

    Attributes:
        path: the file.
        content: as it was written.
        root: the project's folder.
        config: the run's config, resolved.
        metadata: metadata of the training data.
        architecture: shape of the model.
    """

    path: Path
    content: Mapping[str, Any]
    root: Path
    config: TrainConfig
    metadata: Metadata
    architecture: Architecture

    @property
    def ending(self) -> int | str:
        """The end of a model's file name: the last epoch trained, or `step-[n]` for a checkpoint within an epoch."""
        progress = self.content["progress"]
        return f"step-{progress['step']}" if progress["steps_in_epoch"] else int(progress["epoch"])

    def versions(self, last_weights: Mapping[str, Tensor]) -> list[Version]:
        """Return the best weights, where an evaluation found some, and the last ones, where they are finite.

        Args:
            last_weights: weights of the checkpoint, as an evaluation uses them.

        Raises:
            ModelError: there are neither.
        """
        progress, found = self.content["progress"], []
        if self.content["best_weights"] is not None:
            best = Version("best", self.content["best_weights"], progress["best_epoch"], progress["best_metrics"])
            found.append(best)
        if all(bool(torch.isfinite(weight).all()) for weight in last_weights.values()):
            is_within = progress["steps_in_epoch"] > 0
            entries = progress["evaluations" if is_within else "history"]
            of_now = [entry for entry in entries if entry["step"] == progress["step"]][-1:]
            metrics = {key: value for entry in of_now for key, value in entry.items() if key not in OF_THE_MACHINE}
            found.append(Version("last", last_weights, progress["epoch"] + is_within, metrics))
        if not found:
            raise ModelError(
                "the weights are not finite, and no earlier evaluation saved weights that are",
                where=str(self.path),
                fix="the run diverged: train it with a smaller learning rate",
            )
        return found


def open_checkpoint(source: str, project_root: str | None, exports: Exports) -> Checkpoint:
    """Find and read a checkpoint with its metadata.

    Args:
        source: the path of a checkpoint, or the name of a run: the checkpoint with which an unfinished run resumes,
            else the one after the most steps.
        project_root: None for the folder above the folder of checkpoints, or the working folder.
        exports: the files to write, which decide which names must not collide.

    Raises:
        RunError: there is no such run or checkpoint, or the data were preprocessed again since.
        ModelError: the file is not a checkpoint, or is damaged.
        ConfigError: names of columns and outputs collide.
    """
    path = _find(source, Path(project_root or ".").expanduser())
    is_earlier = path.parts[-4:-2] == ("checkpoints", "earlier")
    root = Path(project_root).expanduser() if project_root else path.parents[3 if is_earlier else 1]
    content = _read(path)
    given = content["config"]
    try:
        config = TrainConfig.model_validate({**given, "project_root": str(root)})
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(
            f"the checkpoint's config is not valid in this version: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=str(path),
            fix="export it with the version of Sequifier that trained it",
        ) from error
    metadata = _metadata_of(config, content["fingerprint"], path)
    config = config.model_copy(update={"project_root": given["project_root"]})
    wanted = {
        "export_embedding_model": exports.embedding,
        "export_end_to_end": exports.end_to_end,
        "export_top_k": (exports.top_k or config.export_top_k) if exports.end_to_end else None,
    }
    shape = architecture(config.model_copy(update=wanted), metadata)
    return Checkpoint(path, content, root, config, metadata, shape)


def _find(source: str, root: Path) -> Path:
    path = Path(source).expanduser()
    if path.suffix == ".pt" or path.is_file():
        if path.is_file():
            return path.absolute()
        siblings = [other.name for other in path.parent.glob("*.pt")] if path.parent.is_dir() else []
        raise RunError(
            "there is no such checkpoint", where=str(path), fix=did_you_mean(path.name, siblings) if siblings else ""
        )
    folder = root.absolute() / "checkpoints"
    unfinished = resume_path(folder, source)
    if unfinished.is_file():
        return unfinished
    saved = [found[-1][1] for found in (epoch_checkpoints(folder, source), step_checkpoints(folder, source)) if found]
    if not saved:
        raise _no_checkpoint(source, root, folder)
    return max(saved, key=lambda path: int(_read(path)["progress"]["step"])) if len(saved) > 1 else saved[0]


def _no_checkpoint(name: str, root: Path, folder: Path) -> RunError:
    known = sorted({*_runs(folder)})
    if (root / "logs" / name / "ledger.jsonl").is_file():
        runs = [run for run in known if re.fullmatch(re.escape(name) + r"-run-\d+", run)]
        which = ", ".join(runs[:5]) if runs else "none of its runs has a checkpoint"
        return RunError(f"`{name}` is a search, not a run", where=str(folder), fix=f"name one of its runs: {which}")
    models = sorted(path.name for path in (root / "models").glob(f"sequifier-{glob.escape(name)}-best-*"))
    left = f"; it has models: {', '.join(models)}" if models else ""
    if checkpoints_of(earlier_folder(folder, name), name):
        left += f"; an earlier training's are in checkpoints/earlier/{name}"
    if known:
        fix = did_you_mean(name, known)
    elif (root / "logs" / name).is_dir():
        fix = "train it again, and do not remove checkpoints/"
    else:
        fix = "train it first, or run this in the folder of its project"
    return RunError(f"the run `{name}` has no checkpoint{left}", where=str(folder), fix=fix)


def _runs(folder: Path) -> Iterator[str]:
    for path in folder.glob("*.pt"):
        if match := re.fullmatch(r"(.+)-(?:epoch-\d+|step-\d+|resume)\.pt", path.name):
            yield match[1]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_checkpoint(path)
    except ModelError as error:
        raise ModelError(error.what, where=error.where, fix="name another file in checkpoints/") from error
    if missing := {"model", "config", "fingerprint", "progress", "best_weights"} - set(content):
        raise ModelError(f"the checkpoint lacks {', '.join(sorted(missing))}", where=str(path))
    return content


def _metadata_of(config: TrainConfig, fingerprint: str, path: Path) -> Metadata:
    """Read the vocabularies and statistics of the data that the run was trained on."""
    given = config.metadata_config_path
    try:
        place = find_metadata(given, config.project_root)
    except ConfigError as error:
        raise RunError(
            f"the metadata of the run's training data, {given}, is not in {config.project_root}",
            where=str(path),
            fix="preprocess the same data again, or name the project's folder with --project-root",
        ) from error
    metadata = read_metadata(place)
    if metadata.fingerprint != fingerprint:
        raise RunError(
            f"the data were preprocessed again after the training: the run was trained on {fingerprint}, {given} "
            f"describes {metadata.fingerprint}, so ids and units may have changed",
            where=str(path),
            fix="preprocess the original data again, with the config of that time",
        )
    return metadata
