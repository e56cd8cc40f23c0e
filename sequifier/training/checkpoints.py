"""Which checkpoint a run goes on from, and which it leaves behind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sequifier.artifacts.checkpoint import (
    epoch_checkpoints,
    epoch_path,
    read_checkpoint,
    resume_path,
    write_checkpoint,
)
from sequifier.config.train import TrainConfig
from sequifier.errors import RunError
from sequifier.training.state import TrainState

Resume = Literal["auto", "always", "matching", "never"]
"""auto: go on with a run that did not end, an error if it was another one; always: also from the last checkpoint of a
run that did end; matching: like auto, but begin afresh if it was another one; never: afresh."""

MAY_DIFFER = frozenset(
    {
        "project_root",
        "inference_batch_size",
        "training_spec.epochs",
        "training_spec.max_steps",
        "training_spec.device",
        "training_spec.log_interval",
        "training_spec.save_interval_epochs",
        "training_spec.checkpoint_interval_steps",
        "training_spec.keep_checkpoints",
        "training_spec.eval_interval_steps",
        "training_spec.early_stopping_epochs",
        "training_spec.continue_training",
        "training_spec.num_workers",
        "training_spec.class_share_log_columns",
        "export_generative_model",
        "export_embedding_model",
        "export_onnx",
        "export_pt",
        "export_end_to_end",
        "export_with_dropout",
    }
)
"""What may change between a checkpoint and the run that goes on from it."""


def find_checkpoint(config: TrainConfig, fingerprint: str, folder: Path, resume: Resume) -> dict[str, Any] | None:
    """The checkpoint to go on from, or None to begin afresh; `never` removes the one of an unfinished run.

    Raises:
        RunError: it belongs to a run with another config or other data; the error lists what differs.
        ModelError: the file is damaged.
    """
    path = resume_path(folder, config.model_name)
    if resume == "never":
        path.unlink(missing_ok=True)
        return None
    if not path.exists():
        saved = epoch_checkpoints(folder, config.model_name)
        if resume != "always" or not saved:
            return None
        path = saved[-1][1]
    content = read_checkpoint(path)
    differing = _differing(content["config"], config.model_dump(mode="json"))
    if content["fingerprint"] != fingerprint:
        differing.append(f"the data ({content['fingerprint']} -> {fingerprint})")
    if differing and resume == "matching":
        return None
    if differing:
        raise RunError(
            f"the unfinished run `{config.model_name}` was started with another config: {'; '.join(differing)}",
            where=str(path),
            fix="undo the change, start afresh with --no-resume, or choose another model_name",
        )
    return content


def save_checkpoints(
    state: TrainState, config: TrainConfig, fingerprint: str, architecture: Mapping[str, Any], folder: Path
) -> None:
    """Write the epoch's checkpoint when its turn has come, and always the one that an interrupted run needs.

    Raises:
        RunError: a file cannot be written.
    """
    spec, epoch = config.training_spec, state.progress.epoch
    content = {
        **state.checkpoint(),
        "config": config.model_dump(mode="json"),
        "fingerprint": fingerprint,
        "architecture": dict(architecture),
    }
    if epoch % spec.save_interval_epochs == 0 or epoch == spec.epochs:
        write_checkpoint(epoch_path(folder, config.model_name, epoch), content)
        if spec.keep_checkpoints is not None:
            for _, old in epoch_checkpoints(folder, config.model_name)[: -spec.keep_checkpoints]:
                old.unlink()
    if epoch < spec.epochs:
        write_checkpoint(resume_path(folder, config.model_name), content)


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    old, new = _flat(before), _flat(now)
    keys = sorted(key for key in old.keys() | new.keys() if key not in MAY_DIFFER and old.get(key) != new.get(key))
    return [f"{key} ({old.get(key)} -> {new.get(key)})" for key in keys]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    sections = ("model_spec", "training_spec")
    inside = {f"{section}.{key}": value for section in sections for key, value in values[section].items()}
    return {key: value for key, value in values.items() if key not in sections} | inside
