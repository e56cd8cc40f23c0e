"""Files made from an analysis: the best run as a train.yaml, the best samplers, the next search."""

from collections.abc import Sequence
from pathlib import Path

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.sampler_results import infer_command, write_export
from sequifier.config.dump import dump_yaml
from sequifier.errors import RunError
from sequifier.printable import command_line
from sequifier.report.analysis import Analysis
from sequifier.report.next_search import next_search
from sequifier.results.run_files import read_document
from sequifier.results.settings import text_of
from sequifier.results.trials import Table, Trial


def export_best(analysis: Analysis, tables: Sequence[Table], path: Path) -> str:
    """Write the best of a search, atomically; returns the command that uses it.

    For a training search this is the run file of the best run, renamed to `[run]-best`, ready for `sequifier train`.
    For a sampler search it is the file that `sequifier infer` reads: best_overall, best_by_sampler, search_metadata.

    Args:
        analysis: of the searches.
        tables: the analysed searches.
        path: of the YAML file.

    Raises:
        RunError: no run has a result, the run file is missing, or the file cannot be written.
    """
    best = next((row for row in analysis.rows if row.rank == 1), None)
    if best is None:
        raise RunError("no run has a result, so there is nothing to export", where=str(analysis.table.source))
    own = next(table for table in tables if table.name == best.first.search)
    if analysis.table.kind == "sampler":
        write_export(path, [_results(table) for table in tables])
        return infer_command(own.model, {"sampler": path}, is_true_history=own.document.get("history") == "true")
    file = Path(best.first.config_path)
    document = read_document(file) or read_document(own.folder.absolute().parent.parent / file)
    if not document:
        raise RunError(
            f"the run file of run {best.first.number} is missing",
            where=str(file),
            fix="write it again: sequifier hyperparameter-search --dry-run with the search's config",
        )
    command = _with_config("train", path)
    value = "" if best.value is None else f"{analysis.table.metric} {best.value!r}"
    header = [
        f"The best run of the search {best.first.search}, written by sequifier: {best.first.name}, {value}.",
        f"Train it again: {command}",
    ]
    write_text(path, dump_yaml({**document, "model_name": f"{best.first.name}-best"}, header=header))
    return command


def export_next(analysis: Analysis, path: Path) -> str:
    """Write the config of the next, narrower search, atomically; returns the command that starts it.

    Raises:
        RunError: see `next_search.next_search`, or the file cannot be written.
    """
    write_text(path, next_yaml(analysis)[1])
    return next_command(analysis, path)


def next_command(analysis: Analysis, path: Path) -> str:
    """Return the command that starts the next search."""
    command = "sampler-search" if analysis.table.kind == "sampler" else "hyperparameter-search"
    return _with_config(command, path)


def _with_config(command: str, path: Path) -> str:
    return command_line(command, "--config-path", path)


def next_yaml(analysis: Analysis) -> tuple[str, str]:
    """Return the name of the next search, and its config as YAML with the ranges that it narrows as comments.

    Raises:
        RunError: see `next_search.next_search`.
    """
    values = next_search(analysis)
    header = [
        f"The search after {analysis.table.name}, written by sequifier: narrowed to the best quarter of its",
        f"{sum(row.rank is not None for row in analysis.rows)} configurations with a result.",
        *(
            f"{each.parameter}: {text_of(each.low)} to {text_of(each.high)} of {text_of(each.tried_low)} to "
            f"{text_of(each.tried_high)}"
            for each in analysis.ranges
            if each.low is not None and not each.shares
        ),
    ]
    key = "sampler_search_name" if analysis.table.kind == "sampler" else "hp_search_name"
    return str(values[key]), dump_yaml(values, header=header)


def _results(table: Table) -> dict[str, object]:
    """Return a sampler search in the form of its result file."""
    scored = [trial for trial in table.trials if trial.is_complete]
    scored.sort(key=lambda trial: (table.sign * (trial.value or 0.0), trial.number))
    return {
        "search_metadata": {
            "timestamp": table.ended,
            "total_configurations": len(scored),
            "best_score": scored[0].value if scored else None,
            "name": table.name,
            "metric": table.metric,
            "evaluation": table.data,
        },
        "all_results": [_result(trial) for trial in scored],
    }


def _result(trial: Trial) -> dict[str, object]:
    return {
        "sampler_type": trial.group,
        "parameters": {name: value for name, value in trial.settings.items() if name != "sampler"},
        "mean_score": trial.value,
        "std_score": trial.spread,
    }
