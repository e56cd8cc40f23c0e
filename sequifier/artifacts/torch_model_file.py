"""An exported model as weights for torch (.pt): a dict of `weights` and the properties of `model_file`.

Its `sha256` covers the properties, then the weights, each sorted by name: the name, a zero byte, then the text of the
property in UTF-8 and a zero byte, or dtype and shape of the weight as torch prints them, a zero byte and its bytes,
little-endian.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sequifier.artifacts import torch_file
from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.model_file import SHA256, changed
from sequifier.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


def write_torch_model(path: Path, weights: "Mapping[str, Tensor]", properties: Mapping[str, str]) -> None:
    """Write a .pt model with its checksum; it appears whole or not at all.

    Raises:
        RunError: the folder cannot be written to, or the disk is full.
    """
    content = {"weights": dict(weights), **properties, SHA256: _digest(weights, properties)}
    with atomic_path(path) as temporary:
        torch_file.save(content, temporary)


def read_torch_model(path: Path) -> "tuple[dict[str, Tensor], dict[str, str], bool]":
    """Read a .pt model.

    Returns:
        Weights on the CPU, properties, and whether the file has a checksum, which is then correct.

    Raises:
        ModelError: the file is missing, damaged, was changed, or is not an exported model.
    """
    import torch

    content = torch_file.load("the model", path, fix=_AGAIN, error=ModelError)
    if not isinstance(content, dict) or "sequifier_version" not in content:
        raise ModelError(
            "this .pt file is not an exported model",
            where=str(path),
            fix="give a model from models/ of a project (export_pt: true); a checkpoint is not one",
        )
    weights = content.pop("weights", None)
    properties = {key: value for key, value in content.items() if isinstance(value, str)}
    if not isinstance(weights, dict) or not all(isinstance(weight, torch.Tensor) for weight in weights.values()):
        raise ModelError("cannot read the model: it has no weights", where=str(path), fix=_AGAIN)
    stored = properties.pop(SHA256, None)
    has_checksum = stored is not None or "format_version" in properties
    if has_checksum and stored != _digest(weights, properties):
        raise changed(path)
    return weights, properties, has_checksum


_AGAIN = "check the path, or export or copy it again"


def _digest(weights: "Mapping[str, Tensor]", properties: Mapping[str, str]) -> str:
    import torch

    found = hashlib.sha256()
    for name, text in sorted(properties.items()):
        found.update(f"{name}\0{text}\0".encode())
    for name, weight in sorted(weights.items()):
        found.update(f"{name}\0{weight.dtype} {tuple(weight.shape)}\0".encode())
        found.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
