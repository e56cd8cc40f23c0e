"""Writing with torch: a full disk is an OSError, as with any other file."""

import errno
from pathlib import Path
from typing import Any


def save(content: Any, path: Path) -> None:
    """Write tensors and plain values.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    import torch

    try:
        torch.save(content, path)
    except RuntimeError as error:
        # torch's own writer reports a full disk so.
        if "PytorchStreamWriter" in str(error) or "enforce fail" in str(error):
            raise OSError(errno.ENOSPC, "the disk is full, or the file cannot be written") from error
        raise
