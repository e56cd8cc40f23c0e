"""One process that works on a sampler search: its ledger, its loop, and its files in logs/[name]."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.sampler_results import (
    SamplerLedger,
    SamplerRecord,
    infer_command,
    search_results,
    write_export,
    write_search_results,
)
from sequifier.callbacks import Emit
from sequifier.config.dump import dump_yaml
from sequifier.config.identity import plain
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.errors import RunError
from sequifier.experiment.experiment import Experiment
from sequifier.results.ranking import Configuration, ranked
from sequifier.results.results_csv import RESULTS_FILE, write_results
from sequifier.results.samplers import sampler_table
from sequifier.results.search_folder import CONFIG_FILE
from sequifier.results.settings import shown
from sequifier.results.trials import Table
from sequifier.sampler_search.local import LocalModel
from sequifier.sampler_search.remote import RemoteModel
from sequifier.sampler_search.search import Outcome, SamplerSearch, TrialQueue
from sequifier.sampler_search.setup import Setup, check, set_up
from sequifier.search.recording import search_experiment

EXPORT_FILE = "best.yaml"


@dataclass(frozen=True)
class SamplerSearchResult:
    """The result of a search, complete or not.

    Attributes:
        ended: complete, stopped, checked (nothing was tried) or declined (the user said no).
        rows: the ranked table.
        results: path of the result file; None without a record.
        best: path of the export that `infer` reads; None without a score.
        seed: the seed that was used.
        command: generates with the best sampler; "" for an endpoint.
        table: of the trials; None without a record.
    """

    ended: Outcome | str
    rows: list[Configuration]
    results: Path | None
    best: Path | None
    seed: int
    command: str = ""
    table: Table | None = None


class Session:
    """A search that is locked and set up. Also a context manager.

    Args:
        config: of the search.
        retry_failed: try failed configurations again.
        emit: is told of `note` (line), `planned` (setup, n_left), `checked` (lines) and what `SamplerSearch` says.

    Raises:
        ConfigError, DataError, ModelError, RunError: it cannot begin; nothing is spent.
    """

    def __init__(self, config: SamplerSearchConfig, *, retry_failed: bool, emit: Emit) -> None:
        self._emit, self.folder = emit, config.root / "logs" / config.sampler_search_name
        self._ledger = SamplerLedger.open(self.folder)
        try:
            seed = self._seed(config)
            self.setup: Setup = set_up(config, seed=seed, log=lambda line: emit("note", line=line))
            self._queue = TrialQueue(self.setup, retry_failed=retry_failed)
        except BaseException:
            self._ledger.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ledger.close()

    @property
    def n_left(self) -> int:
        """Number of configurations that are still to be tried."""
        return self._queue.n_left(self._ledger.trials)

    def check(self) -> None:
        """Call model, endpoint and judge once each.

        Raises:
            RunError: one of them does not answer as it should.
        """
        self._emit("checked", lines=check(self.setup))

    def run(self, should_stop: Callable[[], bool]) -> SamplerSearchResult:
        """Try the remaining configurations; the results are written in any case.

        Raises:
            RunError: the search cannot continue; the same command resumes it.
        """
        write_text(self.folder / CONFIG_FILE, self._config_text())
        config = self.setup.config
        record = search_experiment(config.root, config.sampler_search_name, self._asked())
        search = SamplerSearch(self.setup, self._ledger, self.folder, _logged(record, self._emit), should_stop)
        with record:
            try:
                ended = search.run(self._queue)
            except BaseException:
                with suppress(RunError):  # the error that ended the search is reported
                    self.result("stopped")
                raise
            found = self.result(ended)
            best = [
                {"run": row.run, "score": row.value, **{name: shown(value) for name, value in row.varied.items()}}
                for row in found.rows
                if row.rank == 1
            ]
            record.finish("interrupted" if ended == "stopped" else "done", results={"ended": ended, "best": best})
        return found

    def result(self, ended: str) -> SamplerSearchResult:
        """Write results.csv, the result file and the export, and return them."""
        records = self.records
        if not records:
            return SamplerSearchResult(ended, [], None, None, self.setup.seed)
        table = sampler_table(self.folder, records, self._asked())
        rows = ranked(table)
        write_results(self.folder / RESULTS_FILE, rows, metric="score")
        path = write_search_results(self.folder, records)
        results, best = search_results(records), None
        if results["all_results"]:
            best = self.folder / EXPORT_FILE
            write_export(best, [results])
        return SamplerSearchResult(ended, rows, path, best, self.setup.seed, self._command(best), table)

    def _command(self, best: Path | None) -> str:
        source = self.setup.source
        if best is None or isinstance(source, RemoteModel):
            return ""
        return infer_command(source.name, {"sampler": best}, is_true_history=source.is_true_history)

    @property
    def records(self) -> Sequence[SamplerRecord]:
        """The records of this search."""
        return [record for record in self._ledger.trials if record.search == self.setup.search]

    def _seed(self, config: SamplerSearchConfig) -> int:
        """Return the seed to use: a random one is taken from the ledger again, so that the same command resumes."""
        if config.seed is not None:
            return config.seed
        trials = self._ledger.trials
        seed = trials[-1].seed if trials else secrets.randbelow(2**31)
        self._emit("note", line=f"seed: {seed}")
        return seed

    def _config_text(self) -> str:
        header = [f"The search {self.setup.config.sampler_search_name} as it was started last, written by sequifier."]
        return dump_yaml(self._asked(), header=header)

    def _asked(self) -> dict[str, Any]:
        """Return the config with the seed and the kind of history that are used."""
        values: dict[str, Any] = plain(self.setup.config) | {"seed": self.setup.seed}
        if isinstance(self.setup.source, LocalModel):
            values["history"] = "true" if self.setup.source.is_true_history else "generated"
        return values


def _logged(record: Experiment, emit: Emit) -> Emit:
    """`emit`, and a line in the record for each configuration that ends."""

    def told(event: str, **fields: Any) -> None:
        if event == "trial_ended":
            trial = fields["record"]
            score = "" if trial.mean_score is None else f", score {trial.mean_score!r}"
            why = f": {trial.error}" if trial.error else ""
            record.log(f"run {trial.run} {trial.sampler_type} {trial.parameters} {trial.state}{score}{why}")
        emit(event, **fields)

    return told
