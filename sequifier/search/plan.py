"""The plan of a search: its runs, and how they differ from its ledger. search/make_plan.py makes it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from sequifier.artifacts.ledger import DONE, Record, State
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig


def free_numbers(used: Iterable[int]) -> Iterator[int]:
    """The numbers of new runs: those that no other run has, in order."""
    taken = {*used}
    return (number for number in count() if number not in taken)


@dataclass(frozen=True)
class PlannedRun:
    """One run of a search.

    Attributes:
        number: from 0, the same in every start of the search.
        name: [hp_search_name]-run-[number].
        config: resolved and canonical, as in its run file.
        identity: of config and data; for a run in the ledger, the one recorded there.
        normal: the config in normal form, see config/normal_form.py.
        merge_key: the identity of the normal form.
        changed: the searched fields in which runs of this search differ, as plain values by field name.
        n_parameters: number of the model's weights.
        n_dense: number of those with which every event is multiplied.
        path: of the run file.
        record: the last ledger record of this run; None for a new one.
        settings, proposed, fixed, configuration: see `expand.Expanded`.
        order_of: number of the run that an order check repeats; None for every other run.
    """

    number: int
    name: str
    config: TrainConfig
    identity: str
    normal: TrainConfig = field(compare=False)
    merge_key: str
    changed: Mapping[str, Any]
    n_parameters: int
    n_dense: int
    path: Path
    record: Record | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    proposed: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    configuration: str = ""
    order_of: int | None = None

    def new_record(self, data: str, state: State, **fields: Any) -> Record:
        """A record of this run, with its description.

        Args:
            data: fingerprint of the data.
            state: of the run.
            fields: further fields of the record; the batch is the planned one unless they have another.
        """
        spec = self.config.training_spec
        assert self.config.seed is not None
        batch = {"batch_size": spec.batch_size, "accumulation_steps": spec.accumulation_steps}
        known: dict[str, Any] = {
            "run": self.number,
            "name": self.name,
            "identity": self.identity,
            "merge_key": self.merge_key,
            "data": data,
            "state": state,
            "seed": self.config.seed,
        }
        return Record(**{**known, **batch, **self.description(), **fields})

    def with_threads(self, cpu_threads: int | None) -> "PlannedRun":
        """The same run with this number of threads."""
        if self.config.cpu_threads == cpu_threads:
            return self
        return replace(self, config=self.config.model_copy(update={"cpu_threads": cpu_threads}))

    def description(self) -> dict[str, Any]:
        """Settings, size and columns of the run, as fields of its record."""
        return {
            "settings": dict(self.settings),
            "proposed": dict(self.proposed),
            "fixed": dict(self.fixed),
            "configuration": self.configuration,
            "n_parameters": self.n_parameters,
            "columns": list(self.config.target_columns),
            "order_of": self.order_of,
        }


@dataclass(frozen=True)
class EarlierRun:
    """A run of the ledger that is no longer part of the config: its values left the space, or n_samples fell.

    Attributes:
        record: its last ledger record, completed from its run file where it is of an older version.
        changed: as in `PlannedRun`; empty where its settings are not known.
    """

    record: Record
    changed: Mapping[str, Any]


@dataclass(frozen=True)
class MergedCell:
    """A cell that duplicates another one.

    Attributes:
        values: of the cell, by field name.
        run: the number of the run that both are.
        reason: why they are duplicates.
    """

    values: Mapping[str, Any]
    run: int
    reason: str


@dataclass(frozen=True)
class Replacement:
    """A new run with the searched values of an earlier one, whose other settings changed.

    Attributes:
        before: number of the earlier run.
        now: number of the new run.
        settings: dotted key -> (value before, value now), of the settings in the identity that differ.
    """

    before: int
    now: int
    settings: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Difference:
    """The differences between a plan and its ledger, as run numbers. Every run is of one kind.

    Attributes:
        kept: in both.
        new: only in the plan.
        changed: new runs that replace earlier ones.
        not_sampled: in both, but not in the sample that this start draws.
        gone: only in the ledger: their values left the search.
    """

    kept: tuple[int, ...]
    new: tuple[int, ...]
    changed: tuple[Replacement, ...]
    gone: tuple[int, ...]
    not_sampled: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before anything trains.

    Attributes:
        runs: kept and new ones, by number.
        earlier: other runs of the ledger.
        merged: cells that duplicate others.
        changes: reason -> numbers of the runs whose values were changed for it (n_kv_heads).
        notes: for the user.
        changed: new runs that replace earlier ones.
        n_to_propose: configurations that a bayesian search has yet to propose, if its space has as many.
        not_sampled: numbers of kept runs that are in the space, but not in the sample that this start draws.
        searched: dotted keys of the fields that the search varies.
        n_cells: cells of the space; None when it has continuous ranges.
        fingerprint: of the data.
        seed: training seed of every run; drawn at random when neither config nor ledger has one.
        config: the search.
    """

    runs: tuple[PlannedRun, ...]
    earlier: tuple[EarlierRun, ...]
    merged: tuple[MergedCell, ...]
    changes: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...]
    n_cells: int | None
    fingerprint: str
    seed: int
    config: SearchConfig
    changed: tuple[Replacement, ...] = ()
    n_to_propose: int = 0
    not_sampled: frozenset[int] = frozenset()
    searched: tuple[str, ...] = ()

    def with_threads(self, cpu_threads: int | None) -> "Plan":
        """The same plan, its runs with this number of threads; their identities do not depend on it."""
        return replace(self, runs=tuple(run.with_threads(cpu_threads) for run in self.runs))

    def difference(self) -> Difference:
        """The differences from the ledger."""
        changed = {pair.now: pair for pair in self.changed}
        replaced = {pair.before for pair in self.changed}
        planned = {run.number for run in self.runs}  # repeats, which are added later, are not earlier runs
        gone = [run.record.run for run in self.earlier if run.record.run not in replaced | planned]
        return Difference(
            kept=tuple(run.number for run in self.kept if run.number not in self.not_sampled),
            new=tuple(run.number for run in self.new if run.number not in changed),
            changed=tuple(pair for number, pair in sorted(changed.items()) if number in planned),
            gone=tuple(gone),
            not_sampled=tuple(sorted(self.not_sampled)),
        )

    @property
    def without_result(self) -> tuple[PlannedRun, ...]:
        """Runs that can still train: new and unfinished ones, and failed ones, which the user may retry."""
        return tuple(run for run in self.runs if run.record is None or run.record.state not in DONE)

    @property
    def new(self) -> tuple[PlannedRun, ...]:
        """Runs that are not in the ledger."""
        return tuple(run for run in self.runs if run.record is None)

    @property
    def kept(self) -> tuple[PlannedRun, ...]:
        """Runs that are in the ledger, in any state."""
        return tuple(run for run in self.runs if run.record is not None)
