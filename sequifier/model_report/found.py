"""What is measured of a model: the numbers of its report, which the page shows and the JSON file holds."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sequifier.artifacts.forecasts import Forecast
from sequifier.model_report.groups import Group, Grouping

SURE = 3.0
"""Standard errors by which a group must be worse than all targets to be named first."""


@dataclass(frozen=True)
class Bin:
    """A point of a calibration curve: what the model says, and what happened.

    Attributes:
        expected: mean probability of the predicted class, or the level of a quantile.
        observed: fraction of correct predictions, or of true values up to the quantile.
        error: standard error of the observed fraction; None where it is not known.
        n: number of targets.
    """

    expected: float
    observed: float
    error: float | None
    n: int


@dataclass(frozen=True)
class Worst:
    """A sequence that is predicted badly.

    Attributes:
        sequence: its name.
        n: number of its targets.
        loss: mean loss of them.
        event: number of the event with the largest loss, from 1.
        truth: its true value.
        predicted: the predicted class; empty for a number.
    """

    sequence: str
    n: int
    loss: float
    event: int
    truth: str
    predicted: str


@dataclass(frozen=True)
class Shuffled:
    """The main metric of this model when it reads histories in random order.

    Attributes:
        events: which events are shuffled.
        ordered: the metric on the same targets in their true order.
        value: the metric on shuffled histories.
        worse: by how much it is worse.
        error: standard error of the difference; None where it is not known.
        n: number of targets.
    """

    events: Literal["all", "before_last"]
    ordered: float
    value: float
    worse: float
    error: float | None
    n: int


@dataclass(frozen=True)
class Steps:
    """The metrics at each step of a horizon.

    Attributes:
        model: the targets by step.
        baselines: name of a baseline -> its main metric at each step; None where it has none.
    """

    model: Grouping
    baselines: Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True)
class OfTarget:
    """What the model does well for one target.

    Attributes:
        name: the column.
        main: the metric that has standard errors.
        maximize: whether it is better when it is higher.
        metrics: the metrics that are shown, the main one first.
        overall: of all targets.
        n_unknown: number of targets that are left out, because their class is unknown (a miss in the run's metrics).
        baselines: name -> the metrics of a baseline.
        steps: by step; None without a horizon.
        groupings: the targets in groups.
        bins: the calibration curve; empty for a single real number.
        coverage: how often the interval of 80 % has the true value; None without a distribution.
        worst: the sequences with the largest losses.
        shuffled: what happens without the order; empty where nothing can be shuffled.
    """

    name: str
    main: str
    maximize: bool
    metrics: tuple[str, ...]
    overall: Group
    n_unknown: int
    baselines: Mapping[str, Mapping[str, float]]
    steps: Steps | None
    groupings: tuple[Grouping, ...]
    bins: tuple[Bin, ...]
    coverage: Bin | None
    worst: tuple[Worst, ...]
    shuffled: tuple[Shuffled, ...]

    def weak(self) -> Iterator[tuple[Grouping, Group]]:
        """Yield the worst group of each grouping, where it is certainly worse than all targets together."""
        sign = -1 if self.maximize else 1
        all_of_them = self.overall.metrics[self.main]
        for each in self.groupings:
            known = [group for group in each.groups if group.error and self.main in group.metrics]
            if len(known) < 2:
                continue
            worst = max(known, key=lambda group: sign * group.metrics[self.main])
            assert worst.error is not None
            if sign * (worst.metrics[self.main] - all_of_them) > SURE * worst.error:
                yield each, worst


@dataclass(frozen=True)
class ModelReport:
    """What a model does well.

    Attributes:
        run: name of the run.
        weights: which weights: `best weights of epoch 3`.
        split: path of the split.
        n_events, n_sequences: of the split, without context.
        is_part: whether only a part of its targets was measured.
        errors_by: the sampling units of standard errors.
        targets: by target.
        forecasts: some of them; empty without a horizon.
    """

    run: str
    weights: str
    split: str
    n_events: int
    n_sequences: int
    is_part: bool
    errors_by: str
    targets: tuple[OfTarget, ...]
    forecasts: tuple[Forecast, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as JSON takes them."""
        found = asdict(self)
        del found["forecasts"]  # the record of the run has them
        return found
