"""The files that a search writes beside its ledger, in `logs/[hp_search_name]`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.ledger import Record
from sequifier.config.dump import dump_yaml
from sequifier.config.identity import plain
from sequifier.config.search import SearchConfig
from sequifier.results.search_folder import (
    BASELINES_FILE,
    CONFIG_FILE,
    TEST_FILE,
    is_better_baseline,
    read_baselines,
    read_test,
)
from sequifier.results.trials import Table
from sequifier.search.plan import Plan
from sequifier.search.table import search_table

if TYPE_CHECKING:
    from sequifier.results.ranking import Configuration  # which loads numpy


class SearchFolder:
    """The folder of a search: its config, baselines, the winner's test score and the table of results.

    Args:
        path: of the folder.
        metric: that ranks the runs.
        maximize: whether higher is better.
    """

    def __init__(self, path: Path, *, metric: str = "val_loss", maximize: bool = False) -> None:
        self.path, self._metric, self._maximize = path, metric, maximize
        self.baselines: dict[str, dict[str, float]] = read_baselines(path)
        self.test: dict[str, Any] = read_test(path)

    def keep_config(self, config: SearchConfig) -> None:
        """Write the config of this start as one file, for readers of the ledger."""
        values = plain(config.model_copy(update={"base_config_path": None, "overrides": {}}))
        for section in ("model_hyperparameter_sampling", "training_hyperparameter_sampling"):
            given = getattr(config, section).model_fields_set
            # A field that follows from others is null by default, and null cannot be given.
            values[section] = {
                name: value for name, value in values[section].items() if value is not None or name in given
            }
        header = [f"The search {config.hp_search_name} as it was started last, written by sequifier."]
        write_text(self.path / CONFIG_FILE, dump_yaml(values, header=header))

    def keep_baselines(self, scores: Mapping[str, Mapping[str, float]], record: Path | None = None) -> None:
        """Keep the better result of each baseline by the metric that ranks: runs that read more have stronger ones.

        Args:
            scores: name -> metrics.
            record: of the run; the sums of its baselines move from there to the folder of the search.
        """
        better = {
            name: dict(values)
            for name, values in scores.items()
            if name not in self.baselines
            or is_better_baseline(values, self.baselines[name], self._metric, maximize=self._maximize)
        }
        if record is not None:
            self._keep_sums(scores, better, record)
        if better:
            self.baselines |= better
            write_text(self.path / BASELINES_FILE, json.dumps(self.baselines, indent=1) + "\n")

    def _keep_sums(
        self, scores: Mapping[str, Mapping[str, float]], better: Mapping[str, Mapping[str, float]], record: Path
    ) -> None:
        """Keep the sums of the baselines that are kept; the sums in the record of a run are not read again."""
        from sequifier.artifacts.sequence_losses import (
            OF_BASELINES,
            read_unit_sums,
            write_unit_sums,
        )  # numpy loads here

        given = read_unit_sums(record / OF_BASELINES)
        kept = {name: sums for name, sums in read_unit_sums(self.path / OF_BASELINES).items() if name not in better}
        taken = {
            name: given[name]
            for name, values in scores.items()
            if name in given and name not in kept and values == better.get(name, self.baselines.get(name))
        }
        if taken:
            write_unit_sums(self.path / OF_BASELINES, kept | taken)
        (record / OF_BASELINES).unlink(missing_ok=True)

    def is_scored(self, run: int) -> bool:
        """Whether this run has its test score."""
        return self.test.get("run") == run

    def keep_test(self, run: int, metrics: Mapping[str, float]) -> None:
        """Write the winner's score on the test split."""
        self.test = {"run": run, "metrics": dict(metrics)}
        write_text(self.path / TEST_FILE, json.dumps(self.test, indent=1) + "\n")

    def table(self, plan: Plan, records: Sequence[Record]) -> Table:
        """All runs of the plan and of the ledger as a table."""
        return search_table(plan, records, baselines=self.baselines, test=self.test)

    def write_results(self, plan: Plan, records: Sequence[Record]) -> "tuple[Table, list[Configuration]]":
        """Write results.csv; returns the table and its ranked rows."""
        from sequifier.results.ranking import ranked, with_baselines  # numpy loads here
        from sequifier.results.results_csv import RESULTS_FILE, write_results

        table = self.table(plan, records)
        rows = ranked(table)
        write_results(self.path / RESULTS_FILE, with_baselines(rows, table), metric=table.metric)
        return table, rows
