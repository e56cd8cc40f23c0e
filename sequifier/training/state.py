"""The state that a resumed run restores: N steps equal k steps, a restart and N - k steps."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sequifier.artifacts.sequence_losses import Units
from sequifier.metrics.ordering import ByLength
from sequifier.model.transformer import Transformer
from sequifier.training.precision import Precision
from sequifier.training.schedules import Schedule


@dataclass
class Progress:
    """The progress of a run: counts, history and the best evaluation."""

    epoch: int = 0  # finished epochs
    step: int = 0  # optimizer steps
    best_epoch: int = 0  # the epoch, from 1, in or after which the best evaluation was; 0: none yet
    best_step: int = 0  # optimizer steps at the best evaluation
    best_value: float | None = None  # of the metric
    best_metrics: dict[str, float] = field(default_factory=dict)
    best_by_length: dict[str, ByLength] = field(default_factory=dict)  # see Evaluation.by_length
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry per epoch, as in metrics.jsonl
    evaluations: list[dict[str, Any]] = field(default_factory=list)  # those within epochs, as in metrics.jsonl
    # Of the running epoch; all are 0 between epochs:
    steps_in_epoch: int = 0
    windows: int = 0
    positions: int = 0  # target positions
    training_seconds: float = 0.0

    @property
    def running_epoch(self) -> int:
        """The epoch of the last step, from 1."""
        return self.epoch + (self.steps_in_epoch > 0)

    def entries(self) -> list[dict[str, Any]]:
        """Return all evaluations in the order of their steps."""
        return sorted([*self.history, *self.evaluations], key=lambda entry: entry["step"])

    def throughput(self) -> dict[str, float]:
        """Return windows and events per second of training, over all finished epochs."""
        seconds = sum(entry["seconds"]["training"] for entry in self.history)
        return {
            key: sum(entry[key] * entry["seconds"]["training"] for entry in self.history) / seconds
            for key in ("windows_per_second", "events_per_second")
            if seconds and all(key in entry for entry in self.history)
        }


@dataclass
class TrainState:
    """A run in progress: model, optimizer, schedule and progress."""

    model: Transformer
    optimizer: Optimizer
    schedule: Schedule
    precision: Precision = field(default_factory=Precision)
    progress: Progress = field(default_factory=Progress)
    best_weights: dict[str, Tensor] | None = None
    best_units: dict[str, Units] | None = None  # val_loss and the metric that ranks, by sampling unit
    # Loss of the running epoch, summed over its target positions, float64 on `sums_device`.
    epoch_loss: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def begin_epoch(self) -> None:
        """Count the running epoch as finished."""
        progress = self.progress
        progress.epoch += 1
        progress.steps_in_epoch, progress.windows, progress.positions, progress.training_seconds = 0, 0, 0, 0.0
        self.epoch_loss = torch.zeros_like(self.epoch_loss)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the model's weights on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.model.state_dict().items()}

    def checkpoint(self) -> dict[str, Any]:
        """Return the state as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": None if self.precision.scaler is None else self.precision.scaler.state_dict(),
            "progress": asdict(self.progress),
            "best_weights": self.best_weights,
            "best_sequences": None if self.best_units is None else _as_tensors(self.best_units),
            "epoch_loss": self.epoch_loss,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Restore the state that `checkpoint` returned, random generators included."""
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        if self.precision.scaler is not None and content.get("scaler") is not None:
            self.precision.scaler.load_state_dict(content["scaler"])
        self.progress = Progress(**content["progress"])
        self.best_weights = content["best_weights"]
        self.best_units = None if content["best_sequences"] is None else _as_units(content["best_sequences"])
        self.epoch_loss = content.get("epoch_loss", self.epoch_loss)  # a checkpoint after an epoch may lack it
        torch.set_rng_state(content["random"])
        if content["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(content["random_cuda"], self.device)


def _as_tensors(sums: dict[str, Units]) -> dict[str, dict[str, Any]]:
    return {
        metric: {"total": torch.from_numpy(units.total), "count": torch.from_numpy(units.count), "by": units.by}
        for metric, units in sums.items()
    }


def _as_units(content: Any) -> dict[str, Units]:
    """Read the sums of a checkpoint; older checkpoints hold losses and numbers of targets of sequences."""
    if not isinstance(content, dict):
        loss, targets = content
        content = {"val_loss": {"total": loss, "count": targets, "by": "sequences"}}
    return {
        metric: Units(held["total"].double().numpy(), held["count"].double().numpy(), held["by"])
        for metric, held in content.items()
    }
