"""Deterministic algorithms, of torch and of cuBLAS."""

import os

import torch


def use_deterministic_algorithms(is_required: bool) -> None:
    """Use deterministic algorithms only, or any; before this process multiplies its first matrices on a GPU."""
    if is_required:
        fix_workspaces()
    torch.use_deterministic_algorithms(is_required)


def fix_workspaces() -> None:
    """Give cuBLAS workspaces of a fixed size, without which it is not deterministic and torch refuses to call it.

    torch looks once in the life of a process, at its first product. A process that trains several runs calls this
    before the first, for those that come later.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
