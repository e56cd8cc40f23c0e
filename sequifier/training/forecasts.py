"""Some forecasts of the validation split, beside the truth and the mean of the same season, for pictures.

Shapes: B origins, H steps of the horizon.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sequifier.artifacts.events import Events, is_known, scale_at
from sequifier.artifacts.forecasts import Forecast
from sequifier.artifacts.mapped import MappedEvents
from sequifier.artifacts.transforms import Scale
from sequifier.config.catalogue.distributions import MEDIAN, Q10, Q90
from sequifier.dataset.batches import Split
from sequifier.dataset.gather import stacked_future
from sequifier.dataset.seasons import find_period
from sequifier.model.known_future import Future
from sequifier.model.transformer import Transformer
from sequifier.training.baselines.history import Targets, read
from sequifier.training.baselines.series import SEASONS, seasonal_means
from sequifier.training.losses import DistributionLoss, TargetLoss
from sequifier.training.objective import Objective

MOST = 6
"""Pictures of a target."""

Floats = NDArray[np.float64]


def some_forecasts(
    model: Transformer, train: Events | MappedEvents, split: Split, objective: Objective
) -> Iterator[Forecast]:
    """Yield forecasts of each real target of events, from origins spread evenly over a split.

    Args:
        model: with the weights to predict by; its mode is restored.
        train: the training events, which show the period.
        split: the evaluation split.
        objective: losses and scales of the targets.
    """
    chosen = np.unique(np.linspace(0, len(split) - 1, MOST).astype(np.int64))
    last, first = (rows[chosen].astype(np.int64) for rows in (split.windows.last, split.windows.first))
    origins = Targets(last, first, last - split.seq_length, n_steps=split.horizon)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            batch = split.batch(split.choose(chosen))
            hidden = model(batch.categories, batch.reals, batch.is_event, n_last=1)[:, -1]
            if len(hidden) > len(chosen):  # each target of a window has a history of its own, in random order
                hidden = hidden[torch.from_numpy(np.cumsum(split.n_targets(chosen)) - 1).to(hidden.device)]
            scales = model.window_scales(batch.reals, batch.is_event)
            decoders = model.decoders(hidden, split.targets, scales, _future(split, origins))
    finally:
        model.train(was_training)
    for target, decoder in decoders.items():
        if split.events.columns[target].dtype.kind == "i":
            continue
        with torch.inference_mode():
            levels = _levels(objective.losses[target], decoder.prediction(), split.horizon)
        yield from _of_target(target, train, split, origins, levels, objective.scale(target))


def _future(split: Split, origins: Targets) -> Future | None:
    """Return the known columns at the steps after each origin; None: no column is known there."""
    names, rows = split.columns.known_future, origins.truth_rows
    if not names:
        return None
    known = {name: read(split.events.columns[name], rows).reshape(-1, split.horizon) for name in names}
    return stacked_future(known, split.columns, split.device)


def _of_target(
    target: str,
    train: Events | MappedEvents,
    split: Split,
    origins: Targets,
    levels: dict[str, Floats],
    scale: Scale,
) -> Iterator[Forecast]:
    column, events = split.events.columns[target], split.events
    period = find_period(train, target, split.seq_length) if target in split.columns.real else None
    truth = read(column, origins.truth_rows).reshape(-1, split.horizon)
    seasonal = None
    if period is not None:
        n_periods = min(split.seq_length // period, SEASONS)
        *_, seasonal = seasonal_means(column, origins, read(column, origins.rows - 1), period, n_periods)
    sequence = np.searchsorted(events.offsets, origins.rows - 1, side="right") - 1

    scale = scale_at(scale, target, events.columns, origins.first)

    def original(z: NDArray[Any], number: int) -> list[float | None]:
        here = scale.at(float(scale.mean[number]), float(scale.std[number])) if scale.by_sequence else scale
        values = replace(here, by_sequence=False).original(z.astype(np.float64))
        return [float(value) if known else None for value, known in zip(values, is_known(z), strict=True)]

    for number, row in enumerate(origins.rows.tolist()):
        begin = max(int(origins.first[number]), int(origins.begin[number]))
        yield Forecast(
            target=target,
            sequence=_name(events, int(sequence[number])),
            origin=_position(events, row - 1),
            before=original(np.asarray(column[begin:row]), number),
            truth=original(truth[number], number),
            seasonal=None if seasonal is None else original(seasonal[number], number),
            **{name: original(values[number], number) for name, values in levels.items()},
        )


def _levels(criterion: TargetLoss, prediction: torch.Tensor, horizon: int) -> dict[str, Floats]:
    """Return the forecast, and the ends of its interval where the target has a distribution, (B, H) each, as z."""
    found = {"predicted": prediction}
    if isinstance(criterion, DistributionLoss):
        quantiles = criterion.distribution.quantiles(prediction, criterion.scale)  # (B, H, Q) or (B, Q)
        found = {name: quantiles[..., place] for name, place in (("predicted", MEDIAN), ("low", Q10), ("high", Q90))}
    return {name: values.reshape(-1, horizon).double().cpu().numpy() for name, values in found.items()}


def _name(events: Events | MappedEvents, sequence: int) -> str:
    """Return the id of a sequence; its number where the events are mapped, since ids stay on disk."""
    return str(events.sequence_ids[sequence]) if isinstance(events, Events) else f"sequence {sequence + 1}"


def _position(events: Events | MappedEvents, row: int) -> str:
    """Return the position of a row as a text, an instant to the minute; its number where the events are mapped."""
    position = events.positions[row] if isinstance(events, Events) else row
    if isinstance(position, np.datetime64):
        return str(np.datetime_as_string(position, unit="m")).replace("T", " ").removesuffix(" 00:00")
    return str(position)
