"""What a search keeps beside its ledger, in `logs/[hp_search_name]`, for those who read it."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.ledger import Record
from sequifier.artifacts.read_file import object_or_none
from sequifier.config.dump import dump_yaml
from sequifier.config.identity import plain
from sequifier.config.search import SearchConfig
from sequifier.results.find import CONFIG_FILE
from sequifier.search.plan import Plan
from sequifier.search.results import Row, results
from sequifier.search.results_file import write_results


class SearchFolder:
    """What a search keeps beside its ledger: its config, baselines, the winner's test score, the table."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.baselines: dict[str, dict[str, float]] = _read_baselines(path / "baselines.json")
        self.test: dict[str, Any] = _read_test(path / "test.json")

    def keep_config(self, config: SearchConfig) -> None:
        """Write down what was asked for last, in one piece, for readers of the ledger."""
        values = plain(config.model_copy(update={"base_config_path": None, "overrides": {}}))
        for section in ("model_hyperparameter_sampling", "training_hyperparameter_sampling"):
            given = getattr(config, section).model_fields_set
            # What follows from other fields is null by default, and null is no value to give.
            values[section] = {
                name: value for name, value in values[section].items() if value is not None or name in given
            }
        header = [f"The search {config.hp_search_name} as it was started last, written by sequifier."]
        write_text(self.path / CONFIG_FILE, dump_yaml(values, header=header))

    def keep_baselines(self, scores: Mapping[str, Mapping[str, float]], record: Path | None = None) -> None:
        """Remember the baselines of a run, of each the better one: runs that read more have stronger baselines.

        Args:
            scores: name -> metrics.
            record: of the run; the sums of its baselines move from there to the folder of the search.
        """
        better = {
            name: dict(values)
            for name, values in scores.items()
            if name not in self.baselines or values["val_loss"] < self.baselines[name]["val_loss"]
        }
        if record is not None:
            self._keep_sums(scores, better, record)
        if better:
            self.baselines |= better
            write_text(self.path / "baselines.json", json.dumps(self.baselines, indent=1) + "\n")

    def _keep_sums(
        self, scores: Mapping[str, Mapping[str, float]], better: Mapping[str, Mapping[str, float]], record: Path
    ) -> None:
        """Keep the sums that belong to the baselines that are kept; those of a run itself are not read again."""
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
        """Remember the winner's score on the test split."""
        self.test = {"run": run, "metrics": dict(metrics)}
        write_text(self.path / "test.json", json.dumps(self.test, indent=1) + "\n")

    def rows(self, plan: Plan, records: Sequence[Record]) -> list[Row]:
        """The ranked table."""
        return results(plan, records, self.baselines, test=self.test or None)

    def write_results(self, plan: Plan, records: Sequence[Record]) -> None:
        """Write results.csv."""
        write_results(self.path / "results.csv", self.rows(plan, records), metric=plan.config.metric)


def _scores(values: Any) -> dict[str, float] | None:
    """A map of finite numbers, else None."""
    if not isinstance(values, dict):
        return None
    numbers = {name: value for name, value in values.items() if _is_number(value)}
    return numbers if len(numbers) == len(values) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_baselines(path: Path) -> dict[str, dict[str, float]]:
    """The baselines; none where the file is missing or damaged: the next run computes them again."""
    found = {name: _scores(values) for name, values in (object_or_none(path) or {}).items()}
    scores = {name: values for name, values in found.items() if values is not None and "val_loss" in values}
    return scores if len(scores) == len(found) else {}


def _read_test(path: Path) -> dict[str, Any]:
    """The winner's test score; empty where the file is missing or damaged: it is computed again."""
    found = object_or_none(path) or {}
    metrics = _scores(found.get("metrics"))
    return found if isinstance(found.get("run"), int) and metrics is not None and "val_loss" in metrics else {}
