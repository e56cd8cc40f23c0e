"""The checkpoint from which a run resumes, and the checkpoints that it writes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from sequifier import ARITHMETIC
from sequifier.artifacts.checkpoint import (
    checkpoints_of,
    earlier_folder,
    epoch_checkpoints,
    epoch_path,
    read_checkpoint,
    resume_path,
    set_aside,
    step_checkpoints,
    step_path,
    write_checkpoint,
)
from sequifier.artifacts.read_file import wrap_read_errors
from sequifier.config.fields import MAY_DIFFER_ON_RESUME, run_fields
from sequifier.config.identity import plain
from sequifier.config.train import TrainConfig
from sequifier.errors import ModelError, RunError
from sequifier.training.state import TrainState

Resume = Literal["auto", "always", "matching", "never"]
"""auto: resume an unfinished run, with an error if its config or data differ; always: resume a finished run too, from
its last checkpoint; matching: like auto, but start afresh where they differ; never: start afresh."""


def find_checkpoint(config: TrainConfig, fingerprint: str, folder: Path, resume: Resume) -> dict[str, Any] | None:
    """Return the checkpoint to resume from, or None to start afresh.

    Args:
        config: resolved.
        fingerprint: of the data.
        folder: of the checkpoints.
        resume: when to resume.

    Raises:
        RunError: the checkpoint has another config, other data or another arithmetic; the error lists what differs.
        ModelError: the file is damaged.
    """
    if resume == "never":
        return None
    path = resume_path(folder, config.model_name)
    if path.exists():
        content = read_checkpoint(path)
    else:
        saved = [found[-1][1] for found in _saved(folder, config.model_name) if found] if resume == "always" else []
        if not saved:
            return None
        contents = {path: read_checkpoint(path) for path in saved}
        path, content = max(contents.items(), key=lambda item: _how_far(item[1]))
    with wrap_read_errors("the checkpoint", path, fix="remove it, or start afresh with --no-resume", error=ModelError):
        differing = _differing(content["config"], config.model_dump(mode="json"))
        if content["fingerprint"] != fingerprint:
            differing.append(f"the data ({content['fingerprint']} -> {fingerprint})")
    # Versions that did not store the number had 1. A run must not mix two arithmetics.
    arithmetic = content.get("arithmetic", 1)
    if (differing or arithmetic != ARITHMETIC) and resume == "matching":
        return None
    if differing:
        raise RunError(
            f"the earlier run `{config.model_name}` was started with another config: {'; '.join(differing)}",
            where=str(path),
            fix="undo the change, start afresh with --no-resume, or choose another model_name",
        )
    if arithmetic != ARITHMETIC:
        raise RunError(
            f"the run `{config.model_name}` was started by another version of sequifier, which trains differently "
            f"(arithmetic {arithmetic}, here {ARITHMETIC})",
            where=str(path),
            fix="start afresh with --no-resume, or finish it with the version that started it",
        )
    return content


def begin_afresh(config: TrainConfig, folder: Path, log: Callable[[str], None]) -> None:
    """Set the checkpoints of the earlier training of this name aside: none may be taken for one of the new training.

    Raises:
        RunError: a file cannot be moved.
    """
    if n_files := len(checkpoints_of(folder, config.model_name)):
        earlier = earlier_folder(folder, config.model_name).relative_to(config.root)
        replaced = " and replaces those there" if (config.root / earlier).exists() else ""
        log(f"starts afresh; moves the earlier training's checkpoints ({n_files}) to {earlier}{replaced}")
    set_aside(folder, config.model_name)


def save_checkpoints(
    state: TrainState, config: TrainConfig, fingerprint: str, architecture: Mapping[str, Any], folder: Path
) -> list[Path]:
    """Write the checkpoints that are due, and always the one from which an interrupted run resumes.

    Args:
        state: after an epoch, or after every `checkpoint_interval_steps` steps.
        config: resolved.
        fingerprint: of the data.
        architecture: of the model, as JSON values.
        folder: of the checkpoints.

    Returns:
        The files of this epoch and of this step, which are kept.

    Raises:
        RunError: a file cannot be written.
    """
    spec, progress, name = config.training_spec, state.progress, config.model_name
    content = {
        **state.checkpoint(),
        "config": config.model_dump(mode="json"),
        "fingerprint": fingerprint,
        "arithmetic": ARITHMETIC,
        "architecture": dict(architecture),
    }
    written = []
    is_epoch = progress.steps_in_epoch == 0
    if is_epoch and (progress.epoch % spec.save_interval_epochs == 0 or progress.epoch == spec.epochs):
        written.append(epoch_path(folder, name, progress.epoch))
    if spec.checkpoint_interval_steps is not None and progress.step % spec.checkpoint_interval_steps == 0:
        written.append(step_path(folder, name, progress.step))
    for path in written:
        write_checkpoint(path, content)
    if spec.keep_checkpoints is not None:
        for found, now in zip(_saved(folder, name), (progress.epoch, progress.step), strict=True):
            # A run that was killed before it could resume from a higher number has that number's file already.
            for _, old in [entry for entry in found if entry[0] <= now][: -spec.keep_checkpoints]:
                old.unlink()
    if progress.epoch < spec.epochs:
        write_checkpoint(resume_path(folder, name), content)
    return written


def _saved(folder: Path, name: str) -> tuple[list[tuple[int, Path]], list[tuple[int, Path]]]:
    """Return the checkpoints of epochs and the checkpoints of steps, oldest first."""
    return epoch_checkpoints(folder, name), step_checkpoints(folder, name)


def _how_far(content: Mapping[str, Any]) -> tuple[int, int]:
    return content["progress"]["step"], content["progress"]["epoch"]


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    old, new = _flat(before), _flat(now)
    for field in run_fields():
        # A field of a later version: its default is what there was before it.
        if field.key not in old and not field.info.default_factory_takes_validated_data:
            old[field.key] = plain(field.info.get_default(call_default_factory=True))
    compared = sorted((old.keys() | new.keys()) - MAY_DIFFER_ON_RESUME)
    keys = [key for key in compared if old.get(key) != new.get(key)]
    return [f"{key} ({old.get(key)} -> {new.get(key)})" for key in keys]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    sections = ("model_spec", "training_spec")
    inside = {f"{section}.{key}": value for section in sections for key, value in values[section].items()}
    return {key: value for key, value in values.items() if key not in sections} | inside
