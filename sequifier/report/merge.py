"""Several searches as one table, and the contribution of each.

Searches are comparable when they have the same metric, direction and kind, and training searches also the same data and
validation targets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sequifier.errors import RunError
from sequifier.report.groups import TOP_SHARE, top_count
from sequifier.results.environment import difference_warning
from sequifier.results.ranking import Configuration, ranked
from sequifier.results.search_folder import is_better_baseline
from sequifier.results.trials import TEST, Table, Trial, with_varied_settings


@dataclass(frozen=True)
class Share:
    """One search among several.

    Attributes:
        name: of the search.
        n_trials: number of its trials.
        n_complete: number of completed trials with a result.
        n_shared: number of trials that an earlier search of the list has too; the merged table has them once.
        best: its best result; None without one.
        best_run: number of the best trial.
        rank: rank of its best configuration among all searches.
        in_top: number of configurations in the best quarter of all searches that it found first.
        seconds: time spent.
        seconds_per_trial: time spent per completed trial; None without one.
    """

    name: str
    n_trials: int
    n_complete: int
    n_shared: int
    best: float | None
    best_run: int | None
    rank: int | None
    in_top: int
    seconds: float
    seconds_per_trial: float | None


@dataclass(frozen=True)
class Comparison:
    """The contributions of several searches, in the order in which they were named."""

    searches: tuple[Share, ...]
    top_share: float = TOP_SHARE


def merged(tables: Sequence[Table]) -> Table:
    """Merge searches into one table: trials are renumbered, and a run that two searches share is counted once.

    Raises:
        RunError: the searches are not comparable.
    """
    first = tables[0]
    for table in tables[1:]:
        _check_comparable(first, table)
    kept: dict[str, Trial] = {}
    scored: dict[str, Table] = {}
    for table in tables:
        for trial in table.trials:
            key = trial.identity or f"{table.name} {trial.number}"
            if key not in kept or (kept[key].value is None and trial.value is not None):
                kept[key] = trial
            if trial.number == table.test.get("run"):
                scored[key] = table
    numbered = {key: replace(trial, number=number) for number, (key, trial) in enumerate(kept.items())}
    baselines, sums = _baselines(tables)
    test: Mapping[str, Any] = {}
    with_value = {key: first.sign * value for key in scored if (value := kept[key].value) is not None}
    if with_value:  # the best of the runs that were scored on the test split
        key = min(with_value, key=with_value.__getitem__)
        test, sums[TEST] = {**scored[key].test, "run": numbered[key].number}, scored[key].folder
    names = " + ".join(table.name for table in tables)
    return with_varied_settings(
        replace(
            first,
            name=names,
            trials=tuple(numbered.values()),
            baselines=baselines,
            sums=sums,
            test=test,
            difference=difference_warning(trial.environment for trial in numbered.values()),
            order_checks=(),  # each is about the best run of its own search
            is_running=any(table.is_running for table in tables),
            started=min((table.started for table in tables if table.started), default=""),
            ended=max((table.ended for table in tables if table.ended), default=""),
            document={**first.document, "confirm_top": 0},
        )
    )


def compare_searches(tables: Sequence[Table], rows: Sequence[Configuration]) -> Comparison:
    """Return the contribution of each search.

    Args:
        tables: the searches, as for `merged`.
        rows: the ranked configurations of the merged table.
    """
    with_result = [row for row in rows if row.rank is not None]
    top = with_result[: top_count(len(with_result))]
    earlier: set[str] = set()
    shares = []
    for table in tables:
        own = ranked(table)
        best = next((row for row in own if row.rank == 1), None)
        spent = sum((trial.seconds or 0.0) + trial.retried_seconds for trial in table.trials)
        complete = table.complete
        place = None
        if best is not None:
            same = [row.rank for row in with_result if row.first.configuration == best.first.configuration]
            place = same[0] if same else None
        shares.append(
            Share(
                name=table.name,
                n_trials=len(table.trials),
                n_complete=len(complete),
                n_shared=sum(bool(trial.identity) and trial.identity in earlier for trial in table.trials),
                best=None if best is None else best.value,
                best_run=None if best is None else best.first.number,
                rank=place,
                in_top=sum(row.first.search == table.name for row in top),
                seconds=spent,
                seconds_per_trial=spent / len(complete) if complete else None,
            )
        )
        earlier |= {trial.identity for trial in table.trials if trial.identity}
    return Comparison(tuple(shares))


def _baselines(tables: Sequence[Table]) -> tuple[dict[str, Mapping[str, float]], dict[str, Path]]:
    """The better result of each baseline, as in a search whose runs differ in what they read, and its folder."""
    found: dict[str, Mapping[str, float]] = {}
    folders: dict[str, Path] = {}
    for table in tables:
        for name, scores in table.baselines.items():
            if name not in found or is_better_baseline(scores, found[name], table.metric, maximize=table.maximize):
                found[name], folders[name] = scores, table.folder
    return found, folders


def _check_comparable(first: Table, other: Table) -> None:
    """Raise where the results of two searches are not comparable."""
    where = f"{first.source} and {other.source}"
    if first.kind != other.kind:
        raise RunError(f"a {first.kind} search cannot be compared with a {other.kind} search", where=where)
    if (first.metric, first.direction) != (other.metric, other.direction):
        raise RunError(
            f"{first.name} ranks by {first.metric} ({first.direction}), {other.name} by {other.metric} "
            f"({other.direction})",
            where=where,
            fix="give one that both have: --metric NAME --direction minimize",
        )
    if first.kind == "sampler" and first.data != other.data:
        raise RunError(
            "the searches do not score alike: model, prompts, seed, samples_per_config, scores or judge differ",
            where=where,
            fix="compare searches that differ in samplers, ranges and strategy alone; analyse each of these alone",
        )
    if first.data and other.data and first.data != other.data:
        raise RunError(
            f"the searches ran on different data: {first.data} and {other.data}",
            where=where,
            fix="compare searches on the same preprocessed data; analyse each of these alone",
        )
    if first.targets and other.targets and first.targets != other.targets:
        raise RunError(
            f"the searches were scored on different targets: {dict(first.targets)} and {dict(other.targets)}",
            where=where,
            fix="compare searches with the same target_columns and evaluation_context",
        )
