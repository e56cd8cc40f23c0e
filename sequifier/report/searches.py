"""Finds a search by what a person calls it."""

from pathlib import Path

from sequifier.artifacts.ledger import LEDGER_FILE
from sequifier.errors import RunError, did_you_mean


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
