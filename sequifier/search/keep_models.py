"""`keep_models`: which exported models stay on disk, decided from plan and ledger, and the removal of the others.

A model is removed only when the ledger on disk has better runs, and when the search cannot need it any more: a
configuration that is to be trained or confirmed with further seeds keeps its model until the last of them. A removal
that was cut short is repeated by the next start.
"""

import bisect
from collections.abc import Sequence
from pathlib import Path

from sequifier.artifacts.ledger import DONE, FAILED, Record, latest_by_run
from sequifier.errors import RunError
from sequifier.results.run_files import RunFiles
from sequifier.results.training import model_files, result_of
from sequifier.results.trials import Table, Trial
from sequifier.search.plan import Plan
from sequifier.search.repeats import CONFIRMING_SEEDS, ToConfirm
from sequifier.search.run_file import run_folder
from sequifier.search.table import completion

_Place = tuple[bool, float, int]
"""See `ranking.order`."""


class Surplus:
    """The models that `keep_models` does not keep; records are added in the order of the ledger.

    A record changes the place of its own configuration, and which of the others are still to be confirmed. Only those
    are looked at, so a record costs the same however many runs there are.

    Args:
        plan: of the search.
        records: its ledger so far.
    """

    def __init__(self, plan: Plan, records: Sequence[Record] = ()) -> None:
        config = plan.config
        self._config, self._keep = config, config.keep_models
        self._limit = 1 if isinstance(config.keep_models, str) else config.keep_models
        self._complete = completion(plan, RunFiles((), config.root, folder=run_folder(config), searched=plan.searched))
        document = {"repeats": config.repeats, "confirm_top": config.confirm_top}
        self._table = Table("", "training", config.metric, config.direction, (), document=document)
        self._gone = {run.record.run for run in plan.earlier} - {run.number for run in plan.runs}
        self._to_confirm = ToConfirm(plan)
        self._new = latest_by_run(records)  # last records that were not taken up yet, by run
        self._files: dict[int, dict[str, str]] = {}  # run -> its models
        self._configuration_of: dict[int, str] = {}
        self._configurations: dict[str, dict[int, Trial]] = {}  # its trials by number
        self._open: dict[str, int] = {}  # configuration that may still get another rank -> the run whose model stays
        self._decided: list[_Place] = []  # of the others with a result and a model, the best one first
        self._place_of: dict[str, _Place] = {}
        self._kept: set[int] = set()  # of the decided ones, when models were removed last
        self._lost: set[int] = set()  # runs whose models may not be kept any more

    def add(self, record: Record) -> None:
        """Add a record."""
        if record.order_of is None:
            self._new[record.run] = record

    def remove(self) -> list[Path]:
        """Remove the models that are not kept; returns those that were there.

        Raises:
            RunError: a file cannot be removed.
        """
        if self._keep == "all":
            return []
        while self._new:
            self._take_up(self._new.popitem()[1])
        kept = {run for *_, run in self._decided[: self._limit]}
        lost, self._lost = self._lost | (self._kept - kept), set()
        self._kept = kept
        paths = [
            self._config.root / path
            for run in sorted(lost - kept)
            if self._open.get(self._configuration_of[run]) != run
            for path in self._files[run].values()
        ]
        return [path for path in paths if self._remove(path)]

    def _remove(self, path: Path) -> bool:
        """Remove a model; returns whether it was there."""
        try:
            path.unlink()
        except FileNotFoundError:
            return False  # by an earlier start
        except OSError as error:
            raise RunError(
                f"keep_models: {self._keep}, but a model cannot be removed: {error.strerror}",
                where=str(path),
                fix="let this user write to the folder, or set keep_models: all",
            ) from error
        return True

    def _take_up(self, record: Record) -> None:
        """Place the configuration of a record, and those whose confirmation it changes."""
        number = record.run
        completed = self._complete(record)
        configuration = completed.configuration or completed.identity
        changed = {self._configuration_of.get(number, configuration), configuration}
        for each in changed:
            self._configurations.get(each, {}).pop(number, None)
        value = result_of(record, self._config.metric)
        trial = Trial("", number, record.name, record.state, value=value, configuration=configuration)
        self._configurations.setdefault(configuration, {})[number] = trial
        self._configuration_of[number] = configuration
        self._files[number] = model_files(record)
        self._lost.add(number)
        changed |= {self._configuration_of[run] for run in self._to_confirm.add(record)}
        for each in changed:
            self._place(each)

    def _place(self, configuration: str) -> None:
        """Find the place of a configuration anew."""
        from sequifier.results.ranking import configuration_of, order  # numpy loads here

        before = self._place_of.pop(configuration, None)
        if before is not None:
            del self._decided[bisect.bisect_left(self._decided, before)]
        if configuration in self._open:
            self._lost.add(self._open.pop(configuration))
        trials = self._configurations[configuration]
        if not trials:
            return
        row = configuration_of([trials[number] for number in sorted(trials)], self._table)
        if self._is_open(row.trials):
            self._open[configuration] = row.run
        elif row.value is not None and self._files[row.run]:  # a pruned run has none to keep
            place = order(row, self._table)
            self._place_of[configuration] = place
            bisect.insort(self._decided, place)

    def _is_open(self, trials: Sequence[Trial]) -> bool:
        """Whether a configuration may still get another rank, because the search has yet to train a seed of it."""
        numbers = {trial.number for trial in trials}
        if not self._gone.isdisjoint(numbers):
            return False
        is_confirmed = not numbers.isdisjoint(self._to_confirm.best)
        seeds = self._config.repeats + (CONFIRMING_SEEDS if is_confirmed else 0)
        return len(trials) < seeds or any(trial.state not in DONE | FAILED for trial in trials)
