"""What a layer needs to write itself into an ONNX graph. `export.graph.GraphWriter` is such a graph.

A layer's formula in torch and in ONNX are then in one file, and this package does not import onnx.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Value = str
"""The name of a tensor in a graph."""


class Graph(Protocol):
    """An ONNX graph under construction."""

    def add(self, operator: str, *inputs: Value, **attributes: Any) -> Value:
        """Add a node with one output."""

    def constant(self, array: np.ndarray[Any, Any]) -> Value:
        """Add a constant tensor."""

    def number(self, value: float) -> Value:
        """Add a constant float32 scalar."""

    def integers(self, values: Sequence[int]) -> Value:
        """Add a constant list of integers."""

    def weight(self, name: str) -> Value:
        """Add a weight by its name in the state dict."""
