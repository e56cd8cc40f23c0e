"""Reasons to stop a run before its last epoch, as a search sets them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sequifier.training.loop import StopReason
from sequifier.training.state import Progress


@dataclass(frozen=True)
class Limits:
    """When a run must stop before its last epoch.

    Attributes:
        until_epoch: the run is paused after this epoch.
        thresholds: epoch -> the run is pruned after it when its best value so far is worse than this.
    """

    until_epoch: int | None = None
    thresholds: Mapping[int, float] = field(default_factory=dict)

    def reached(self, progress: Progress, direction: str) -> StopReason | None:
        """Return why the run must stop after the epoch that just ended, or None."""
        threshold = self.thresholds.get(progress.epoch)
        if threshold is not None and progress.best_value is not None:
            lead = threshold - progress.best_value
            if (lead if direction == "minimize" else -lead) < 0:
                return "pruned"
        if self.until_epoch is not None and progress.epoch >= self.until_epoch:
            return "paused"
        return None


NO_LIMITS = Limits()
