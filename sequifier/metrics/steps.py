"""Metrics at each step of a horizon: `mae_step_3` is the `mae` of what was predicted three events ahead.

Shapes: M targets at all steps, H steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sequifier.config.catalogue.metric_names import WITHOUT_STEPS, step_name
from sequifier.metrics.predictions import METRICS, Array, AtPositions, find_metric

COUNT = "count"


@dataclass
class StepSums:
    """The sums of one target's metrics at each step, fed part by part; they stay on their device.

    Attributes:
        n_steps: H.
        by_name: name -> sums, (H,); `COUNT` is the number of targets.
    """

    n_steps: int
    by_name: dict[str, Array] = field(default_factory=dict)

    def add(self, parts: Mapping[str, AtPositions], counted: AtPositions, step: Array) -> None:
        """Add targets.

        Args:
            parts: as `at_positions` gives them.
            counted: 1 for each target that counts, else 0.
            step: of each target, from 0, (M,).
        """
        for name, part in {**parts, COUNT: counted}.items():
            if part.cell is None:
                found = part.by_unit(step, self.n_steps)
                self.by_name[name] = self.by_name[name] + found if name in self.by_name else found

    def metrics(self, *, unit: float = 1.0, n_unknown: Sequence[int]) -> dict[str, float]:
        """Return every metric that has a value at each step, none of a step without targets.

        Args:
            unit: of the errors of a real target.
            n_unknown: targets of each step besides, whose class is unknown: misses.
        """
        found = {}
        for name in METRICS:
            if name not in WITHOUT_STEPS and METRICS[name].sums.keys() <= self.by_name.keys():
                for step in range(self.n_steps):
                    count = self.count(name, step) + n_unknown[step] * METRICS[name].counts_unknown
                    if count:
                        found[step_name(name, step + 1)] = METRICS[name].of(self.at(name, step), count, unit=unit)
        return found

    def at(self, metric: str, step: int) -> dict[str, Array]:
        """Return the sums that a metric is made of at one step, from 0."""
        found = find_metric(metric)
        assert found is not None
        return {name: self.by_name[name][step] for name in found.sums}

    def count(self, metric: str, step: int) -> int:
        """Return the number of known targets of a metric at one step, from 0."""
        found = find_metric(metric)
        assert found is not None
        counted = found.counts(self.by_name)
        return int((self.by_name[COUNT] if counted is None else counted)[step])
