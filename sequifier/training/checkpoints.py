"""The checkpoint from which a run resumes, and the checkpoints that it writes."""

from collections.abc import Callable, Mapping, Set
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
from sequifier.config.fields import COUNTED, MAY_DIFFER_ON_RESUME, run_fields
from sequifier.config.identity import plain
from sequifier.config.train import TrainConfig
from sequifier.errors import ModelError, RunError
from sequifier.training.state import Progress, TrainState

Resume = Literal["auto", "always", "matching", "never"]
"""auto: resume an unfinished run, with an error if its config or data differ; always: resume a finished run too, from
its last checkpoint; matching: like always, but start afresh where they differ, also in `epochs` and whatever else may
differ in the others: the run has the result that it would have had undisturbed; never: start afresh."""


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
    content = read_checkpoint(path) if path.exists() else None
    if resume != "auto":
        for count, found in zip(("epoch", "step"), _saved(folder, config.model_name), strict=True):
            if found and (content is None or found[-1][0] > content["progress"][count]):
                path = found[-1][1]
                content = read_checkpoint(path)
    if content is None:
        return None
    with wrap_read_errors("the checkpoint", path, fix="remove it, or start afresh with --no-resume", error=ModelError):
        may_differ = MAY_DIFFER_ON_RESUME - (set(COUNTED) if resume == "matching" else set())
        differing = _differing(content["config"], config.model_dump(mode="json"), may_differ)
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
            f"the run `{config.model_name}` was started by another version of sequifier, which trains or measures "
            f"differently (arithmetic {arithmetic}, here {ARITHMETIC})",
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
    _remove_old(config, progress, folder)
    if progress.epoch < spec.epochs:
        write_checkpoint(resume_path(folder, name), content)
    return written


def close_checkpoints(config: TrainConfig, progress: Progress, folder: Path) -> None:
    """Turn the checkpoint from which an interrupted run resumes into one of its last epoch, where that has none.

    A run that has ended then resumes at its end: a search needs that when it dies before the run's result is in its
    ledger. `sequifier export` reads the checkpoint too.
    """
    path, last = resume_path(folder, config.model_name), epoch_path(folder, config.model_name, progress.epoch)
    # A run that diverged may have saved a step since its last epoch.
    ended = progress.history[-1]["step"] if progress.history else 0
    newer = [step for step, _ in step_checkpoints(folder, config.model_name) if step > ended]
    if last.exists() or newer or not progress.epoch:
        path.unlink(missing_ok=True)
    elif path.exists():
        path.replace(last)
        _remove_old(config, progress, folder)


def _remove_old(config: TrainConfig, progress: Progress, folder: Path) -> None:
    """Remove the checkpoints that `keep_checkpoints` does not keep."""
    n_kept = config.training_spec.keep_checkpoints
    if n_kept is None:
        return
    for found, now in zip(_saved(folder, config.model_name), (progress.epoch, progress.step), strict=True):
        # A run that was killed before it could resume from a higher number has that number's file already.
        for _, old in [entry for entry in found if entry[0] <= now][:-n_kept]:
            old.unlink()


def _saved(folder: Path, name: str) -> tuple[list[tuple[int, Path]], list[tuple[int, Path]]]:
    """Return the checkpoints of epochs and the checkpoints of steps, oldest first."""
    return epoch_checkpoints(folder, name), step_checkpoints(folder, name)


def _differing(before: Mapping[str, Any], now: Mapping[str, Any], may_differ: Set[str]) -> list[str]:
    old, new = _flat(before), _flat(now)
    for field in run_fields():
        # A field of a later version: its default is what there was before it.
        if field.key not in old and not field.info.default_factory_takes_validated_data:
            old[field.key] = plain(field.info.get_default(call_default_factory=True))
    compared = sorted((old.keys() | new.keys()) - may_differ)
    keys = [key for key in compared if old.get(key) != new.get(key)]
    return [f"{key} ({old.get(key)} -> {new.get(key)})" for key in keys]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    sections = ("model_spec", "training_spec")
    inside = {f"{section}.{key}": value for section in sections for key, value in values[section].items()}
    return {key: value for key, value in values.items() if key not in sections} | inside
