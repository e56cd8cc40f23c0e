"""The space of samplers: a categorical choice between samplers, each with its own (conditional) parameters.

It is a space of search/space.py with one dimension and an alternative per sampler, so the same strategies search it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from sequifier.config.ranges import Range
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.samplers import PARAMETERS, WHOLE
from sequifier.search.bayesian import Bayesian
from sequifier.search.ranges import Continuous, numbers
from sequifier.search.space import Alternative, Axis, Cell, Dimension, Space
from sequifier.search.strategies import Grid, Observation, Sample, Strategy, permuted

SAMPLER_TYPE = "sampler_type"
Parameters = Mapping[str, int | float]


@dataclass(frozen=True)
class Configuration:
    """One point of the space."""

    sampler_type: str
    parameters: Parameters


def build_space(config: SamplerSearchConfig) -> Space:
    """Build the space of a config, with its samplers in the order of `sampler_types`."""
    alternatives = tuple(
        Alternative(
            {SAMPLER_TYPE: sampler},
            tuple(
                Axis(
                    name, "", numbers(values, whole=name in WHOLE) if isinstance(values, Range) else _each_once(values)
                )
                for name in PARAMETERS
                if (values := config.ranges_of(sampler).get(name)) is not None
            ),
        )
        for sampler in config.sampler_types
    )
    return Space((Dimension("sampler", alternatives),))


def configuration(space: Space, cell: Cell) -> Configuration:
    """Return the configuration of a cell."""
    values = space.values(cell)
    return Configuration(values.pop(SAMPLER_TYPE), values)


def cell_of(space: Space, found: Configuration) -> Cell:
    """Return the cell of a configuration, the reverse of `configuration`.

    Raises:
        ValueError: the configuration is not in the space.
    """
    (dimension,) = space.dimensions
    place = [each.fixed[SAMPLER_TYPE] for each in dimension.alternatives].index(found.sampler_type)
    alternative = dimension.alternatives[place]
    places, shares = [], []
    for axis in alternative.axes:
        if axis.key not in found.parameters:
            raise ValueError(f"{axis.key} is missing")
        value = found.parameters[axis.key]
        if isinstance(axis.values, Continuous):
            places.append(0)
            shares.append(axis.values.share_of(value))
        else:
            places.append(axis.values.index(value))
    return Cell((dimension.digit(place, alternative.index(places)),), (tuple(shares),))


def build_strategy(config: SamplerSearchConfig, space: Space, seed: int) -> Strategy:
    """Return the strategy of a config."""
    match config.search_strategy:
        case "grid":
            return Grid(space)
        case "random":
            return InTurn(space, seed)
        case "bayesian":
            return Bayesian(space, seed, maximize=True, beginning=InTurn(space, seed))


class InTurn:
    """Random sampling in which the samplers take turns: each round has each of them once, in random order.

    `Sample` draws uniformly over cells, so a sampler with long lists would crowd out one with short lists or ranges.
    Proposal i is a function of the space, the seed and i. A sampler without cells left is skipped.
    """

    def __init__(self, space: Space, seed: int) -> None:
        (self._dimension,) = space.dimensions
        self._space, self._seed = space, seed
        # Each sampler has a seed that depends on its name: adding another sampler does not change its proposals.
        self._samples = [
            Sample(Space((Dimension("sampler", (each,)),)), _seed_of(seed, each.fixed[SAMPLER_TYPE]))
            for each in self._dimension.alternatives
        ]

    def candidates(self, number: int, observations: Sequence[Observation] = ()) -> Iterator[Cell]:
        """Yield the proposals from `number` on; of a finite space then those before it. Results are not used."""
        if not self._space.is_finite:
            return islice(self._in_turn(), number, None)
        return chain(islice(self._in_turn(), number, None), islice(self._in_turn(), number))

    def _in_turn(self) -> Iterator[Cell]:
        """Yield the proposals from 0 on; of a finite space each cell once."""
        left = self._space.size if self._space.is_finite else None
        for place, turn in self._turns():
            alternative = self._dimension.alternatives[place]
            if alternative.n_draws == 0 and turn >= alternative.size:
                continue
            yield self._cell(place, turn)
            if left is not None:
                left -= 1
                if left == 0:
                    return

    def _turns(self) -> Iterator[tuple[int, int]]:
        """Yield the sampler of each turn, and the number of its earlier turns."""
        count, turn = len(self._samples), 0
        while True:
            for position in range(count):
                yield permuted(position, count, key=f"{self._seed}:{turn}"), turn
            turn += 1

    def _cell(self, place: int, turn: int) -> Cell:
        alone = self._samples[place].proposal(turn)
        return Cell((self._dimension.digit(place, alone.digits[0]),), alone.draws)


def _seed_of(seed: int, sampler: str) -> int:
    return int.from_bytes(f"{seed}:{sampler}".encode(), "big")


def _each_once(values: Sequence[int | float]) -> list[int | float]:
    return list(dict.fromkeys(values))
