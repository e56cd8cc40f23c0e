"""Several searches as one table, and the contribution of each.

Searches are comparable when they have the same metric, direction and kind, and training searches also the same data and
validation targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sequifier.errors import RunError
from sequifier.report.groups import TOP_SHARE, top_count
from sequifier.results.ranking import Configuration, ranked
from sequifier.results.trials import Table, Trial, with_varied_settings


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
    for table in tables:
        for trial in table.trials:
            key = trial.identity or f"{table.name} {trial.number}"
            if key not in kept or (kept[key].value is None and trial.value is not None):
                kept[key] = trial
    winners = {(table.name, table.test.get("run")): table.test for table in tables}
    scored = [(winners[place], trial) for trial in kept.values() if (place := (trial.search, trial.number)) in winners]
    scored.sort(key=lambda pair: (pair[1].value is None, first.sign * (pair[1].value or 0.0)))
    new_number = {(trial.search, trial.number): number for number, trial in enumerate(kept.values())}
    numbered = tuple(replace(trial, number=number) for number, trial in enumerate(kept.values()))
    test = {}
    if scored:
        test = {**scored[0][0], "run": new_number[scored[0][1].search, scored[0][1].number]}
    names = " + ".join(table.name for table in tables)
    return with_varied_settings(
        replace(
            first,
            name=names,
            trials=numbered,
            test=test,
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
