"""What a training minimises, and what an evaluation measures: the criterion, scale and rules of each target."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.transforms import Scale
from sequifier.config.catalogue.metric_names import ORDERING_METRICS, split_step
from sequifier.dataset.ranking.candidates import Candidates
from sequifier.metrics.predictions import find_metric
from sequifier.metrics.scoring import Scored
from sequifier.training.labels import Label
from sequifier.training.losses import TargetLoss
from sequifier.training.sampled_softmax import ClassSampler


@dataclass(frozen=True)
class Objective:
    """The training objective: the weighted sum of the criteria of all targets."""

    losses: Mapping[str, TargetLoss]
    weights: Mapping[str, float]  # of every target
    scales: Mapping[str, Scale]  # of every real target, for errors in original units
    ranked_by: str = "val_loss"  # the metric that chooses weights and ranks runs; it is summed by unit too
    candidates: Mapping[str, Candidates] = field(default_factory=dict)  # of the targets in `ranking` of the config
    labels: Mapping[str, Label] = field(default_factory=dict)  # categorical targets that belong to whole sequences
    scored: Mapping[str, Scored] = field(default_factory=dict)  # targets of which some do not count in metrics
    loss_memory_mb: int = 128  # of a target of many classes
    samplers: Mapping[str, ClassSampler] = field(default_factory=dict)  # of the targets with a sampled softmax
    n_steps: int | None = None  # of a horizon, each of which has metrics of its own; None: there is no horizon
    naive: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # of real targets, see `naive_errors`

    def scale(self, target: str) -> Scale:
        """Return how a target is standardised."""
        return self.scales.get(target, Scale())

    @property
    def ranking(self) -> tuple[str, str, int | None] | None:
        """Target, metric and step (from 0, None for all steps) of `ranked_by`; None for val_loss."""
        name, step = split_step(self.ranked_by)
        for target in self.losses:
            metric = name.removeprefix(f"val_{target}_")
            if name != metric and (metric in ORDERING_METRICS or find_metric(metric) is not None):
                return target, metric, None if step is None else step - 1
        return None
