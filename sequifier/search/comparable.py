"""Check that runs can be ranked with the runs of the ledger: before anything trains, and each result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from sequifier.artifacts.ledger import Record, latest_by_run
from sequifier.config.horizon import origins_input
from sequifier.config.ranking import positive_inputs, ranking_inputs
from sequifier.config.resolve import DataSchema
from sequifier.config.scoring import ALL_TARGETS
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError, Problem, RunError


def check_comparable(config: SearchConfig, records: Sequence[Record], data: DataSchema) -> None:
    """Refuse runs on other data, with other targets or other candidates, under the name of an existing search.

    Args:
        config: the search.
        records: its ledger so far.
        data: metadata of the data set.

    Raises:
        RunError: the ledger is of other data.
        ConfigError: the ledger is of other targets, or other ones of them were scored, or ranked otherwise.
    """
    for record in records:
        if record.data != data.fingerprint:
            raise RunError(
                f"the data changed: {record.name} was trained on data {record.data}, the metadata says "
                f"{data.fingerprint}; their results cannot be compared",
                fix="choose another hp_search_name for the new data, or preprocess the old data again",
            )
    one = "1 later event"
    for record in latest_by_run(records).values():
        if record.n_targets is not None and {*record.n_targets} != {*config.target_columns}:
            before, now = ", ".join(record.n_targets), ", ".join(config.target_columns)
            message = (
                f"{record.name} predicted {before}, these runs would predict {now}: their losses cannot be compared"
            )
            fix = "choose another hp_search_name for other targets"
            raise ConfigError([Problem("target_columns", message, fix=fix)])
        for key, definition in (ranking_inputs(config.ranking) | positive_inputs(config.positive_class)).items():
            if (before := record.inputs.get(key, definition)) != definition:
                how = "ranked" if key.startswith("ranking.") else "measured for class"
                message = f"{record.name} was {how} {before}, these runs would be {how} {definition}: "
                fix = "choose another hp_search_name, or write what it was before"
                raise ConfigError([Problem(key, f"{message}their metrics cannot be compared", fix=fix)])
        scored = ALL_TARGETS if config.scoring is None else config.scoring.definition
        if record.inputs and (before := record.inputs.get("scoring", ALL_TARGETS)) != scored:
            message = f"{record.name} was scored on {before}, these runs would be scored on {scored}: "
            fix = "choose another hp_search_name, or write what it was before"
            raise ConfigError([Problem("scoring", f"{message}their metrics cannot be compared", fix=fix)])
        before, now = record.inputs.get("origins", one), origins_input(_room(config)).get("origins", one)
        if record.inputs and before != now:
            message = f"{record.name} was evaluated on events with {before}, these runs would be on events with {now}: "
            fix = "choose another hp_search_name, or evaluation_horizon as it was before"
            raise ConfigError([Problem("prediction_horizon", f"{message}their metrics cannot be compared", fix=fix)])


def _room(config: SearchConfig) -> int:
    """Return the number of events that must follow an event for the runs of a search to predict from there."""
    room: int | None = dict(config.training_hyperparameter_sampling)["evaluation_horizon"]
    return room or config.horizons[1]


@dataclass(frozen=True)
class Mismatch:
    """Why a result cannot be ranked with the others.

    Attributes:
        reason: in words.
        is_shared: an input changed since another run was trained, so every further run would meet the same problem.
    """

    reason: str
    is_shared: bool


class SameInputs:
    """Compares the inputs and the targets of results with those of the last records of all runs.

    Records are added in the order of the ledger. Almost always all runs agree, so the runs are held by what they
    have: a comparison looks at one entry for each input.
    """

    def __init__(self) -> None:
        self._latest: dict[int, Record] = {}
        self._inputs: dict[str, dict[str, _Runs]] = {}  # input -> its value -> the runs that were trained with it
        self._targets: dict[frozenset[tuple[str, int]], _Runs] = {}

    def add(self, record: Record) -> None:
        """Take up a record; only the last one of each run counts."""
        before = self._latest.get(record.run)
        if before is not None:
            for runs in self._holding(before):
                runs.discard(record.run)
        self._latest[record.run] = record
        for runs in self._holding(record):
            runs.add(record.run)

    def mismatch(self, inputs: Mapping[str, str], n_targets: Mapping[str, int]) -> Mismatch | None:
        """How a result differs from those of other runs: from the first one, by number, from which it does.

        Args:
            inputs: of the result, beside the data.
            n_targets: number of its evaluated targets by target column.
        """
        others = [
            (first, key)
            for key in sorted(inputs)
            for value, runs in self._inputs.get(key, {}).items()
            if value != inputs[key] and (first := runs.first()) is not None
        ]
        changed = min(others, default=None)
        targets = [runs.first() for value, runs in self._targets.items() if value != frozenset(n_targets.items())]
        other_targets = min((first for first in targets if first is not None), default=None)
        if changed is not None and (other_targets is None or changed[0] <= other_targets):
            other, key = self._latest[changed[0]], changed[1]
            return Mismatch(
                f"{key} is not what it was when {other.name} was trained ({inputs[key]}, then {other.inputs[key]}): "
                "their losses cannot be compared",
                is_shared=True,
            )
        if other_targets is not None:
            other = self._latest[other_targets]
            return Mismatch(
                f"validation targets {dict(n_targets)}, but {other.name} has {other.n_targets}: their losses cannot be "
                "compared; use evaluation_context: full",
                is_shared=False,
            )
        return None

    def _holding(self, record: Record) -> "list[_Runs]":
        """The runs that have an input in common with a record, or its targets."""
        found = [self._inputs.setdefault(key, {}).setdefault(value, _Runs()) for key, value in record.inputs.items()]
        if record.n_targets is not None:
            found.append(self._targets.setdefault(frozenset(record.n_targets.items()), _Runs()))
        return found


class _Runs:
    """A set of run numbers that knows its smallest one."""

    def __init__(self) -> None:
        self._numbers: set[int] = set()
        self._heap: list[int] = []  # the numbers, and some that were discarded

    def add(self, number: int) -> None:
        self._numbers.add(number)
        heappush(self._heap, number)

    def discard(self, number: int) -> None:
        self._numbers.discard(number)

    def first(self) -> int | None:
        while self._heap and self._heap[0] not in self._numbers:
            heappop(self._heap)
        return self._heap[0] if self._heap else None
