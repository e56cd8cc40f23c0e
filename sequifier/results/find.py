"""Find a search by name or path, and the metric that ranks its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sequifier.artifacts.ledger import LEDGER_FILE, Record
from sequifier.config.catalogue.metric_names import higher_is_better
from sequifier.errors import RunError, did_you_mean
from sequifier.results.settings import value_at


@dataclass(frozen=True)
class Ranking:
    """The metric that ranks the runs of a search, and its direction."""

    metric: str
    direction: Literal["minimize", "maximize"]


def find_ranking(
    folder: Path,
    records: Sequence[Record],
    document: Mapping[str, Any],
    *,
    metric: str | None = None,
    direction: Literal["minimize", "maximize"] | None = None,
) -> Ranking:
    """Return the metric that ranks the runs: the one requested, else the one in the search's config.

    Args:
        folder: the ledger's folder.
        records: the ledger.
        document: the search's config, or a run file, which names the metric of training.
        metric: the requested metric, if any.
        direction: the requested direction, if any.

    Raises:
        RunError: no run has this metric, or its direction is unknown.
    """
    metric = metric or str(document.get("metric", "val_loss"))
    known = dict.fromkeys(name for record in records for name in record.metrics)
    if known and metric not in known and metric != "val_loss":
        raise RunError(
            f"no run has the metric `{metric}`", where=str(folder / LEDGER_FILE), fix=did_you_mean(metric, known)
        )
    direction = direction or direction_of(metric, document)
    if direction is None:
        raise RunError(
            f"the direction of `{metric}` is unknown", fix="add --direction minimize or --direction maximize"
        )
    return Ranking(metric, direction)


def direction_of(metric: str, document: Mapping[str, Any]) -> Literal["minimize", "maximize"] | None:
    """The direction of a metric; None where it is unknown.

    Args:
        metric: a metric of a ledger's records.
        document: the search's config, or a run file.
    """
    scripted = value_at(document, "evaluation_script.metrics", {})
    scripted = scripted if isinstance(scripted, Mapping) else {}
    if metric == document.get("metric", "val_loss"):
        return "maximize" if document.get("direction") == "maximize" else "minimize"
    if metric in scripted:
        return "maximize" if scripted[metric] == "maximize" else "minimize"
    if not metric.startswith("val_"):
        return None
    return "maximize" if higher_is_better(metric) else "minimize"


def find_search(name: str) -> Path:
    """The folder of a search's ledger.

    Args:
        name: the search's name below logs/ of the working folder, or the path of its folder or ledger.

    Raises:
        RunError: there is no such search.
    """
    path = Path(name)
    for folder in (Path("logs") / name, path, path.parent):
        is_parent_of_other_file = folder == path.parent and path.name != LEDGER_FILE
        if not is_parent_of_other_file and (folder / LEDGER_FILE).is_file():
            return folder
    known = sorted(ledger.parent.name for ledger in Path("logs").glob(f"*/{LEDGER_FILE}"))
    raise RunError(
        f"there is no search `{name}`",
        where=str(Path("logs").absolute()),
        fix=did_you_mean(name, known) if known else "run this in the project's folder, or give the path of a ledger",
    )


def newest_search(logs: Path = Path("logs")) -> Path:
    """The folder of the search whose ledger changed last.

    Raises:
        RunError: there is no search.
    """
    ledgers = sorted(logs.glob(f"*/{LEDGER_FILE}"), key=lambda path: (path.stat().st_mtime_ns, path))
    if not ledgers:
        raise RunError(
            "there is no search yet",
            where=str(logs.absolute()),
            fix="run this in the project's folder, or start a search: sequifier hyperparameter-search",
        )
    return ledgers[-1].parent
