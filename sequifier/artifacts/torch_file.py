"""Files that torch writes: a full disk is an OSError, as with any other file, and damage is never loaded."""

import errno
import re
import zipfile
from pathlib import Path
from typing import Any

from sequifier.artifacts.disk import is_disk_full
from sequifier.artifacts.read_file import wrap_read_errors
from sequifier.errors import SequifierError
from sequifier.regular_file import check_is_file


def save(content: Any, path: Path) -> None:
    """Write tensors and plain values.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    import torch

    try:
        torch.save(content, path)
    except RuntimeError as error:
        # torch's own writer reports no error of the system.
        if is_disk_full(error):
            raise OSError(errno.ENOSPC, "the disk is full, or the file cannot be written") from error
        if "cannot be opened" in str(error) or "does not exist" in str(error):
            raise OSError(errno.EACCES, "the file cannot be written there", str(path)) from error
        raise


def load(what: str, path: Path, *, fix: str, error: type[SequifierError], mmap: bool = False) -> Any:
    """Read tensors and plain values onto the CPU, without running code.

    torch does not look at the checksums that it writes: a flipped bit would be a slightly different weight.

    Args:
        what: the file in a few words: `the checkpoint`.
        path: the file.
        fix: what to do about a damaged one.
        error: the kind of the error.
        mmap: leave tensors on disk until they are used.

    Raises:
        SequifierError: of kind `error`: the file is missing, damaged, or holds other things.
    """
    import pickle

    import torch

    with wrap_read_errors(what, path, fix=fix, error=error):
        _check_sums(path)
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except pickle.UnpicklingError as reason:
            # torch advises to load such a file without its safeguard, which would run whatever code is in it.
            raise ValueError(_refused(str(reason))) from reason


def _check_sums(path: Path) -> None:
    """Compare every entry with its CRC-32.

    Raises:
        OSError: there is no such file.
        ValueError: torch did not write it, or not like this.
    """
    check_is_file(path)
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a file of torch, or it is cut off")
    with zipfile.ZipFile(path) as entries:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.infolist()):
            raise ValueError("it is not a file of torch: its entries are compressed")
        if damaged := entries.testzip():
            raise ValueError(f"it is damaged: the checksum of {damaged} is wrong")


def _refused(message: str) -> str:
    if name := re.search(r"GLOBAL ([\w.]+)", message):
        return f"it holds {name[1]}, which could run code when it is loaded; only tensors and plain values are read"
    return "it holds other things than tensors and plain values, or it is damaged"
