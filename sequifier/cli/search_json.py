"""`hyperparameter-search --json`: the events of a search and its result on stdout, one JSON object per line.

docs/search.md documents the fields; new ones may be added, none is renamed.
"""

import json
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sequifier.cli.output import echo
from sequifier.results.deployed import deployed
from sequifier.results.plain import plain

if TYPE_CHECKING:
    from sequifier.search.session import SearchResult


class SearchEvents:
    """Prints each event of `api.search`; call it with events, in one thread.

    Args:
        verbose: steps, stages and the log lines of runs too.
    """

    def __init__(self, verbose: bool | None) -> None:
        self._verbose = verbose

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __call__(self, event: str, *, run: Any = None, slot: int = 0, **fields: Any) -> None:
        """Print an event of `api.search`."""
        if event == "planned":
            plan, placement = fields["plan"], fields["placement"]
            values = {
                "search": plan.config.hp_search_name,
                "strategy": plan.config.search_strategy,
                "seed": plan.seed,
                "data": plan.fingerprint,
                "n_runs": len(plan.runs) + plan.n_to_propose,
                "to_train": [planned.number for planned in fields["to_run"]],
                "n_to_propose": plan.n_to_propose,
                "workers": len(placement.slots),
                "cpu_threads": placement.cpu_threads,
                "seconds_left": fields["seconds_left"],
            }
            self._write(event, values)
        elif event == "run_started":
            names = ("until_epoch", "n_done", "n_runs", "seconds_left")
            about = {"name": run.name, "settings": dict(run.changed)}
            self._write(event, {"run": run.number, "slot": slot} | about | {name: fields[name] for name in names})
        elif event == "run_retried":
            batch = fields["batch"]
            sizes = {"batch_size": batch.batch_size, "accumulation_steps": batch.accumulation_steps}
            about = {"reason": fields["reason"], "action": fields["action"]}
            self._write(event, {"run": run.number, "slot": slot} | about | sizes)
        elif event == "run_ended":
            self._write(event, {"run": run.number, "slot": slot, "record": fields["record"].model_dump(mode="json")})
        elif event in ("epoch", "evaluation") or (event in ("step", "stage") and self._verbose):
            self._write(event, {"run": run.number, "slot": slot} | fields)
        elif event == "log":
            self._write(event, {"line": fields["line"]})
        elif event == "run_log" and (self._verbose or fields["line"].startswith("warning:")):
            self._write(event, {"run": run.number, "slot": slot, "line": fields["line"]})

    def result(self, result: "SearchResult") -> None:
        """Print the last line: the ranked table, rows as in `search-analysis --json`, and where its files are."""
        table, root = result.table, result.plan.config.root
        model = deployed(table, result.rows)
        values = {
            "ended": result.ended,
            "metric": table.metric,
            "direction": table.direction,
            "best_model": None if model is None else root / model.path,
            "results": root / "logs" / result.plan.config.hp_search_name / "results.csv",
            "rows": result.rows,
            "baselines": table.baselines,
            "test": table.test,
        }
        self._write("result", values)

    def _write(self, event: str, fields: dict[str, Any]) -> None:
        line = json.dumps(plain({"event": event, **fields}), ensure_ascii=False, allow_nan=False)
        echo(line)
