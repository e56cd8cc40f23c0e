"""Train a model of a given shape for some steps, and print by how many bytes the process grew and the estimate.

test_memory_estimate.py runs it in a process of its own: in a heap that was used before, part of the need is hidden.
"""

import json
import sys
from typing import Any

import numpy as np
import torch

from sequifier.config.architecture import Target
from sequifier.config.memory import run_memory
from sequifier.config.train import TrainConfig
from sequifier.model.build import build_model
from sequifier.training.evaluate import evaluate
from sequifier.training.losses import build_losses
from sequifier.training.memory import keep_freed_memory, peak_memory_bytes, reset_peak_memory
from sequifier.training.objective import Objective
from sequifier.training.optimizers import build_optimizer
from sequifier.training.precision import build_precision
from sequifier.training.schedules import build_schedule
from sequifier.training.state import TrainState
from sequifier.training.step import train_step
from tests.support.events import make_events, make_split, make_windows
from tests.support.shapes import small

CPU = torch.device("cpu")


def main(changes: dict[str, Any], training: dict[str, Any], n_classes: int) -> tuple[int, int]:
    """Return the measured and the estimated bytes."""
    torch.set_num_threads(1)
    width = changes.get("dim_model", 128)
    defaults: dict[str, Any] = {
        "categorical": (("kind", n_classes),),
        "real": ("size",),
        "embedding_widths": (width - width // 2, width // 2),
        "targets": (Target("kind", "categorical", n_classes),),
        "seq_length": 64,
        "dim_model": width,
        "num_layers": 3,
        "dim_feedforward": 4 * width,
    }
    shape = small(**defaults | changes)
    root = {"metadata_config_path": "m", "model_name": "m", "target_columns": ["kind"]}
    config = TrainConfig.model_validate({**root, "training_spec": training})
    spec, T = config.training_spec, shape.seq_length
    generator = np.random.default_rng(0)
    n_rows = spec.batch_size * (T + 1)
    columns = {
        "kind": generator.integers(1, n_classes, n_rows).astype(np.int32),
        "size": generator.normal(size=n_rows).astype(np.float32),
    }
    events = make_events([T + 1] * spec.batch_size, columns)
    train, valid = (
        make_split(events, make_windows(events, T, stride, evaluation=stride < T), T, targets=["kind"])
        for stride in (T, T // 2)
    )
    keep_freed_memory()
    reset_peak_memory(CPU)
    before = peak_memory_bytes(CPU)
    model = build_model(shape)
    optimizer = build_optimizer(spec.optimizer, model, learning_rate=1e-4, decay_all=False)
    schedule = build_schedule(spec.scheduler, optimizer, epochs=1, steps=9, step_on="epoch", warmup_steps=0)
    precision = build_precision(spec, "cpu", batch_numbers=0, dim_model=0)
    state = TrainState(model, optimizer, schedule, precision)
    objective = Objective(build_losses(shape.targets, {}), {"kind": 1.0}, {})
    for _ in range(2):
        model.train()
        for _ in range(3):
            train_step(state, train, [train.choose(np.arange(spec.batch_size))], objective, config)
        evaluate(model, valid, objective, batch_size=2 * spec.batch_size)
        state.best_weights = state.weights()
    return peak_memory_bytes(CPU) - before, run_memory(config, shape, has_matrix_unit=False)


if __name__ == "__main__":
    print(json.dumps(main(*json.loads(sys.argv[1]))))
