"""The files of a sampler search: its ledger, its result file, and the export for `infer`.

    logs/[name]/ledger.jsonl                             the ledger, see artifacts/ledger.py, with `SamplerRecord`s
    logs/[name]/hyper_search_[strategy]_[stamp].json     `search_results`: metadata, best and all configurations
    best.yaml                                            `export`: the best of all, and of each sampler

A result file depends only on the records of the ledger.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.ledger import Ledger, Record, latest_by_run
from sequifier.artifacts.read_file import read_json
from sequifier.config.dump import dump_yaml
from sequifier.errors import RunError
from sequifier.printable import command_line

SCORE = "score"
"""The metric by which records are ranked: the mean score, 0 to 10, larger is better."""

RESULT_FILES = "hyper_search_*.json"
_KEYS = ("search_metadata", "best_configuration", "all_results")


class SamplerRecord(Record):
    """One line of the ledger of a sampler search: the state of one configuration.

    `identity` is a hash of the configuration and of all inputs of its score; `data` is a hash of these inputs: model,
    prompts, scores, judge. `metrics` has the measures in their own units, and the score as `score`.
    """

    search: str  # hash of strategy, seed, space and `data`: the search that proposed it
    strategy: str
    model: str
    sampler_type: str
    parameters: dict[str, int | float]
    mean_score: float | None = None  # 0 to 10, over prompts x samples
    std_score: float | None = None  # over prompts x samples
    standard_error: float | None = None  # of the mean; prompts are the sampling units
    scores: dict[str, float] = Field(default_factory=dict)  # the parts of the score, 0 to 10
    by_prompt: list[float | None] = Field(default_factory=list)  # mean score of each prompt
    sample_count: int = 0  # number of generations with a score
    missing: int = 0  # number of generations without a score


class SamplerLedger(Ledger):
    """The ledger of a sampler search."""

    kind: ClassVar[type[Record]] = SamplerRecord

    @property
    def trials(self) -> list[SamplerRecord]:
        """All records, oldest first."""
        return [record for record in self.records if isinstance(record, SamplerRecord)]


def of_search(records: Sequence[SamplerRecord], search: str) -> list[SamplerRecord]:
    """Return the last record of each configuration of one search, in order of proposal."""
    return list(latest_by_run(record for record in records if record.search == search).values())


def search_results(records: Sequence[SamplerRecord]) -> dict[str, Any]:
    """Return the content of the result file of one search.

    Args:
        records: all records of one `search`, oldest first, at least one.

    Returns:
        search_metadata; best_configuration (the first of all_results, null when no configuration has a score);
        all_results, the best first; without_score: failed configurations with the reason.
    """
    latest = list(latest_by_run(records).values())
    scored = [record for record in latest if record.state == "finished" and record.mean_score is not None]
    scored.sort(key=lambda record: (-(record.mean_score or 0.0), record.run))
    all_results = [_result(record) for record in scored]
    first = records[0]
    metadata = {
        "timestamp": max(record.time for record in records),
        "total_configurations": len(scored),
        "best_score": scored[0].mean_score if scored else None,
        "strategy": first.strategy,
        "seed": first.seed,
        "model": first.model,
        "name": first.name.rpartition("-run-")[0],
        "search": first.search,
        "evaluation": first.data,
        "failed_configurations": sum(record.state == "failed" for record in latest),
    }
    without = [
        {"run": record.run, "sampler_type": record.sampler_type, "parameters": record.parameters, "error": record.error}
        for record in latest
        if record.state == "failed"
    ]
    return {
        "search_metadata": metadata,
        "best_configuration": all_results[0] if all_results else None,
        "all_results": all_results,
        "without_score": without,
    }


def _result(record: SamplerRecord) -> dict[str, Any]:
    return {
        "run": record.run,
        "sampler_type": record.sampler_type,
        "parameters": record.parameters,
        "mean_score": record.mean_score,
        "std_score": record.std_score,
        "standard_error": record.standard_error,
        "scores": record.scores,
        "measures": {name: value for name, value in record.metrics.items() if name != SCORE},
        "sample_count": record.sample_count,
        "missing": record.missing,
        "evaluation_time": record.seconds.get("total"),
    }


def result_path(folder: Path, records: Sequence[SamplerRecord]) -> Path:
    """Return the path of the result file, named after the strategy and the time of the first record."""
    stamp = datetime.fromisoformat(records[0].time).strftime("%Y%m%d_%H%M%S")
    return folder / f"hyper_search_{records[0].strategy}_{stamp}.json"


def write_search_results(folder: Path, records: Sequence[SamplerRecord]) -> Path:
    """Write the result file of one search atomically and return its path.

    Args:
        folder: `logs/[name]`.
        records: see `search_results`.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    path = result_path(folder, records)
    write_text(path, json.dumps(search_results(records), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def read_search_results(path: Path) -> dict[str, Any]:
    """Read a result file.

    Raises:
        RunError: the file does not exist, or is not a result file.
    """
    content = read_json("the results", path, fix=f"give one of logs/NAME/{RESULT_FILES}", error=RunError)
    if not isinstance(content, dict) or not all(key in content for key in _KEYS):
        raise RunError(
            f"the file is not a result file of a sampler search: it must have {', '.join(_KEYS)}",
            where=str(path),
            fix=f"give one of logs/NAME/{RESULT_FILES}",
        )
    return content


def export(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the best configurations of one or several searches.

    Args:
        results: results of `search_results` or `read_search_results`, with comparable scores.

    Returns:
        best_overall, best_by_sampler (sampler -> its best configuration, in order of score) and search_metadata, a list
        for several searches. Each configuration has sampler_type, parameters, mean_score and std_score.

    Raises:
        RunError: no configuration has a score.
    """
    found = [result for one in results for result in one["all_results"]]
    found.sort(key=lambda result: -result["mean_score"])  # stable: the earlier one of equal scores
    if not found:
        raise RunError("no configuration has a score, so nothing can be exported", fix="see `without_score`")
    by_sampler: dict[str, Any] = {}
    for result in found:
        by_sampler.setdefault(result["sampler_type"], _exported(result))
    metadata = [dict(one["search_metadata"]) for one in results]
    return {
        "best_overall": _exported(found[0]),
        "best_by_sampler": by_sampler,
        "search_metadata": metadata[0] if len(metadata) == 1 else metadata,
    }


def _exported(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sampler_type": result["sampler_type"],
        "parameters": dict(result["parameters"]),
        "mean_score": result["mean_score"],
        "std_score": result.get("std_score"),
    }


def write_export(path: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Write `export` as YAML, atomically; `sequifier infer` reads it: `sampler: best.yaml`, or `best.yaml:min_p`.

    Raises:
        RunError: no configuration has a score, or the file cannot be written.
    """
    header = [
        "The best samplers of a search, written by sequifier.",
        f"Use: {command_line('infer', '-D', f'sampler={path}')}",
    ]
    write_text(path, dump_yaml(export(results), header=header))


def infer_command(model: str, values: Mapping[str, object], *, is_true_history: bool) -> str:
    """Return the command that samples with a sampler; "" for a model behind an endpoint, which `infer` does not read.

    Args:
        model: path of the model, as in records; "" where it is unknown.
        values: config fields of the sampler.
        is_true_history: whether each event is sampled after true events, so that nothing is generated.
    """
    if "://" in model:
        return ""
    generates = {} if is_true_history else {"autoregression": "true"}
    words = [f"{name}={value}" for name, value in {**values, **generates}.items()]
    return command_line("infer", *(["--model-path", model] if model else []), "-D", *words)
