"""Inputs and outputs of exported graphs."""

from typing import Any

import numpy as np
import onnx

from sequifier.config.architecture import Architecture
from sequifier.export.parity import open_session
from tests.support.shapes import windows

Arrays = dict[str, np.ndarray[Any, Any]]


def feed_of(shape: Architecture, n_events: list[int], seed: int = 0) -> Arrays:
    """Return the inputs of a graph: random windows of `n_events` events each."""
    categories, reals = windows(shape, len(n_events), seed)
    feed = {name: categories[..., index].numpy().copy() for index, (name, _) in enumerate(shape.categorical)}
    feed |= {name: reals[..., index].numpy().copy() for index, name in enumerate(shape.real)}
    return feed | {"n_events": np.array(n_events)}


def run_graph(graph: onnx.ModelProto, feed: Arrays) -> Arrays:
    """Return the outputs of a graph by name."""
    session = open_session(graph.SerializeToString())
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, feed), strict=True))
