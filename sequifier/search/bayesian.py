"""Bayesian search: cells like the best ones so far, by the tree-structured Parzen estimator (TPE) of Optuna.

Source: Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization", section 4; Watanabe 2023,
https://arxiv.org/abs/2304.11127, for the multivariate variant in Optuna.

A space as Optuna sees it: each dimension is one parameter; the options of an entry are conditional parameters, which
exist only where the entry was chosen. A linked group is categorical, and so is a list of strings. A list of numbers is
ordinal (its rank, smallest first), and a range is a proportion of it, so that neighbours count as similar. On the
surfaces of its test, median of the best of 40 runs over 20 seeds: three integers that interact 0.033 -> 0.012
(`Sample`: 0.044), groups and short lists 0.05 -> 0.10 (0.30; neighbouring cells differ by 0.05), strings and ranges
0.13 either way (0.28). Optuna 5.0.

A study is built in memory for every proposal, from the observations and a seed of its own, so that proposals do not
depend on the state of a process: 10 ms for 40 runs, 40 ms for 200. Optuna is imported by the first proposal.
"""

import hashlib
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sequifier.search.ranges import Continuous, Steps
from sequifier.search.space import Axis, Cell, Dimension, Space
from sequifier.search.strategies import Observation, Sample, Strategy

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

STARTUP = 10
"""Results, pruned ones included, before which cells are drawn as by `Sample`."""

ASKED_AGAIN = 20
"""How often TPE is asked again after a cell that was proposed before."""


class Bayesian:
    """Cells that TPE proposes from the results so far.

    Args:
        space: the space to search.
        seed: seed of all proposals.
        maximize: higher is better.
        beginning: proposes cells until there are enough results, and when TPE finds no new one; None: `Sample`.
    """

    def __init__(self, space: Space, seed: int, *, maximize: bool, beginning: Strategy | None = None) -> None:
        self._space, self._seed, self._maximize = space, seed, maximize
        self._parameters = [_of_dimension(dimension) for dimension in space.dimensions]
        self._beginning = Sample(space, seed) if beginning is None else beginning

    def candidates(self, number: int, observations: Sequence[Observation]) -> Iterator[Cell]:
        """See `Strategy`: what TPE proposes, asked up to 1 + `ASKED_AGAIN` times, then cells as `Sample` draws them."""
        n_results = sum(each.outcome not in ("failed", "running") for each in observations)
        if self._parameters and n_results >= STARTUP:
            with _quiet():
                study = self._study(number, observations)
            for _ in range(1 + ASKED_AGAIN):
                with _quiet():
                    cell = self._cell(study.ask())
                yield cell
        yield from self._beginning.candidates(number, observations)

    def _study(self, number: int, observations: Sequence[Observation]) -> "Study":
        import optuna

        digest = hashlib.blake2b(f"{self._seed}:{number}".encode(), digest_size=4).digest()
        # Constant liar: cells that are being tried, or were rejected as known, are not proposed again and again.
        sampler = optuna.samplers.TPESampler(
            seed=int.from_bytes(digest, "big"), n_startup_trials=STARTUP, multivariate=True, group=True,
            constant_liar=True,
        )  # fmt: skip
        study = optuna.create_study(sampler=sampler, direction="maximize" if self._maximize else "minimize")
        study.add_trials([self._trial(each) for each in observations])
        return study

    def _trial(self, observation: Observation) -> "FrozenTrial":
        from optuna.trial import TrialState, create_trial

        params = self._params(observation.cell)
        distributions = {parameter.name: parameter.distribution for parameter in params}
        values = {parameter.name: value for parameter, value in params.items()}
        match observation.outcome:
            case "finished":
                outcome: dict[str, Any] = {"value": observation.value}
            case "diverged":
                outcome = {"value": -math.inf if self._maximize else math.inf}
            case "pruned":
                curve = dict(enumerate(observation.curve, start=1))
                outcome = {"state": TrialState.PRUNED, "intermediate_values": curve, "value": None}
            case "failed":
                outcome = {"state": TrialState.FAIL}
            case "running":
                outcome = {"state": TrialState.RUNNING}
        return create_trial(params=values, distributions=distributions, **outcome)

    def _cell(self, trial: "Trial") -> Cell:
        digits, draws = [], []
        for dimension, parameters in zip(self._space.dimensions, self._parameters, strict=True):
            place = parameters.place.ask(trial) if parameters.place else 0
            alternative = dimension.alternatives[place]
            places, shares = [], []
            for axis, parameter in zip(alternative.axes, parameters.axes[place], strict=True):
                if isinstance(axis.values, Continuous):
                    # The proportion of the number as it will be written, rounded, so that it can be read back.
                    shares.append(axis.values.share_of(axis.values.at(parameter.ask_share(trial))))
                    places.append(0)
                else:
                    places.append(parameter.ask(trial))
            digits.append(dimension.digit(place, alternative.index(places)))
            draws.append(tuple(shares))
        return Cell(tuple(digits), tuple(draws))

    def _params(self, cell: Cell) -> "dict[_Parameter, int | float]":
        """The parameters of a cell, the reverse of `_cell`."""
        values: dict[_Parameter, int | float] = {}
        for dimension, parameters, digit, draws in zip(
            self._space.dimensions, self._parameters, cell.digits, cell.draws, strict=True
        ):
            place, index = dimension.parts(digit)
            alternative = dimension.alternatives[place]
            if parameters.place:
                values[parameters.place] = parameters.place.value_of(place)
            shares = iter(draws)
            for axis, parameter, position in zip(
                alternative.axes, parameters.axes[place], alternative.places(index), strict=True
            ):
                drawn = isinstance(axis.values, Continuous)
                values[parameter] = min(max(next(shares), 0.0), 1.0) if drawn else parameter.value_of(position)
        return values


@dataclass(frozen=True)
class _Parameter:
    """One parameter of a study.

    Attributes:
        name: unique in the study.
        kind: share: a proportion of a range, 0 to 1; rank: the rank of a number in a list; choice: categorical.
        size: number of values.
        order: of a rank, the index of each value, smallest first; empty where the values are in order.
    """

    name: str
    kind: Literal["share", "rank", "choice"]
    size: int = 0
    order: tuple[int, ...] = ()

    @property
    def distribution(self) -> "BaseDistribution":
        """Its distribution in Optuna."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "share":
            return FloatDistribution(0.0, 1.0)
        return IntDistribution(0, self.size - 1) if self.kind == "rank" else CategoricalDistribution(range(self.size))

    def ask_share(self, trial: "Trial") -> float:
        """A proportion of a range."""
        return trial.suggest_float(self.name, 0.0, 1.0)

    def ask(self, trial: "Trial") -> int:
        """Let a trial suggest an index."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.name, range(self.size))
        rank = trial.suggest_int(self.name, 0, self.size - 1)
        return self.order[rank] if self.order else rank

    def value_of(self, index: int) -> int:
        """The value of an index in the study."""
        return self.order.index(index) if self.order else index


@dataclass(frozen=True)
class _Parameters:
    """The parameters of one dimension: the alternative (None where there is only one), and the axes of each."""

    place: _Parameter | None
    axes: tuple[tuple[_Parameter, ...], ...]


def _of_dimension(dimension: Dimension) -> _Parameters:
    several = dimension.alternatives
    axes = tuple(
        tuple(_of_axis(f"{dimension.name}[{place}].{axis.key}.{axis.option}", axis) for axis in alternative.axes)
        for place, alternative in enumerate(several)
    )
    if len(several) == 1:
        return _Parameters(None, axes)
    varying = [key for key, value in several[0].fixed.items() if any(each.fixed[key] != value for each in several)]
    numbers = [each.fixed[varying[0]] for each in several] if len(varying) == 1 and not any(axes) else []
    return _Parameters(_of_values(dimension.name, numbers or [None] * len(several)), axes)


def _of_axis(name: str, axis: Axis) -> _Parameter:
    if isinstance(axis.values, Continuous):
        return _Parameter(name, "share")
    if isinstance(axis.values, Steps):
        return _Parameter(name, "rank", len(axis.values))
    return _of_values(name, axis.values)


def _of_values(name: str, values: Sequence[Any]) -> _Parameter:
    """A list: ordinal where it holds different numbers, else categorical."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if len(values) < 3 or not numbers or len(set(values)) < len(values):
        return _Parameter(name, "choice", len(values))
    return _Parameter(name, "rank", len(values), tuple(sorted(range(len(values)), key=lambda index: values[index])))


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Optuna's log lines and its warnings about experimental arguments, inside the block only."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
