"""The distinct runs of a plan, in order of proposal, with notes on cells that were merged, refused or left out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sequifier.artifacts.ledger import Record
from sequifier.config.fields import SEARCH_SECTIONS
from sequifier.config.identity import plain
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError, Problem
from sequifier.results.settings import field_of, shown
from sequifier.search.cell_problems import WITH
from sequifier.search.expand import DoesNotFitError, Expanded, Expander
from sequifier.search.run_parts import MODEL
from sequifier.search.space import Cell, Space
from sequifier.search.strategy_kinds import STRATEGIES

MAX_REPETITIONS = 10_000
"""Proposals in a row without a new run, after which a continuous space counts as exhausted."""

MAX_PROBLEMS = 20
"""Number of different problems of cells that are reported at once."""


class DistinctRuns:
    """Collects the runs of `start_with`, then of cells.

    Args:
        config: the search.
        space: of that search.
        expander: of that space.
        known: the ledger by identity.
        counted: number of configurations in the ledger that count in n_samples.
        old_keys: gives merge key -> identity of records without a merge key; called once, for the first run that is
            not in the ledger.

    Attributes:
        found: the runs of the plan by identity, in order of proposal.
        merged: values of a cell by field name, identity of the run that it duplicates, and why.
        notes: for the user.
    """

    def __init__(
        self,
        config: SearchConfig,
        space: Space,
        expander: Expander,
        known: Mapping[str, Record],
        counted: int,
        old_keys: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._config, self._space, self._expander = config, space, expander
        self._known, self._counted = known, counted
        self._is_exhaustive = STRATEGIES[config.search_strategy].is_exhaustive
        self._wanted = None if self._is_exhaustive else config.n_samples
        self._problems: dict[tuple[str, str], Problem] = {}
        self._visited: dict[str, Expanded] = {}
        self._given: set[str] = set()
        self._old_keys = old_keys
        self._asked_old_keys = False
        self._standing = {record.merge_key: identity for identity, record in known.items() if record.merge_key}
        self._n_new = self._repetitions = 0
        self._exhausted = False
        self._left_out: dict[Cell, str] = {}  # why
        self.found: dict[str, Expanded] = {}
        self.merged: list[tuple[Mapping[str, Any], str, str]] = []
        self.notes: list[str] = []

    @property
    def n_configurations(self) -> int:
        """Number of configurations, those of the ledger included."""
        return self._counted + self._n_new

    def start_with(self, runs: Iterable[Expanded]) -> None:
        """Add the runs that come first."""
        for index, run in enumerate(map(self._own, runs)):
            if run.identity in self._visited:
                self.notes.append(f"start_with[{index}] is the same run as an earlier entry")
            elif not self._add(run):
                self.notes.append(f"start_with[{index}] is left out: n_samples is {self._wanted}")
        self._given = set(self._visited)

    def add_known(self, runs: Iterable[Expanded]) -> None:
        """Add runs of the ledger."""
        for run in runs:
            if run.identity not in self._visited:
                self._add(run)

    def check(self, cells: Iterable[Cell]) -> None:
        """Expand cells only to find their problems."""
        for cell in cells:
            self._expand(cell)
            if len(self._problems) >= MAX_PROBLEMS:
                break
        self._raise_problems()

    def through(self, cells: Iterable[Cell]) -> None:
        """Add cells until the plan is full."""
        remaining = iter(cells)
        while not self._is_full():
            cell = next(remaining, None)
            if cell is None or self._repetitions >= MAX_REPETITIONS:
                self._exhausted = True
                break
            self._visit(cell)
            if len(self._problems) >= MAX_PROBLEMS:
                break
        if self._left_out and not self._visited:
            message = f"none of the {len(self._left_out):,} cells tried is a model, for example {self._example()}"
            fix = "give values of n_head that divide those of dim_model"
            place = SEARCH_SECTIONS[MODEL]
            self._problems[place, message] = Problem(place, message, fix=fix)
        self._raise_problems()

    def explain(self) -> None:
        """Note which cells were left out, and how n_samples was counted."""
        if self._left_out:
            cells = "1 cell is" if len(self._left_out) == 1 else f"{len(self._left_out):,} cells are"
            self.notes.append(f"{cells} left out: dim_model and n_head do not fit together ({self._example()})")
        if self._is_exhaustive:
            if self._config.n_samples is not None:
                self.notes.append(f"n_samples: {self._config.n_samples} is ignored: a grid runs every cell")
            return
        assert self._wanted is not None
        if self._exhausted and self.n_configurations < self._wanted:
            self.notes.append(
                f"the space is exhausted: n_samples is {self._wanted}, but there are only {len(self._visited)} "
                f"distinct configurations"
            )
        elsewhere = self._counted - sum(identity in self._known for identity in self.found)
        if elsewhere > 0:
            self.notes.append(
                f"n_samples: {self._wanted} includes the {self._counted} configurations in the ledger, {elsewhere} of "
                f"which are no longer part of this config; raise n_samples to run more"
            )

    def _is_full(self) -> bool:
        """Whether the plan has n_samples configurations, those of the ledger included."""
        if self._wanted is None:
            return False
        return len(self._visited) >= self._wanted and self.n_configurations >= self._wanted

    def _visit(self, cell: Cell) -> None:
        expanded = self._expand(cell)
        if expanded is None:
            self._repetitions += 1 if not self._space.is_finite else 0
            return
        expanded = self._own(expanded)
        if expanded.identity not in self._visited:
            self._repetitions = 0
            self._add(expanded)
            return
        self._repetitions += 1 if not self._space.is_finite else 0
        if expanded.identity in self._given:
            self._given.remove(expanded.identity)  # the cell that start_with names
        else:
            self._merge(cell, expanded)

    def _own(self, expanded: Expanded) -> Expanded:
        """A run under the identity of its duplicate in the ledger, or of the first run that trains alike."""
        identity, merge_key = expanded.identity, expanded.merge_key
        if identity in self._known or identity in self._visited:
            self._standing.setdefault(merge_key, identity)
            return expanded
        if not self._asked_old_keys:
            self._asked_old_keys = True
            self._standing = {**self._old_keys(), **self._standing}
        stored = merge_key if merge_key in self._known else identity
        standing = self._standing.setdefault(merge_key, stored)
        return expanded if standing == identity else replace(expanded, identity=standing)

    def _expand(self, cell: Cell) -> Expanded | None:
        try:
            return self._expander.expand(cell)
        except DoesNotFitError as error:
            self._left_out[cell] = error.problems[0].message
            return None
        except ConfigError as error:
            for problem in error.problems:
                self._problems.setdefault((problem.key, problem.message.partition(WITH)[0]), problem)
            return None

    def _add(self, expanded: Expanded) -> bool:
        """Add a run that was not seen before; False when the plan is full."""
        identity = expanded.identity
        self._visited[identity] = expanded
        if identity not in self._known:
            if self._wanted is not None and self.n_configurations >= self._wanted:
                return False
            self._n_new += 1
        self.found[identity] = expanded
        return True

    def _merge(self, cell: Cell, expanded: Expanded) -> None:
        if expanded.identity not in self.found:
            return
        reasons = _why_equal(expanded, self.found[expanded.identity])
        values = {field_of(key): plain(value) for key, value in self._space.values(cell).items()}
        self.merged.append((values, expanded.identity, "; ".join(reasons)))

    def _example(self) -> str:
        """Why a cell was left out."""
        return next(iter(self._left_out.values())).partition(";")[0]

    def _raise_problems(self) -> None:
        if self._problems:
            raise ConfigError(list(self._problems.values()))


def _why_equal(run: Expanded, other: Expanded) -> Sequence[str]:
    """Return by which rules two cells are the same run."""
    if changes := run.changes or other.changes:
        return changes
    spelled_out = [
        reason
        for reason in dict.fromkeys((*run.spelled_out, *other.spelled_out))
        if (reason in run.spelled_out) != (reason in other.spelled_out)
    ]
    written = [
        f"{field_of(key)} {shown(value)} is {shown(each.settings[key])}"
        for each, beside in ((run, other), (other, run))
        for key, value in each.proposed.items()
        if beside.proposed.get(key, beside.settings.get(key)) != value
    ]
    if reasons := [*written, *spelled_out]:
        return reasons
    return run.spelled_out if run.settings != other.settings else ["the same values are given twice"]
