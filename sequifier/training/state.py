"""Everything that a resumed run restores: N epochs equal k epochs, a restart, and N - k more."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sequifier.model.transformer import Transformer
from sequifier.training.schedules import Schedule


@dataclass
class Progress:
    """How far a run has come."""

    epoch: int = 0  # finished epochs
    step: int = 0  # optimizer steps
    best_epoch: int = 0  # 0: none yet
    best_value: float | None = None  # of the metric
    best_metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry per epoch, as in metrics.jsonl


@dataclass
class TrainState:
    """A run in progress."""

    model: Transformer
    optimizer: Optimizer
    schedule: Schedule
    progress: Progress = field(default_factory=Progress)
    best_weights: dict[str, Tensor] | None = None
    best_sequences: tuple[Tensor, Tensor] | None = None  # loss and targets of each validation sequence

    def weights(self) -> dict[str, Tensor]:
        """A copy of the model's weights on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.model.state_dict().items()}

    def checkpoint(self) -> dict[str, Any]:
        """The state as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "progress": asdict(self.progress),
            "best_weights": self.best_weights,
            "best_sequences": self.best_sequences,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Go back to the state that `checkpoint` saved, the random numbers included."""
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        self.progress = Progress(**content["progress"])
        self.best_weights = content["best_weights"]
        self.best_sequences = content["best_sequences"]
        torch.set_rng_state(content["random"])
        if content["random_cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(content["random_cuda"])
