"""Checkpoints: the state that a resumed run restores, in one file that is loaded without running code."""

import re
import shutil
from pathlib import Path
from typing import Any

from sequifier.artifacts import torch_file
from sequifier.artifacts.atomic import atomic_path, sync_folder
from sequifier.errors import ModelError, RunError

FORMAT_VERSION = 1


def epoch_path(folder: Path, model_name: str, epoch: int) -> Path:
    """Return the path of the checkpoint after an epoch."""
    return folder / f"{model_name}-epoch-{epoch}.pt"


def step_path(folder: Path, model_name: str, step: int) -> Path:
    """Return the path of the checkpoint after an optimizer step."""
    return folder / f"{model_name}-step-{step}.pt"


def resume_path(folder: Path, model_name: str) -> Path:
    """Return the path of the checkpoint of an unfinished run, written after each epoch and at each step checkpoint."""
    return folder / f"{model_name}-resume.pt"


def epoch_checkpoints(folder: Path, model_name: str) -> list[tuple[int, Path]]:
    """Return the epoch checkpoints of exactly this name, oldest epoch first; `run-1` does not match `run-10`."""
    return _numbered(folder, model_name, "epoch")


def step_checkpoints(folder: Path, model_name: str) -> list[tuple[int, Path]]:
    """Return the step checkpoints of exactly this name, oldest step first."""
    return _numbered(folder, model_name, "step")


def _numbered(folder: Path, model_name: str, kind: str) -> list[tuple[int, Path]]:
    name = re.compile(re.escape(model_name) + rf"-{kind}-(\d+)\.pt")
    found = [(int(match[1]), path) for path in folder.glob("*.pt") if (match := name.fullmatch(path.name))]
    return sorted(found)


def checkpoints_of(folder: Path, model_name: str) -> list[Path]:
    """Return all checkpoints of exactly this name in the order of writing, the one to resume from last."""
    name = re.compile(re.escape(model_name) + r"-(?:epoch-\d+|step-\d+|resume)\.pt")
    found = [path for path in folder.glob("*.pt") if name.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path == resume_path(folder, model_name), path.stat().st_mtime_ns))


def earlier_folder(folder: Path, model_name: str) -> Path:
    """Return the folder of the checkpoints of the training before the newest one."""
    return folder / "earlier" / model_name


def set_aside(folder: Path, model_name: str) -> None:
    """Move all checkpoints of this name into `earlier_folder`, in place of those there.

    The newest is moved last, and the folder is replaced when it is complete: after a kill the earlier training can
    still be resumed, and the next call completes the move.

    Raises:
        RunError: a file cannot be moved.
    """
    earlier = earlier_folder(folder, model_name)
    moving = earlier.with_name(f".{model_name}.moving")
    paths = checkpoints_of(folder, model_name)
    try:
        if paths:
            moving.mkdir(parents=True, exist_ok=True)
        for path in paths:
            path.replace(moving / path.name)
        if moving.exists():
            if earlier.exists():
                shutil.rmtree(earlier)
            moving.replace(earlier)
            sync_folder(folder)
    except OSError as error:
        raise RunError(
            f"cannot set aside the earlier checkpoints of `{model_name}`: {error.strerror or error}",
            where=str(earlier),
            fix="move them away yourself, or choose another model_name",
        ) from error


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: the file.
        content: tensors and plain values.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    with atomic_path(path) as temporary:
        torch_file.save({"format_version": FORMAT_VERSION, **content}, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        ModelError: the file is missing, damaged, or has another version.
    """
    fix = "remove the file, or start again with --no-resume"
    content = torch_file.load("the checkpoint", path, fix=fix, error=ModelError)
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise ModelError(f"the checkpoint has format {version}, expected {FORMAT_VERSION}", where=str(path), fix=fix)
    return dict(content)
