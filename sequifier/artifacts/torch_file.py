"""Files of torch: a full disk is an OSError, as with other files, and a damaged file is never loaded."""

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
        # The writer of torch reports no error of the system.
        if is_disk_full(error):
            raise OSError(errno.ENOSPC, "the disk is full, or the file cannot be written") from error
        if "cannot be opened" in str(error) or "does not exist" in str(error):
            raise OSError(errno.EACCES, "the file cannot be written there", str(path)) from error
        raise


def load(what: str, path: Path, *, fix: str, error: type[SequifierError], mmap: bool = False) -> Any:
    """Read tensors and plain values onto the CPU, without running code.

    The checksums are verified, which torch does not do: a flipped bit would load as a slightly different weight.

    Args:
        what: the file in a few words: `the checkpoint`.
        path: the file.
        fix: how to fix a damaged file.
        error: class of the error.
        mmap: leave tensors on disk until they are used.

    Raises:
        SequifierError: an instance of `error`: the file is missing or damaged, or has other objects.
    """
    import pickle

    import torch

    with wrap_read_errors(what, path, fix=fix, error=error):
        _check_sums(path)
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except pickle.UnpicklingError as reason:
            # torch advises to load such a file without its safeguard, which would run any code in it.
            raise ValueError(_refused(str(reason))) from reason


def _check_sums(path: Path) -> None:
    """Compare every entry with its CRC-32.

    Raises:
        OSError: the file does not exist.
        ValueError: the file was not written by torch, or is damaged.
    """
    check_is_file(path)
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a file of torch, or it is truncated")
    with zipfile.ZipFile(path) as entries:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.infolist()):
            raise ValueError("it is not a file of torch: its entries are compressed")
        if damaged := entries.testzip():
            raise ValueError(f"it is damaged: the checksum of {damaged} is wrong")


def _refused(message: str) -> str:
    if name := re.search(r"GLOBAL ([\w.]+)", message):
        return f"it has {name[1]}, which could run code when it is loaded; only tensors and plain values are read"
    return "it has other objects than tensors and plain values, or it is damaged"
