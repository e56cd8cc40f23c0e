"""A tiny model in training: events, splits, objective and state, without files."""

from typing import Any

import numpy as np
import torch

from sequifier.artifacts.events import Events
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import Target
from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Split
from sequifier.model.build import build_model
from sequifier.model.transformer import Transformer
from sequifier.training.losses import build_losses
from sequifier.training.objective import Objective
from sequifier.training.optimizers import build_optimizer
from sequifier.training.schedules import build_schedule
from sequifier.training.state import TrainState
from tests.support.events import make_events, make_split, make_windows
from tests.support.shapes import small

N_CLASSES = 6
TARGETS = (Target("kind", "categorical", N_CLASSES), Target("size", "real", 0))


def events_of(sizes: list[int], *, seed: int = 0, context: int = 0) -> Events:
    """Return events whose `kind` follows from the one before; a tenth of them are unknown."""
    generator = np.random.default_rng(seed)
    n_rows = sum(sizes)
    kind = np.cumsum(generator.integers(1, 3, n_rows)) % (N_CLASSES - 1) + 1
    kind[generator.random(n_rows) < 0.1] = 0  # unknown
    columns = {"kind": kind.astype(np.int32), "size": generator.normal(size=n_rows).astype(np.float32)}
    return make_events(sizes, columns, n_context=context)


def split_of(events: Events, *, seq_length: int, evaluation: bool, picks: bool = True, horizon: int = 1) -> Split:
    stride = max(seq_length // 2, 1) if evaluation else seq_length
    windows = make_windows(events, seq_length, stride, evaluation=evaluation, horizon=horizon)
    return make_split(events, windows, seq_length, picks=picks)


def model_of(seq_length: int, *, dropout: float = 0.0, horizon: int = 1) -> Transformer:
    shape = small(
        categorical=(("kind", N_CLASSES),),
        real=("size",),
        embedding_widths=(4, 4),
        targets=TARGETS,
        seq_length=seq_length,
        dim_model=8,
        n_head=2,
        n_kv_heads=2,
        num_layers=1,
        dim_feedforward=16,
        dropout=dropout,
        horizon=horizon,
    )
    return build_model(shape, torch.Generator().manual_seed(5))


def objective_of(weights: dict[str, float] | None = None, **fields: Any) -> Objective:
    weights = weights or {"kind": 1.0, "size": 1.0}
    return Objective(build_losses(TARGETS, {}), weights, {"size": Scale(std=2.0)}, **fields)


def config_of(**training: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "metadata_config_path": "m.json",
            "model_name": "m",
            "target_columns": ["kind", "size"],
            "target_column_types": {"kind": "categorical", "size": "real"},
            "training_spec": training,
        }
    )


def state_of(model: Transformer, config: TrainConfig) -> TrainState:
    spec = config.training_spec
    optimizer = build_optimizer(spec.optimizer, model, learning_rate=spec.learning_rate, decay_all=spec.decay_all)
    schedule = build_schedule(spec.scheduler, optimizer, epochs=spec.epochs, steps=100, step_on="epoch", warmup_steps=0)
    return TrainState(model, optimizer, schedule)
