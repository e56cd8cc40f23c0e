"""The same configurations with more training seeds: `repeats` for all of them, `confirm_top` for the best.

Run k of a configuration trains with seed + k, so that runs of different configurations are paired by their seeds.
"""

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sequifier.artifacts.ledger import DONE, Record, latest_by_run
from sequifier.config.identity import identity
from sequifier.search.plan import Plan, PlannedRun, free_numbers

CONFIRMING_SEEDS = 2
"""Further seeds that a confirmed configuration is trained with."""


def n_to_come(plan: Plan) -> int:
    """The number of runs that are not in a plan yet: proposals with all their seeds, and confirmations."""
    confirmed = min(plan.config.confirm_top, len(plan.runs) + plan.n_to_propose)
    return plan.n_to_propose * plan.config.repeats + confirmed * CONFIRMING_SEEDS


def is_confirmation(plan: Plan, run: PlannedRun) -> bool:
    """Whether a run is a further seed of one of the best configurations, which no pruner judges."""
    assert run.config.seed is not None
    return run.config.seed >= plan.seed + plan.config.repeats


def with_repeats(plan: Plan, records: Sequence[Record]) -> Plan:
    """The plan with `repeats` runs of each configuration: all configurations first, then all with the next seed.

    It has the confirmations in the ledger too.
    """
    added: list[PlannedRun] = []
    not_sampled = set(plan.not_sampled)
    seeds = {record.seed for record in records}
    for offset in range(1, plan.config.repeats + CONFIRMING_SEEDS):
        wanted = offset < plan.config.repeats
        if not wanted and plan.seed + offset not in seeds:
            continue  # nothing was confirmed: thousands of identities need not be computed to see it
        repeats = seeded(plan, plan.runs, offset, records, taken=added)
        not_sampled |= {
            repeat.number
            for run, repeat in zip(plan.runs, repeats, strict=True)
            if run.number in plan.not_sampled and repeat.record is not None
        }
        added += [run for run in repeats if wanted or run.record]
    runs = tuple(sorted((*plan.runs, *added), key=lambda run: run.number))
    return replace(plan, runs=runs, not_sampled=frozenset(not_sampled))


def with_confirmations(plan: Plan, records: Sequence[Record]) -> Plan:
    """The plan with `CONFIRMING_SEEDS` further seeds for the `confirm_top` best configurations."""
    best = to_confirm(plan, records)
    runs = [run for run in plan.runs if run.number in best]
    known = {run.identity for run in plan.runs}
    added: list[PlannedRun] = []
    for offset in range(plan.config.repeats, plan.config.repeats + CONFIRMING_SEEDS):
        added += [run for run in seeded(plan, runs, offset, records, taken=added) if run.identity not in known]
    return replace(plan, runs=tuple(sorted((*plan.runs, *added), key=lambda run: run.number)))


def to_confirm(plan: Plan, records: Sequence[Record]) -> tuple[int, ...]:
    """The numbers of the runs to confirm, see `ToConfirm`."""
    found = ToConfirm(plan)
    for record in latest_by_run(records).values():
        found.add(record)
    return found.best


class ToConfirm:
    """The `confirm_top` best runs so far, among those in the config; records are added in the order of the ledger.

    Only runs with the search's own seed count, so that the results of confirmations do not change which are confirmed.

    Attributes:
        best: their numbers, best first; lower numbers first among equals.
    """

    def __init__(self, plan: Plan) -> None:
        self._config, self._seed = plan.config, plan.seed
        self._sign = 1 if plan.config.direction == "minimize" else -1
        self._gone = {run.record.run for run in plan.earlier}
        self._places: list[tuple[float, int]] = []
        self._place_of: dict[int, tuple[float, int]] = {}
        self.best: tuple[int, ...] = ()

    def add(self, record: Record) -> set[int]:
        """Take up a record; returns the runs that have become one of the best by it, or are no longer one."""
        before, number = self.best, record.run
        if number in self._place_of:
            del self._places[bisect.bisect_left(self._places, self._place_of.pop(number))]
        value = record.value_of(self._config.metric)
        if record.seed == self._seed and record.state in DONE and number not in self._gone and value is not None:
            self._place_of[number] = self._sign * value, number
            bisect.insort(self._places, self._place_of[number])
        self.best = tuple(number for _, number in self._places[: self._config.confirm_top])
        return {*before} ^ {*self.best}


def seeded(
    plan: Plan,
    runs: Iterable[PlannedRun],
    offset: int,
    records: Sequence[Record],
    *,
    taken: Sequence[PlannedRun] = (),
) -> list[PlannedRun]:
    """Runs with another training seed, with their numbers in the ledger or numbers that no other run has.

    Args:
        plan: the plan of the runs.
        runs: runs with the search's seed.
        offset: added to that seed.
        records: the ledger.
        taken: other new runs, whose numbers are in use.
    """
    known = {record.identity: record for record in latest_by_run(records).values()}
    by_merge_key = {record.merge_key: record for record in known.values() if record.merge_key}
    free = free_numbers([run.number for run in (*plan.runs, *taken)] + [record.run for record in records])
    result = []
    for run in runs:
        config = run.config.model_copy(update={"seed": plan.seed + offset})
        key = identity(config, plan.fingerprint)
        normal = run.normal.model_copy(update={"seed": config.seed})
        merge_key = key if run.normal == run.config else identity(normal, plan.fingerprint)
        record = known.get(key) or known.get(merge_key) or by_merge_key.get(merge_key)
        number = next(free) if record is None else record.run
        name = f"{plan.config.hp_search_name}-run-{number}"
        result.append(
            replace(
                run,
                number=number,
                name=name,
                config=config.model_copy(update={"model_name": name}),
                identity=key if record is None else record.identity,
                normal=normal,
                merge_key=merge_key,
                path=run.path.with_name(f"{name}.yaml"),
                record=record,
            )
        )
    return result
