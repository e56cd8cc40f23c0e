"""Format versions of files: older versions are read, newer ones are refused."""

from pathlib import Path

from sequifier.errors import DataError, ModelError


def check_format(
    found: object, newest: int, what: str, path: Path, *, error: type[DataError] | type[ModelError] = DataError
) -> None:
    """Check the format version of a file before its content.

    Args:
        found: the version in the file; None for a file from before versions.
        newest: the newest version that this version of Sequifier reads.
        what: the file in a few words, for the message.
        path: the file.
        error: class of the error.

    Raises:
        DataError, ModelError: the version is newer, or not a version.
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
