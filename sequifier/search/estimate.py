"""What the rest of a search needs: time, from the runs so far; disk, from the sizes of its models."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sequifier.artifacts.ledger import DONE, FAILED, Record, latest_by_run
from sequifier.results.training import model_files
from sequifier.search.plan import Plan, PlannedRun
from sequifier.search.repeats import n_to_come

# Costs besides products with the weights, in products with one weight (measured on one thread, docs/decisions, 054):
_PER_POSITION = 25_000
"""Cost of a position of a window that does not grow with the model: gathering, norms, losses."""
_PER_STEP = 23_000_000
"""Cost of an optimizer step that does not grow with the model or the batch."""
_PER_WEIGHT = 130
"""Cost of updating a weight."""

_MODEL_BYTES = (4, 16_000)
"""Bytes of one exported file: for each weight (float32), and for its graph and vocabularies."""

_CHECKPOINT_BYTES = (16, 48_000)
"""Bytes of one checkpoint: for each weight (now, at the best epoch, two moments of Adam), and for its tables."""

_RECORD_BYTES = 32_000
"""Bytes of the log, metrics and config of a run."""


@dataclass(frozen=True)
class DiskUse:
    """Bytes that a search is expected to write.

    Attributes:
        models: of exported models that `keep_models` keeps.
        passing: of exported models that exist for a time and are removed in the end.
        others: of checkpoints and records.
    """

    models: int
    passing: int
    others: int

    @property
    def most(self) -> int:
        """The most bytes that can exist at one time."""
        return self.models + self.passing + self.others


def disk_use(plan: Plan, records: Sequence[Record] = (), *, to_come_alone: bool = False, n_slots: int = 1) -> DiskUse:
    """The disk that a search needs; the sizes of models that exist already correct the estimate.

    Args:
        plan: of the search. Each run that a bayesian search has yet to propose counts like the mean of the known ones.
        records: its ledger.
        to_come_alone: leave out runs that have a result.
        n_slots: number of runs that train, and write their models, at the same time.
    """
    config, latest = plan.config, latest_by_run(records)
    n_files = 2 * (config.export_generative_model + config.export_embedding_model)  # the best and the last weights
    n_files *= config.export_onnx + config.export_pt
    n_files += 2 * config.export_end_to_end
    n_checkpoints = dict(config.training_hyperparameter_sampling)["keep_checkpoints"]

    def models(run: PlannedRun) -> float:
        return n_files * _bytes(_MODEL_BYTES, run)

    scale = _measured(plan, latest.values(), models)
    settled = {number for number, record in latest.items() if record.state in DONE | FAILED}
    runs = [run for run in plan.runs if not (to_come_alone and run.number in settled)]
    sizes = sorted((scale * models(run) for run in runs), reverse=True)
    others = [
        (n_checkpoints or run.config.training_spec.epochs) * _bytes(_CHECKPOINT_BYTES, run) + _RECORD_BYTES
        for run in runs
    ]
    for several in (sizes, others):
        if several:
            several += [sum(several) / len(several)] * n_to_come(plan)
    keep = config.keep_models
    kept = len(sizes) if keep == "all" else 1 if keep == "best" else keep
    # A model is written before it is removed, and one that waits for further seeds stays until they are trained.
    waiting = len(sizes) // config.repeats if config.repeats > 1 else 0
    passing = sizes[kept : max(kept + config.confirm_top, waiting) + n_slots]
    return DiskUse(round(sum(sizes[:kept])), round(sum(passing)), round(sum(others)))


class _Kind(NamedTuple):
    """What the time of an epoch depends on."""

    cost: float
    optimizer: str


class TimeLeft:
    """The time that runs to come will take; records are added in the order of the ledger.

    An epoch takes as long as the epochs of comparable runs took, in the mean: those whose epochs have the same cost and
    the same optimizer. Without such runs it takes its cost times the mean time of a unit of cost so far.

    Args:
        runs: all known runs, by number; records of other runs are ignored. It may grow.
    """

    def __init__(self, runs: Mapping[int, PlannedRun]) -> None:
        self._runs = runs
        self._seconds, self._work = 0.0, 0.0  # of the epochs so far: their time, and their cost
        self._measured: dict[_Kind, tuple[float, int]] = {}  # of the epochs of each kind: their time and number
        self._to_come: dict[int, int] = {}  # expected run -> its epochs to come
        self._epochs_left: Counter[_Kind] = Counter()  # of all expected runs
        self._n_left = 0  # expected runs with epochs to come
        self._seen: set[int] = set()  # numbers of runs with a record, or expected
        self._epochs_of_all, self._work_of_all = 0, 0.0  # of the runs seen, from the first epoch to the last

    def expect(self, run: PlannedRun) -> None:
        """Count a run that is to be trained, less the epochs of its last record."""
        self._expect(run, 0 if run.record is None else len(run.record.curve))

    def add(self, record: Record) -> None:
        """Take up a record: the cost of its epochs, and what is left of its run."""
        run, trained = self._runs.get(record.run), len(record.curve)
        if run is None:
            return
        self._see(run)
        if trained and record.state in ("finished", "pruned"):
            seconds, kind = record.seconds.get("training", 0.0) + record.seconds.get("validation", 0.0), _kind(run)
            self._seconds += seconds
            self._work += trained * kind.cost
            before = self._measured.get(kind, (0.0, 0))
            self._measured[kind] = before[0] + seconds, before[1] + trained
        if record.run in self._to_come:
            is_over = record.state in DONE | FAILED
            self._expect(run, run.config.training_spec.epochs if is_over else trained)

    def seconds(self, *, n_slots: int = 1, n_more: int = 0, epochs_left: float | None = None) -> float | None:
        """Seconds until all expected runs have ended; None before anything was measured.

        Args:
            n_slots: number of runs that train at the same time.
            n_more: runs that are still to be proposed; each counts like the mean of the runs so far.
            epochs_left: of all of them together, where a pruner will not train all of them to their end.
        """
        if not self._work:
            return None
        of_cost, measured = self._seconds / self._work, self._measured
        return self._left(of_cost, measured, n_slots=n_slots, n_more=n_more, epochs_left=epochs_left)

    def epochs_like(
        self, run: PlannedRun, *, n_slots: int = 1, n_more: int = 0, epochs_left: float | None = None
    ) -> float:
        """The epochs of this run that would take as long as all expected runs, see `seconds`."""
        return self._left(1 / epoch_cost(run), {}, n_slots=n_slots, n_more=n_more, epochs_left=epochs_left)

    def _left(
        self,
        of_cost: float,
        measured: Mapping[_Kind, tuple[float, int]],
        *,
        n_slots: int,
        n_more: int,
        epochs_left: float | None,
    ) -> float:
        """The time of all expected runs.

        Args:
            of_cost: time of a unit of cost.
            measured: kinds whose epochs take another time: their time and number.
            n_slots, n_more, epochs_left: as in `seconds`.
        """
        times = n_more / max(len(self._seen), 1)
        left = times * self._work_of_all * of_cost
        epochs = self._epochs_left.total() + times * self._epochs_of_all
        for kind, n_epochs in self._epochs_left.items():
            seconds, n_measured = measured.get(kind, (kind.cost * of_cost, 1))
            left += n_epochs * seconds / n_measured
        if epochs_left is not None and epochs:
            left *= min(epochs_left / epochs, 1.0)
        return left / min(n_slots, max(self._n_left + n_more, 1))

    def _see(self, run: PlannedRun) -> None:
        if run.number not in self._seen:
            self._seen.add(run.number)
            self._epochs_of_all += run.config.training_spec.epochs
            self._work_of_all += relative_cost(run)

    def _expect(self, run: PlannedRun, done: int) -> None:
        self._see(run)
        to_come = max(run.config.training_spec.epochs - done, 0)
        before = self._to_come.get(run.number, 0)
        self._to_come[run.number] = to_come
        self._n_left += (to_come > 0) - (before > 0)
        self._epochs_left[_kind(run)] += to_come - before


def seconds_left(
    waiting: Iterable[PlannedRun],
    known: Iterable[PlannedRun],
    records: Iterable[Record],
    *,
    n_slots: int = 1,
    n_more: int = 0,
) -> float | None:
    """Seconds until the runs to come have ended; None before anything was measured.

    Args:
        waiting: runs to come; the epochs that they have trained already are left out.
        known: all runs.
        records: the ledger.
        n_slots: number of runs that train at the same time.
        n_more: runs that are still to be proposed.
    """
    left = TimeLeft({run.number: run for run in known})
    for record in records:
        left.add(record)
    for run in waiting:
        left.expect(run)
    return left.seconds(n_slots=n_slots, n_more=n_more)


def _kind(run: PlannedRun) -> _Kind:
    return _Kind(epoch_cost(run), run.config.training_spec.optimizer.name)


def epoch_cost(run: PlannedRun) -> float:
    """The cost of an epoch, for each event of the training split, in products with one weight."""
    config, spec, model = run.config, run.config.training_spec, run.config.model_spec
    assert config.seq_length and config.window_stride
    attention = 2 * model.num_layers * config.seq_length * model.dim_model
    of_window = config.seq_length * (run.n_dense + attention + _PER_POSITION)
    of_step = _PER_STEP + _PER_WEIGHT * run.n_parameters
    return (of_window + of_step / spec.step_size) / config.window_stride


def relative_cost(run: PlannedRun) -> float:
    """How long a run takes, relative to other runs of the same search."""
    return run.config.training_spec.epochs * epoch_cost(run)


def _bytes(size: tuple[int, int], run: PlannedRun) -> float:
    of_each, fixed = size
    return of_each * run.n_parameters + fixed


def _measured(plan: Plan, records: Iterable[Record], expected: Callable[[PlannedRun], float]) -> float:
    """The factor by which model files on disk are larger than expected."""
    planned = {run.number: run for run in plan.runs}
    measured = predicted = 0.0
    for record in records:
        paths = [plan.config.root / path for path in model_files(record).values()]
        if record.run in planned and paths and all(path.exists() for path in paths):
            measured += sum(path.stat().st_size for path in paths)
            predicted += expected(planned[record.run])
    return measured / predicted if predicted else 1.0
