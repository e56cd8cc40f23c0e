"""Finds a search by what a person calls it, whether somebody works on it, and what ranks its runs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sequifier.artifacts.ledger import LEDGER_FILE, LOCK_FILE, Record
from sequifier.errors import RunError, did_you_mean
from sequifier.results.run_files import direction_of, read_document

CONFIG_FILE = "search.yaml"
"""What the search was asked for, in one piece."""


@dataclass(frozen=True)
class Ranking:
    """What ranks the runs of a search."""

    metric: str
    direction: Literal["minimize", "maximize"]


def find_ranking(
    folder: Path,
    records: Sequence[Record],
    documents: Mapping[int, Mapping[str, Any]],
    *,
    metric: str | None = None,
    direction: Literal["minimize", "maximize"] | None = None,
) -> Ranking:
    """What ranks the runs: what the reader says, else the search's config beside its ledger, else its run files.

    Args:
        folder: of the ledger.
        records: the ledger.
        documents: run files by run number. They name what a run trains by, which is not what a script measures later.
        metric: that the reader asks for.
        direction: the same.

    Raises:
        RunError: no run has this metric, or nothing says which way it is better.
    """
    said = read_document(folder / CONFIG_FILE) or next(iter(documents.values()), {})
    metric = metric or str(said.get("metric", "val_loss"))
    known = dict.fromkeys(name for record in records for name in record.metrics)
    if known and metric not in known and metric != "val_loss":
        raise RunError(
            f"no run has the metric `{metric}`", where=str(folder / LEDGER_FILE), fix=did_you_mean(metric, known)
        )
    direction = direction or direction_of(metric, said)
    if direction is None:
        raise RunError(
            f"which way `{metric}` is better is not known", fix="add --direction minimize or --direction maximize"
        )
    return Ranking(metric, direction)


def find_search(name: str) -> Path:
    """The folder of a search's ledger.

    Args:
        name: of the search below logs/ of the working folder, or the path of its folder or ledger.

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
        fix=did_you_mean(name, known) if known else "call it from the project's folder, or give the path of its ledger",
    )


def newest_search(logs: Path = Path("logs")) -> Path:
    """The folder of the search that was worked on last.

    Raises:
        RunError: there is none.
    """
    ledgers = sorted(logs.glob(f"*/{LEDGER_FILE}"), key=lambda path: (path.stat().st_mtime_ns, path))
    if not ledgers:
        raise RunError(
            "there is no search yet",
            where=str(logs.absolute()),
            fix="call it from the project's folder, or start one: sequifier hyperparameter-search",
        )
    return ledgers[-1].parent


def is_running(folder: Path) -> bool:
    """Whether a process of this machine works on the search.

    The lock itself is not tried: a search that starts at that moment would find it taken.
    """
    lock = folder / LOCK_FILE
    try:
        number = int(lock.read_text().split()[-1])
        os.kill(number, 0)
    except PermissionError:
        return True
    except (OSError, ValueError, IndexError, OverflowError):
        return False
    opened = Path(f"/proc/{number}/fd")
    if not opened.exists():  # no Linux
        return True
    try:
        return any(link.resolve() == lock.resolve() for link in opened.iterdir())
    except OSError:
        return True
