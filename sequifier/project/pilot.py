"""A pilot: how long an optimizer step of the proposed model takes on this machine, measured on made-up events.

The events have the lengths and the numbers of classes of the table, so that a step costs what it will cost. On a CPU it
takes one thread, as in a search, which trains a model on each core.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sequifier.errors import SequifierError
from sequifier.machine import cores

if TYPE_CHECKING:
    import polars as pl

    from sequifier.config.train import TrainConfig

STEPS = 5
SECONDS = 1.0
"""Duration of the pilot, after its first step."""

N_SEQUENCES, LONGEST = 2_000, 20_000

VALIDATION = 0.4
"""Cost of a window in validation, relative to training: there is no backward pass."""


@dataclass(frozen=True)
class Pilot:
    """A measured step.

    Attributes:
        seconds: of an optimizer step.
        device: that computed it.
        at_once: number of models that train at the same time.
    """

    seconds: float
    device: str
    at_once: int = 1

    @property
    def milliseconds(self) -> str:
        """Duration of the step, with two significant digits."""
        return f"{float(f'{1000 * self.seconds:.2g}'):,g}"


def measure(
    train: Mapping[str, Any], classes: Mapping[str, int], lengths: "pl.Series", seq_length: int
) -> Pilot | None:
    """Measure a training step; None where a pilot cannot train this model.

    Args:
        train: values of the proposed train.yaml.
        classes: number of classes of each column, without the unknown one; 0 for a real column.
        lengths: number of events of each sequence.
        seq_length: window length.
    """
    import numpy as np

    from sequifier.artifacts.events import Events
    from sequifier.artifacts.given_metadata import write_given_metadata
    from sequifier.artifacts.split_file import write_events
    from sequifier.config.train import TrainConfig

    draw = np.random.default_rng(0)
    n_rows = lengths.head(N_SEQUENCES).to_numpy().clip(min=2, max=LONGEST)
    offsets = np.concatenate([[0], np.cumsum(n_rows)]).astype(np.int64)
    columns = {
        name: draw.integers(1, n + 1, offsets[-1]).astype(np.int32)
        if n
        else draw.standard_normal(offsets[-1], np.float32)
        for name, n in classes.items()
    }
    ids, no_context = np.arange(len(n_rows)), np.zeros(len(n_rows), np.int64)
    with TemporaryDirectory(prefix="sequifier-") as folder:
        write_events(
            Path(folder) / "events.parquet",
            [Events(ids, offsets, no_context, np.arange(offsets[-1]), columns)],
            "parquet",
        )
        # A target that belongs to whole sequences costs about as much as one of events.
        asked = {key: value for key, value in train.items() if key not in ("metric", "direction", "ranking")}
        asked |= {
            "metadata_config_path": "",
            "cpu_threads": 1,
            "project_root": folder,
            "target_positions": {},
            "training_data_path": "events.parquet",
            "seq_length": seq_length,
            "column_types": {name: "Int64" if n else "Float64" for name, n in classes.items()},
            "n_classes": {name: n + 1 for name, n in classes.items() if n},
        }
        try:
            config = TrainConfig.model_validate(asked)
            path = write_given_metadata(config)
            return _measured(config.model_copy(update={"metadata_config_path": path}))
        except (SequifierError, ValueError, MemoryError):
            return None


def _measured(config: "TrainConfig") -> Pilot:
    import torch

    from sequifier.dataset.batches import in_steps
    from sequifier.dataset.order import epoch_order
    from sequifier.prepare import Shared, prepare
    from sequifier.training.step import train_step

    n_threads = torch.get_num_threads()
    ready = prepare(config, Shared())
    train, size = ready.train, config.training_spec.step_size
    ready.state.model.train()
    orders = [part.choose(epoch_order(len(part), seed=0, epoch=1, part=0)) for part in train.parts]
    seconds: list[float] = []
    for number, chosen in enumerate(in_steps(orders, size)):
        began = time.perf_counter()
        losses = train_step(ready.state, train, chosen, ready.objective, ready.config)
        float(losses[0])  # waits for the device
        if number:  # the first one allocates memory
            seconds.append(time.perf_counter() - began)
        if number >= STEPS or sum(seconds) > SECONDS:
            break
    torch.set_num_threads(n_threads)
    # The fastest one: others waited for other programs.
    fastest = min(seconds or [time.perf_counter() - began])
    return Pilot(fastest, str(ready.device), cores() if ready.device.type == "cpu" else 1)
