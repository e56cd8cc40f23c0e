"""A pilot: how long an optimizer step of the proposed model takes on this machine, measured on made-up events.

The events have the lengths and the numbers of classes of the table, so that a step costs what it will cost. On a CPU it
takes one thread, as in a search, which trains a model on each core.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
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


@dataclass(frozen=True)
class Pilot:
    """A measured step.

    Attributes:
        seconds: of an optimizer step.
        validation_seconds: of a window in validation, which compares all classes.
        device: that computed it.
        at_once: number of models that train at the same time.
    """

    seconds: float
    validation_seconds: float
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
        else draw.standard_exponential(offsets[-1], np.float32)  # distributions of times need values above 0
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
    import numpy as np
    import torch

    from sequifier.dataset.batches import Chosen, in_batches, in_steps
    from sequifier.dataset.order import epoch_order
    from sequifier.prepare import prepare
    from sequifier.training.evaluate import compared
    from sequifier.training.shared import Shared
    from sequifier.training.step import train_step

    n_threads = torch.get_num_threads()
    ready = prepare(config, Shared())
    train, size = ready.train, config.training_spec.step_size
    ready.state.model.train()
    orders = [part.choose(epoch_order(len(part), seed=0, epoch=1, part=0)) for part in train.parts]

    def step(chosen: list[Chosen]) -> None:
        float(train_step(ready.state, train, chosen, ready.objective, ready.config)[0])  # waits for the device

    def validate(chosen: Chosen) -> None:
        for each in compared(ready.state.model, ready.valid, chosen, ready.objective):
            float(each.unit[0])

    seconds = _fastest(map(partial(partial, step), in_steps(orders, size)))
    ready.state.model.eval()
    numbers = ready.valid.choose(np.arange(len(ready.valid)))
    with torch.inference_mode():
        of_batch = _fastest(map(partial(partial, validate), in_batches(numbers, size)))
    torch.set_num_threads(n_threads)
    n_windows = min(size, len(ready.valid))
    return Pilot(seconds, of_batch / n_windows, str(ready.device), cores() if ready.device.type == "cpu" else 1)


def _fastest(calls: Iterable[Callable[[], None]]) -> float:
    """Return the seconds of the fastest call: the first one allocates memory, others wait for other programs."""
    seconds: list[float] = []
    for call in islice(calls, STEPS + 1):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
        if sum(seconds[1:]) > SECONDS:
            break
    return min(seconds)
