"""Deterministic algorithms, of torch and of cuBLAS. Importing this loads no torch."""

import os


def fix_workspaces() -> None:
    """Give cuBLAS workspaces of a fixed size, without which it is not deterministic and torch refuses to call it.

    Both look once in the life of a process, at its first product on a GPU. `train` and workers call this before torch
    loads, whatever their first run requires: a later run may enforce determinism, and digits are the same in both.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def use_deterministic_algorithms(is_required: bool) -> None:
    """Use deterministic algorithms only, or any.

    torch.use_deterministic_algorithms would also set this in the compiler, and load that (a second in each process).
    `Transformer.compile_blocks` sets it where the compiler is used.
    """
    import torch

    if is_required:
        fix_workspaces()
    torch.set_deterministic_debug_mode("error" if is_required else "default")
