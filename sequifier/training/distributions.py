"""What the distribution of a real target needs of the training split, before the first step."""

from collections.abc import Mapping

import numpy as np
import torch

from sequifier.artifacts.events import POSITION, Events, is_known
from sequifier.artifacts.mapped import MappedEvents
from sequifier.artifacts.time_rules import NO_TIMES, DerivedColumn, TimeRules
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Architecture, Target
from sequifier.config.train import TargetPosition
from sequifier.errors import ConfigError, Problem
from sequifier.model.distributions.forms import stored_values
from sequifier.model.transformer import Transformer
from sequifier.training.baselines.history import Rows, read, training_labels, training_targets
from sequifier.training.losses import DistributionLoss

_GAP = DerivedColumn(POSITION, "gap").name
_ENOUGH = 1 << 20
"""Training targets from which statistics are computed; of more, blocks spread evenly over the split are used."""


def distribution_losses(
    model: Transformer,
    shape: Architecture,
    events: Events | MappedEvents,
    scales: Mapping[str, Scale],
    positions: Mapping[str, TargetPosition],
    time: TimeRules = NO_TIMES,
) -> dict[str, DistributionLoss]:
    """Return the loss of each target with a distribution, and store in the model what the distributions need.

    Args:
        model: its heads are changed.
        shape: of the model.
        events: the training events.
        scales: of the real targets.
        positions: target of whole sequences -> the events from which it is predicted.
        time: of the data.

    Raises:
        ConfigError: a target with a distribution of positive values has a negative one.
    """
    losses, problems = {}, []
    for target in shape.targets:
        head = model.heads.distribution_head(target.name)
        if head is None:
            continue
        scale, resolution = scales[target.name], 1.0
        if head.distribution.is_positive:
            rows = _truth_rows(events, target, shape.seq_length, positions)
            z = read(events.columns[target.name], rows)
            rows, z = rows[is_known(z)], z[is_known(z)].astype(np.float64)
            values = stored_values(z, scale)
            if (values < 0).any():
                problems.append(_negative(target, events, int(rows[values < 0][0]), float(values.min())))
                continue
            values = values[values > 0]
            if not len(values):
                what = f"`{target.name}` is never above 0 in the training split, and {target.distribution} is for that"
                problems.append(Problem(f"model_spec.distribution.{target.name}", what, fix="write quantiles"))
                continue
            statistics = head.distribution.form.statistics(values)
            if target.name == _GAP and time.time_resolution is not None:
                statistics[-1] = time.time_resolution * scale.unit
            resolution = float(statistics[-1])
            assert head.statistics is not None
            head.statistics.copy_(torch.from_numpy(statistics))
        per_sequence = _events_per_sequence(events, time) if target.name in time.open_columns else 0.0
        losses[target.name] = DistributionLoss(head.distribution, scale, resolution, per_sequence)
    if problems:
        raise ConfigError(problems)
    return losses


def _events_per_sequence(events: Events | MappedEvents, time: TimeRules) -> float:
    """Return the mean number of events of a training sequence, without START and the end of observation."""
    n_rows = np.diff(np.asarray(events.offsets)) - np.asarray(events.n_context)
    return float(n_rows.mean()) - time.has_start - time.has_end


def _truth_rows(
    events: Events | MappedEvents, target: Target, seq_length: int, positions: Mapping[str, TargetPosition]
) -> Rows:
    if target.of_sequence:
        every = positions[target.name] == "every"
        return training_labels(events, target.name, seq_length, every=every, at_most=_ENOUGH).truth_rows
    return training_targets(events, seq_length, at_most=_ENOUGH).truth_rows


def _negative(target: Target, events: Events | MappedEvents, row: int, value: float) -> Problem:
    sequence = int(np.searchsorted(events.offsets, row, side="right")) - 1
    where = f"event {row - int(events.offsets[sequence]) + 1} of sequence {sequence + 1} of the training split"
    if isinstance(events, Events):
        where = f"sequenceId={events.sequence_ids[sequence]} itemPosition={events.positions[row]}"
    return Problem(
        f"model_spec.distribution.{target.name}",
        f"`{target.name}` has negative values, down to {value:.6g} (first: {where}), and {target.distribution} is for "
        "values above 0",
        fix="write quantiles, or correct the rows and preprocess again",
    )
