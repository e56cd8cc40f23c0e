"""The format version that a file says it has: older ones are read, newer ones are refused."""

from pathlib import Path

from sequifier.errors import DataError, ModelError


def check_format(
    found: object, newest: int, what: str, path: Path, *, error: type[DataError] | type[ModelError] = DataError
) -> None:
    """Check a version before anything else of the file is looked at.

    Args:
        found: what the file says; None: it was written before versions were.
        newest: the newest that this version of Sequifier reads.
        what: the file is, for the message.
        path: of the file.
        error: to raise.

    Raises:
        DataError, ModelError: the version is newer, or is not one.
    """
    if found is None:
        return
    is_number = isinstance(found, int) and not isinstance(found, bool)
    if is_number and 1 <= found <= newest:  # type: ignore[operator]
        return
    is_newer = is_number and found > newest  # type: ignore[operator]
    raise error(
        f"{what} has format version {found!r}; this version of Sequifier reads versions up to {newest}",
        where=str(path),
        fix="install the version of Sequifier that wrote it" if is_newer else "the file was changed: write it again",
    )
