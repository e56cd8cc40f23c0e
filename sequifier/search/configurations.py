"""Which runs are the same configuration, trained with different seeds: by `repeats` or `confirm_top`."""

from collections.abc import Sequence

from sequifier.artifacts.ledger import Record, latest_by_run
from sequifier.config.identity import identity
from sequifier.config.train import TrainConfig
from sequifier.search.plan import Plan


def configurations(plan: Plan, records: Sequence[Record]) -> list[tuple[int, ...]]:
    """The numbers of all runs, those that differ by their training seed alone together, in order of the first one.

    A run of the ledger that the plan does not have is recognised by its identity, where the plan has another run of its
    configuration, else by what its run file says.
    """
    latest = latest_by_run(records)
    key_of: dict[int, str] = {}
    originals: dict[str, TrainConfig] = {}
    same: dict[str, str] = {}  # merge key -> key of the configuration
    for run in sorted(plan.runs, key=lambda run: run.config.seed != plan.seed):
        key, merge_key = run.identity, run.merge_key
        if run.config.seed != plan.seed:  # after those of the search's own seed: it is one of them, where there is one
            key, merge_key = (
                identity(config.model_copy(update={"seed": plan.seed}), plan.fingerprint)
                for config in (run.config, run.normal)
            )
            key = key if key in originals else same.get(merge_key, key)
        key_of[run.number] = key
        originals[key] = run.config
        same.setdefault(merge_key, key)
    others = {number: record for number, record in latest.items() if number not in key_of}
    repeated = {
        identity(config.model_copy(update={"seed": seed}), plan.fingerprint): key
        for seed in {record.seed for record in others.values()} - {plan.seed}
        for key, config in originals.items()
    }
    settings = {run.record.run: repr(sorted(run.settings.items())) for run in plan.earlier if run.settings}
    for number, record in others.items():
        key_of[number] = repeated.get(record.identity) or settings.get(number, record.identity)
    found: dict[str, list[int]] = {}
    for number in sorted(key_of):
        found.setdefault(key_of[number], []).append(number)
    return [tuple(numbers) for numbers in found.values()]
