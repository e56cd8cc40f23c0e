"""What a sampler search leaves: its ledger, the result file made of it, and the export that `infer` takes.

    logs/[name]/ledger.jsonl                             the truth, see artifacts/ledger.py; here with samplers in it
    logs/[name]/hyper_search_[strategy]_[stamp].json     `search_results`: metadata, the best, all, sorted
    best.yaml                                            `export`: the best of all and of each sampler

A result file is a reading of the ledger: the same records give the same file.
"""

import json
import shlex
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

SCORE = "score"
"""The metric of a record that ranks it: the mean score, 0 to 10, larger is better."""

RESULT_FILES = "hyper_search_*.json"
_KEYS = ("search_metadata", "best_configuration", "all_results")


class SamplerRecord(Record):
    """One line of the ledger of a sampler search: the state of one configuration from this moment on.

    `identity` is of the configuration and of all that its score follows from, `data` of the latter alone: model,
    prompts, scores, judge. `metrics` holds the measures in their own units, and the score as `score`.
    """

    search: str  # hash of strategy, seed, space and `data`: whose proposal this is
    strategy: str
    model: str
    sampler_type: str
    parameters: dict[str, int | float]
    mean_score: float | None = None  # 0 to 10, over prompts x samples
    std_score: float | None = None  # over the same
    standard_error: float | None = None  # of the mean: prompts are the sampling units
    scores: dict[str, float] = Field(default_factory=dict)  # the parts of the score, 0 to 10
    by_prompt: list[float | None] = Field(default_factory=list)  # the mean of each prompt
    sample_count: int = 0  # generations that have a score
    missing: int = 0  # generations without one: they are left out


class SamplerLedger(Ledger):
    """The ledger of a sampler search."""

    kind: ClassVar[type[Record]] = SamplerRecord

    @property
    def trials(self) -> list[SamplerRecord]:
        """All records, oldest first."""
        return [record for record in self.records if isinstance(record, SamplerRecord)]


def of_search(records: Sequence[SamplerRecord], search: str) -> list[SamplerRecord]:
    """The last record of each configuration of one search, in order of proposal."""
    return list(latest_by_run(record for record in records if record.search == search).values())


def search_results(records: Sequence[SamplerRecord]) -> dict[str, Any]:
    """The content of the result file of one search.

    Args:
        records: its ledger, all lines of one `search`, oldest first, at least one.

    Returns:
        search_metadata; best_configuration, one of all_results, null when no configuration has a score; all_results,
        the best first; without_score: configurations that failed, with the reason.
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
    """Where the results of a search are written: named after its strategy and the time of its first record."""
    stamp = datetime.fromisoformat(records[0].time).strftime("%Y%m%d_%H%M%S")
    return folder / f"hyper_search_{records[0].strategy}_{stamp}.json"


def write_search_results(folder: Path, records: Sequence[SamplerRecord]) -> Path:
    """Write the result file of one search atomically; returns its path.

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
        RunError: there is none, or it is something else.
    """
    content = read_json("the results", path, fix=f"give one of logs/NAME/{RESULT_FILES}", error=RunError)
    if not isinstance(content, dict) or not all(key in content for key in _KEYS):
        raise RunError(
            f"this is not a result file of a sampler search: it must have {', '.join(_KEYS)}",
            where=str(path),
            fix=f"give one of logs/NAME/{RESULT_FILES}",
        )
    return content


def export(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The best configurations of one or several searches.

    Args:
        results: as `search_results` or `read_search_results` give them. Scores of several are taken as comparable.

    Returns:
        best_overall, best_by_sampler (sampler -> its best, samplers in order of score) and search_metadata; of several
        searches a list of theirs. Each best: sampler_type, parameters, mean_score, std_score.

    Raises:
        RunError: no configuration has a score.
    """
    found = [result for one in results for result in one["all_results"]]
    found.sort(key=lambda result: -result["mean_score"])  # stable: of equals the earlier one
    if not found:
        raise RunError("no configuration has a score, so there is none to export", fix="look at `without_score`")
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
    """Write `export` as YAML, atomically. `sequifier infer` takes the file: `sampler: best.yaml`, `best.yaml:min_p`.

    Raises:
        RunError: no configuration has a score, or the file cannot be written.
    """
    header = ["The best samplers of a search, written by sequifier.", f"Use: sequifier infer -D sampler={path}"]
    write_text(path, dump_yaml(export(results), header=header))


def infer_command(model: str, values: Mapping[str, object], *, is_true_history: bool) -> str:
    """The command that draws with a sampler; "" for a model behind an endpoint, which `infer` does not take.

    Args:
        model: its path, as records name it; "" where it is not known.
        values: config fields that say which sampler.
        is_true_history: events are drawn behind true ones, so nothing is generated.
    """
    if "://" in model:
        return ""
    goes_on = {} if is_true_history else {"autoregression": "true"}
    words = [f"{name}={value}" for name, value in {**values, **goes_on}.items()]
    return shlex.join(["sequifier", "infer", *(["--model-path", model] if model else []), "-D", *words])
