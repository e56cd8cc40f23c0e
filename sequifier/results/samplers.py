"""A sampler search as a table of its trials, read from its ledger or from one of its result files alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sequifier.artifacts.ledger import LEDGER_FILE, latest_by_run, read_ledger
from sequifier.artifacts.ledger_lock import is_locked
from sequifier.artifacts.read_file import json_lines
from sequifier.artifacts.sampler_results import SCORE, SamplerRecord, infer_command, read_search_results
from sequifier.config.catalogue.metric_names import SAMPLER_SCORES
from sequifier.errors import RunError, did_you_mean
from sequifier.results.run_files import read_document
from sequifier.results.search_folder import CONFIG_FILE
from sequifier.results.settings import Setting
from sequifier.results.trials import Direction, Table, Trial, finite, with_varied_settings

MINIMIZED = (*(name for name, score in SAMPLER_SCORES.items() if score.lower_is_better), "standard_error")
"""Prefixes of measures for which lower is better."""

SAMPLER = "sampler"
"""The setting that names the sampler; only its trials have its parameters as settings."""


def is_sampler_ledger(folder: Path) -> bool:
    """Whether the ledger in this folder is of a sampler search."""
    return "sampler_type" in next(json_lines(folder / LEDGER_FILE), {})


def collect_sampler_ledger(folder: Path, *, metric: str | None = None, direction: Direction | None = None) -> Table:
    """Read the newest search of a ledger, finished or running.

    Args:
        folder: the ledger's folder, `logs/[sampler_search_name]`.
        metric: a measure in its own unit instead of the score.
        direction: direction of the metric; None: the measure's own.

    Raises:
        RunError: the ledger is empty or damaged, or there is no such metric.
    """
    records = read_ledger(folder, SamplerRecord)
    if not records:
        raise RunError("the search has no configurations yet", where=str(folder / LEDGER_FILE))
    newest = [record for record in records if record.search == records[-1].search]
    table = sampler_table(folder, newest, read_document(folder / CONFIG_FILE), metric=metric, direction=direction)
    return replace(table, is_running=is_locked(folder))


def sampler_table(
    folder: Path,
    own: Sequence[SamplerRecord],
    document: Mapping[str, Any],
    *,
    metric: str | None = None,
    direction: Direction | None = None,
) -> Table:
    """The table of one search.

    Args:
        folder: the ledger's folder.
        own: records of the search, oldest first, at least one.
        document: the search's config as plain values.
        metric: a measure in its own unit instead of the score.
        direction: direction of the metric; None: the measure's own.

    Raises:
        RunError: there is no such metric.
    """
    started = {record.run: record.time for record in reversed(own)}
    trials = [_trial(folder.name, record, started[record.run], document) for record in latest_by_run(own).values()]
    return _table(
        folder.name,
        trials,
        metric,
        direction,
        folder=folder,
        source=folder / LEDGER_FILE,
        model=own[-1].model,
        data=own[-1].data,
        started=own[0].time,
        ended=own[-1].time,
        document=document,
    )


def collect_result_file(path: Path, *, metric: str | None = None, direction: Direction | None = None) -> Table:
    """Read a result file.

    Args:
        path: `hyper_search_[strategy]_[stamp].json`.
        metric: a measure in its own unit instead of the score.
        direction: direction of the metric; None: the measure's own.

    Raises:
        RunError: there is no such file or metric, or the file is not a result file.
    """
    content = read_search_results(path)
    metadata = content["search_metadata"]
    name = str(metadata.get("name") or path.stem)
    model, document = str(metadata.get("model") or ""), read_document(path.parent / CONFIG_FILE)
    trials = [_result(name, place, result, model, document) for place, result in enumerate(content["all_results"])]
    failed = content.get("without_score") or []
    trials += [_without(name, len(trials) + place, result, model, document) for place, result in enumerate(failed)]
    return _table(
        name,
        sorted(trials, key=lambda trial: trial.number),
        metric,
        direction,
        folder=path.parent,
        source=path,
        model=model,
        data=str(metadata.get("evaluation") or ""),
        ended=str(metadata.get("timestamp") or ""),
        document=document,
    )


def _table(name: str, trials: Sequence[Trial], metric: str | None, direction: Direction | None, **fields: Any) -> Table:
    metric = metric or SCORE
    known = dict.fromkeys(key for trial in trials for key in trial.metrics)
    if metric != SCORE and metric not in known:
        raise RunError(f"no configuration has the measure `{metric}`", fix=did_you_mean(metric, [SCORE, *known]))
    # `standard_error`, `mae_TARGET`, `repetition_held_out`; the parts of the score are called `score_...`.
    is_minimized = metric.startswith(MINIMIZED)
    if metric != SCORE:
        trials = [_by_measure(trial, metric) for trial in trials]
    table = Table(
        name=name,
        kind="sampler",
        metric=metric,
        direction=direction or ("minimize" if is_minimized else "maximize"),
        trials=tuple(trials),
        group_name="sampler",
        **fields,
    )
    return with_varied_settings(table, keep_equal=list(dict.fromkeys(key for trial in trials for key in trial.values)))


def _by_measure(trial: Trial, metric: str) -> Trial:
    return replace(trial, value=trial.metrics.get(metric), spread=None, by_prompt=())


def _trial(search: str, record: SamplerRecord, started: str, document: Mapping[str, Any]) -> Trial:
    metrics = dict(record.metrics)
    if record.standard_error is not None:
        metrics["standard_error"] = record.standard_error
    prompts = record.by_prompt
    return Trial(
        search=search,
        number=record.run,
        name=record.name,
        state=record.state,
        value=record.mean_score if record.state == "finished" else None,
        seconds=record.seconds.get("total"),
        metrics=metrics | {f"score_{name}": value for name, value in record.scores.items()},
        spread=record.std_score,
        n_samples=record.sample_count or None,
        by_prompt=tuple(value for value in prompts if value is not None) if None not in prompts else (),
        error=record.error or "",
        identity=record.identity,
        attempts=record.attempt,
        started=started,
        ended=record.time,
        **_sampler(record.sampler_type, record.parameters, record.model, document),
    )


def _result(search: str, place: int, result: Mapping[str, Any], model: str, document: Mapping[str, Any]) -> Trial:
    """An entry of all_results; a key that is missing, in a file of another program, is unknown."""
    number = result.get("run", place)
    metrics = {name: value for name, value in (result.get("measures") or {}).items() if finite(value) is not None}
    parts = {f"score_{name}": value for name, value in _parts(result).items()}
    error = finite(result.get("standard_error"))
    value = finite(result.get("mean_score"))
    return Trial(
        search=search,
        number=int(number),
        name=f"{search}-run-{number}",
        state="finished" if value is not None else "failed",
        value=value,
        seconds=finite(result.get("evaluation_time")),
        metrics={**metrics, **parts} | ({} if error is None else {"standard_error": error}),
        spread=finite(result.get("std_score")),
        n_samples=result.get("sample_count"),
        **_sampler(str(result.get("sampler_type", "")), result.get("parameters") or {}, model, document),
    )


def _parts(result: Mapping[str, Any]) -> dict[str, float]:
    scores = result.get("scores")
    return (
        {name: value for name, value in scores.items() if finite(value) is not None} if isinstance(scores, dict) else {}
    )


def _without(search: str, place: int, result: Mapping[str, Any], model: str, document: Mapping[str, Any]) -> Trial:
    number = int(result.get("run", place))
    return Trial(
        search=search,
        number=number,
        name=f"{search}-run-{number}",
        state="failed",
        error=str(result.get("error") or ""),
        **_sampler(str(result.get("sampler_type", "")), result.get("parameters") or {}, model, document),
    )


def _sampler(
    sampler: str, parameters: Mapping[str, Setting], model: str, document: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of a trial that follow from a sampler and its parameters."""
    values = {f"sampler.{name}": value for name, value in parameters.items() if name != "max_tokens"}
    is_true_history = document.get("history") == "true"
    return {
        "settings": {SAMPLER: sampler, **parameters},
        "values": {SAMPLER: sampler, **parameters},
        "configuration": repr((sampler, sorted(parameters.items()))),
        "group": sampler,
        "command": infer_command(model, values, is_true_history=is_true_history) if values else "",
    }
