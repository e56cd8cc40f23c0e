"""Targets that belong to whole sequences: their classes, and the sums of their evaluation that need all predictions.

Shapes: M predictions, K known classes, G groups of sampling units.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sequifier.artifacts.metadata import Metadata
from sequifier.config.base import category_text
from sequifier.config.catalogue.metric_names import MOST_ORDERED, ORDERING_METRICS
from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Split
from sequifier.errors import ConfigError, Problem
from sequifier.metrics.ordering import Ordering
from sequifier.metrics.predictions import ClassPredictions

Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Label:
    """A categorical target that belongs to whole sequences.

    Attributes:
        positive: the class of `average_precision`, 0 to K - 1.
        by_length: whether it is predicted from prefixes, whose lengths are compared separately.
    """

    positive: int
    by_length: bool


class LabelPredictions:
    """The predictions of a label, part by part; they stay on their device, since reading one waits for it."""

    def __init__(self, label: Label) -> None:
        self._label = label
        self._parts: list[list[Tensor]] = []
        self._lengths: list[Integers] = []

    def add(self, found: ClassPredictions, unit: Tensor, known: Tensor | None, length: Integers | None) -> None:
        """Add predictions; the arguments are those of `Tally.add`."""
        assert found.probabilities is not None
        if found.n_classes > MOST_ORDERED:
            return
        if known is None:
            known = torch.ones(len(unit), dtype=torch.bool, device=unit.device)
        self._parts.append([found.probabilities, found.truth, unit, known])
        if self._label.by_length:
            assert length is not None
            self._lengths.append(length)

    def ordering(self) -> tuple[Ordering, Integers] | None:
        """Return all predictions and their sampling units; None where they were too wide to keep."""
        if not self._parts:
            return None
        probabilities, truth, unit, known = (
            torch.cat(column).cpu().numpy() for column in zip(*self._parts, strict=True)
        )
        length = np.concatenate(self._lengths)[known] if self._lengths else None
        return Ordering(probabilities[known], truth[known], self._label.positive, length), unit[known]


def without_each_group(ordering: Ordering, unit: Integers, name: str, n_units: int, n_groups: int) -> list[float]:
    """Return a metric without each of the groups of sampling units, NaN where it then has no value."""
    group = unit * n_groups // n_units
    return [ordering.metrics(group != number).get(name, float("nan")) for number in range(n_groups)]


def positive_classes(config: TrainConfig, train: Split, metadata: Metadata) -> dict[str, str]:
    """Return the class of `average_precision` of each label: of the config, else the rarest of the training targets."""
    found = {}
    for target in config.target_positions:
        if target in config.positive_class:
            found[target] = config.positive_class[target]
        elif target in metadata.n_classes:
            counts = train.of(target).n_targets_of_class(target, metadata.n_classes[target])[1:]
            rarest = min(np.flatnonzero(counts).tolist(), key=lambda number: (counts[number], -number))
            found[target] = category_text(metadata.categories(target)[rarest])
    return found


def build_labels(config: TrainConfig, metadata: Metadata) -> dict[str, Label]:
    """Return the labels of a config, in which the positive class of each one is named."""
    return {
        target: Label(metadata.id_maps[target][name] - 1, config.target_positions[target] == "every")
        for target, name in config.positive_class.items()
    }


def missing_metrics(labels: Mapping[str, Label], valid: Split, metric: str | None) -> list[str]:
    """Return warnings of metrics that have no value, because too few classes occur in the validation split.

    Args:
        labels: the labels.
        valid: the validation split.
        metric: the metric that ranks runs; None: it may be missing.

    Raises:
        ConfigError: `metric` is one of them.
    """
    warnings = []
    for target, label in labels.items():
        part = valid.of(target)
        windows = part.windows.in_int64()
        truth = np.asarray(part.events.columns[target][windows.last.astype(np.int64)])
        known = np.flatnonzero(truth)
        truth, length = truth[known] - 1, None
        if label.by_length:
            length = (windows.last - windows.first + 1)[known]
        flat = np.ones((len(truth), max(int(truth.max(initial=0)), label.positive) + 1))
        values = Ordering(flat, truth, label.positive, length).metrics()
        missing = [f"val_{target}_{name}" for name in ORDERING_METRICS if name not in values]
        where = " of any one length" if label.by_length and len(np.unique(truth)) > 1 else ""
        reason = f"the validation sequences{where} have one class of `{target}`"
        if len(np.unique(truth)) > 1 and not where:
            reason = f"the positive class of `{target}` does not occur in the validation split"
        if metric in missing:
            raise ConfigError(
                [Problem("metric", f"{metric} has no value: {reason}", fix="another metric, or another split")]
            )
        if missing:
            warnings.append(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} null: {reason}")
    return warnings
