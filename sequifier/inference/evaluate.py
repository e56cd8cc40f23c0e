"""Predictions of an exported model, compared with the truth as the metrics need it.

Shapes: M predicted events of a part, K known classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Target
from sequifier.config.catalogue.metric_names import MOST_ORDERED
from sequifier.metrics.ordering import Ordering
from sequifier.metrics.predictions import ClassPredictions, ValuePredictions, distribution_predictions
from sequifier.model.distributions.forms import FORMS

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Ends:
    """What the likelihood of whole sequences needs of their observed ends.

    Attributes:
        is_open: whether the true values are the times from the last events to the ends, which are only lower bounds.
        expected_events: mean number of events of a training sequence.
    """

    is_open: bool
    expected_events: float


def class_predictions(
    ids: NDArray[np.integer],
    probabilities: NDArray[np.float32],
    truth: NDArray[np.integer],
    *,
    of_sequence: bool = False,
) -> ClassPredictions:
    """Return the predictions of a categorical target.

    A prediction may have been drawn, so neither the rank of the true class nor the confidence is part of it.

    Args:
        ids: (M,) predicted ids, 1 to K.
        probabilities: (M, K + 1) of ids 0 to K.
        truth: (M,) true ids, known ones.
        of_sequence: whether the target belongs to whole sequences.
    """
    tiny = np.finfo(np.float32).tiny  # a float32 softmax may round a small probability to 0
    of_truth = np.maximum(probabilities[np.arange(len(truth)), truth].astype(np.float64), tiny)
    return ClassPredictions(
        n_classes=probabilities.shape[1] - 1,
        truth=truth - 1,
        predicted=ids - 1,
        hit=(ids == truth).astype(np.float64),
        log_loss=-np.log(of_truth),
        probabilities=probabilities[:, 1:] if of_sequence else None,
    )


def value_predictions(
    values: NDArray[np.floating[Any]],
    truth: NDArray[np.floating[Any]],
    scale: Scale,
    *,
    standardised: bool = False,
) -> ValuePredictions:
    """Return the predictions of a real target; predicted and true values are standardised, (M,) each.

    With `standardised` the metrics of standardised errors are among them.
    """
    values, truth = values.astype(np.float64), truth.astype(np.float64)
    return ValuePredictions(scale.error(values, truth), standardised=values - truth if standardised else None)


def predictions_of_distribution(
    target: Target,
    values: Floats,
    quantiles: Floats,
    parameters: Floats,
    truth: Floats,
    scale: Scale,
    statistics: Sequence[float],
    *,
    standardised: bool = False,
    ends: Ends | None = None,
) -> ValuePredictions:
    """Return the predictions of a target with a distribution.

    Args:
        target: the target.
        values: (M,) its medians, or samples of it; standardised.
        quantiles: (M, levels) standardised.
        parameters: (M, parameters).
        truth: (M,) standardised.
        scale: of the target.
        statistics: what its distribution needs of the training split.
        standardised: whether the metrics of standardised errors are among them.
        ends: of sequences that are observed until an end, see `Ends`; None: of others.
    """
    assert target.distribution is not None
    form, known = FORMS[target.distribution], truth.astype(np.float64)
    nll = form.nll(parameters, known, scale, np.array(statistics))
    found = distribution_predictions(
        scale.of_rows.error(quantiles.astype(np.float64), known[:, None]),
        (form.mean(parameters.astype(np.float64), scale.of_rows) - scale.original(known)) / scale.error_unit,
        nll=nll,
    )
    of_values = value_predictions(values, truth, scale, standardised=standardised)
    found = replace(found, error=of_values.error, standardised=of_values.standardised)
    if ends is None:
        return found
    return replace(
        found,
        scored=np.full(len(known), not ends.is_open),
        likelihood=form.open_nll(parameters, known, scale) if ends.is_open else nll,
        expected_events=np.full(len(known), ends.expected_events * ends.is_open),
    )


class LabelPredictions:
    """The predictions of a label of whole sequences, part by part, for the metrics that compare all of them."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[np.float32], NDArray[np.integer]]] = []

    def add(self, found: ClassPredictions) -> None:
        """Add the sequences whose label is known."""
        if found.n_classes <= MOST_ORDERED:
            assert found.probabilities is not None
            self._parts.append((found.probabilities, found.truth))

    def metrics(self, positive: int) -> dict[str, float]:
        """Return the metrics; `positive` is the class of `average_precision`, from 0."""
        if not self._parts:
            return {}
        probabilities, truth = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return Ordering(probabilities, truth, positive).metrics()
