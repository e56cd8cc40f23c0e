"""The memory that the processes of a search need, estimated before anything trains."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from sequifier.config.architecture import architecture
from sequifier.config.memory import LIBRARIES, kept_memory, machine_has_matrix_unit, reading_memory, run_memory
from sequifier.config.resolve import DataSchema
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.search.build_space import build_space
from sequifier.search.expand import Expander
from sequifier.search.plan import Plan
from sequifier.search.space import Cell

KEPT_SETS = 3
"""Sets of input columns whose splits a process keeps in memory, see dataset/cache.py."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes that a process needs to train runs, one after another, at its peak.

    Attributes:
        least: for training the smallest run.
        most: for training the largest one.
        data: for the splits that the process keeps in memory.
    """

    least: int
    most: int
    data: int

    @property
    def base(self) -> int:
        """The process before it trains: its libraries and data."""
        return LIBRARIES + self.data

    @property
    def process(self) -> int:
        """The whole process."""
        return self.base + self.most


def memory_use(plan: Plan, data: DataSchema) -> MemoryUse | None:
    """The memory that the runs without a result need; None where there are none.

    Args:
        plan: of the search. Runs that are still to be proposed may be any of its space.
        data: the data set.
    """
    has_matrix_unit = machine_has_matrix_unit()  # reads a file that is long on a machine with many cores

    def needed(config: TrainConfig) -> int:
        return run_memory(config, architecture(config, data), has_matrix_unit=has_matrix_unit)

    configs = [run.config for run in plan.without_result]
    if plan.n_to_propose:
        configs += _extremes(plan, data, needed)
    if not configs:
        return None
    needs = [*map(needed, configs)]
    return MemoryUse(min(needs), max(needs), _data_memory(configs, data))


def _extremes(plan: Plan, data: DataSchema, needed: Callable[[TrainConfig], int]) -> Iterator[TrainConfig]:
    """The runs of a space that need the least and the most memory."""
    space = build_space(plan.config)
    expander = Expander(plan.config, space, data, seed=plan.seed)

    def size(sign: int, cell: Cell) -> float:
        try:
            return sign * needed(expander.expand(cell).config)
        except ConfigError:
            return -math.inf

    for sign in (-1, 1):
        cell = space.largest(partial(size, sign))
        with suppress(ConfigError):  # no valid run was found
            yield expander.expand(cell).config


def _data_memory(configs: Sequence[TrainConfig], data: DataSchema) -> int:
    """Bytes of the splits in a process that trains all of these runs, while it reads the largest of them."""
    spec, n_rows = configs[0].training_spec, sum(data.sequifier.rows[:2])  # how splits are read is not searched
    sets = {frozenset((*(config.input_columns or data.input_columns), *config.target_columns)) for config in configs}
    columns = sorted(map(len, sets), reverse=True)
    needed = reading_memory(n_rows, columns[0])
    if not spec.load_full_data_to_ram or (spec.max_ram_gb is not None and needed > 1e9 * spec.max_ram_gb):
        return 0  # mapped from disk: all processes share the pages, which the system may drop
    return needed + sum(kept_memory(n_rows, number) for number in columns[1:KEPT_SETS])
