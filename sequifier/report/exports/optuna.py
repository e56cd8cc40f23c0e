"""A search as an Optuna study, for Optuna's dashboard, plots and importances.

The study is a snapshot of the ledger; a second export replaces it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sequifier.artifacts.ledger import LEDGER_FILE, Record, latest_by_run, read_ledger
from sequifier.errors import RunError
from sequifier.report.groups import is_logarithmic
from sequifier.results.samplers import is_sampler_ledger
from sequifier.results.settings import Setting
from sequifier.results.training import collect_search

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

MADE_BY = "sequifier_ledger"
"""User attribute of a study: the ledger that it was made from. Only such a study is replaced."""

_ENDED_WITHOUT_VALUE = ("failed", "oom", "diverged", "finished")


def export_optuna(
    folder: Path, url: str, *, metric: str | None = None, direction: Literal["minimize", "maximize"] | None = None
) -> int:
    """Write a finished or running search into an Optuna storage, as a study named like the search.

    Trials are runs in order of number: the settings in which they differ are parameters, the metric after each epoch is
    an intermediate value, and run, files, seconds and other facts are user attributes. Finished and diverged runs with
    a result are COMPLETE, pruned ones PRUNED, failed ones FAIL, interrupted and running ones RUNNING.

    Args:
        folder: of the ledger, named like the search, `logs/[hp_search_name]`.
        url: of the storage: `sqlite:///study.db`.
        metric: value of the trials; None: see `searches.find_ranking`.
        direction: minimize or maximize; None: the direction of the metric.

    Returns:
        The number of trials.

    Raises:
        RunError: the ledger or the metric does not exist, it is a sampler search, the storage cannot be opened, or it
            has another study of this name.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    if is_sampler_ledger(folder):
        raise RunError(
            "a sampler search is not written as an Optuna study",
            where=str(folder / LEDGER_FILE),
            fix="use --html, --tensorboard or --mlflow",
        )
    records = read_ledger(folder, Record)
    if not records:
        raise RunError("the search has no runs yet", where=str(folder / LEDGER_FILE))
    table = collect_search(folder, metric=metric, direction=direction)
    settings = {
        trial.number: {name: trial.settings[name] for name in table.all_settings if name in trial.settings}
        for trial in table.trials
    }
    ledger = str((folder / LEDGER_FILE).absolute())
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = optuna.storages.RDBStorage(url)
        try:
            _make_room(storage, folder.name, ledger, url)
            study = optuna.create_study(storage=storage, study_name=folder.name, direction=table.direction)
            study.set_user_attr(MADE_BY, ledger)
            study.set_user_attr("metric", table.metric)
            trials = _trials(records, settings, table.metric)
            study.add_trials(trials)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (SQLAlchemyError, ImportError, optuna.exceptions.OptunaError) as error:
        raise RunError(
            f"cannot write to the Optuna storage: {str(error).splitlines()[0]}",
            where=url,
            fix="give a storage as Optuna names them: sqlite:///study.db",
        ) from error
    return len(trials)


def _make_room(storage: "RDBStorage", name: str, ledger: str, url: str) -> None:
    """Delete an earlier export of the same search; another study of this name is left alone."""
    import optuna

    for summary in optuna.get_all_study_summaries(storage=storage):
        if summary.study_name != name:
            continue
        if summary.user_attrs.get(MADE_BY) != ledger:
            raise RunError(
                f"the storage has a study `{name}` that is not an export of this search",
                where=url,
                fix="choose another file, or delete the study",
            )
        optuna.delete_study(study_name=name, storage=storage)


def _trials(
    records: Sequence[Record], settings: Mapping[int, Mapping[str, Setting]], metric: str
) -> "list[FrozenTrial]":
    """Return one trial per run."""
    values: dict[str, set[Setting]] = {}
    for found in settings.values():
        for name, value in found.items():
            values.setdefault(name, set()).add(value)
    distributions = {name: distribution(found) for name, found in values.items()}
    started = {record.run: record.time for record in reversed(records)}
    return [
        _trial(record, settings.get(record.run, {}), distributions, metric, started[record.run])
        for record in latest_by_run(records).values()
    ]


def distribution(values: Collection[Setting]) -> "BaseDistribution":
    """Return the smallest distribution that contains the values of a parameter."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return CategoricalDistribution(sorted(values, key=repr))
    low, high = min(numbers), max(numbers)
    is_log = is_logarithmic(low, high)
    if all(isinstance(value, int) for value in numbers):
        return IntDistribution(int(low), int(high), log=is_log)
    return FloatDistribution(float(low), float(high), log=is_log)


def _trial(
    record: Record,
    parameters: Mapping[str, Setting],
    distributions: "Mapping[str, BaseDistribution]",
    metric: str,
    started: str,
) -> "FrozenTrial":
    from optuna.trial import TrialState, create_trial

    value = record.value_of(metric)
    states = {"pruned": TrialState.PRUNED, "planned": TrialState.WAITING}
    state = states.get(record.state, TrialState.RUNNING)
    if record.state in _ENDED_WITHOUT_VALUE:
        has_result = record.state not in ("failed", "oom") and value is not None
        state = TrialState.COMPLETE if has_result else TrialState.FAIL
    trial = create_trial(
        state=state,
        value=value if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        params=dict(parameters),
        distributions={name: distributions[name] for name in parameters},
        intermediate_values=dict(enumerate(record.curve, start=1)),
        user_attrs=_attributes(record),
    )
    if state != TrialState.WAITING:
        trial.datetime_start = _local(started)
    if state.is_finished():
        trial.datetime_complete = _local(record.time)
    return trial


def _attributes(record: Record) -> dict[str, Any]:
    """Return the facts that Optuna has no field for; unknown ones are left out."""
    attributes = {
        "run": record.run,
        "name": record.name,
        "state": record.state,
        "seed": record.seed,
        "seconds": record.seconds.get("total"),
        "best_epoch": record.best_epoch,
        "metrics": record.metrics or None,
        "files": record.files or None,
        "peak_memory_bytes": record.peak_memory_bytes,
        "error": record.error,
        "identity": record.identity,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _local(time: str) -> datetime:
    """Return a ledger's time in Optuna's form: local, without a time zone."""
    return datetime.fromisoformat(time).astimezone().replace(tzinfo=None)
