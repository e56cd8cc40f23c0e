"""Machines that report their state each day: a table with columns of every type, and a tiny model of it."""

import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sequifier import api
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.train import TrainConfig
from sequifier.preprocess.pipeline import preprocess
from tests.support.quiet import quiet
from tests.support.shop import merged

STATES = ("idle", "läuft", "störung 3", "aus")
CODES = (7, -12, 3_000_000_000, 2**53 + 1)  # beyond 32 bits, and beyond what a float64 holds
COLUMNS = ("state", "code", "alarm", "load", "clock")
HEADER = "machine,day,state,code,alarm,load,clock"

RUN: dict[str, Any] = {
    "metadata_config_path": "configs/metadata_configs/machines.json",
    "model_name": "machines",
    "target_columns": list(COLUMNS),
    "export_end_to_end": True,
    "model_spec": {"dim_model": 16, "n_head": 2, "num_layers": 1, "dim_feedforward": 16},
    "training_spec": {"epochs": 1, "batch_size": 16, "learning_rate": 0.01, "device": "cpu"},
}


def rows(n_machines: int, days: tuple[int, int], *, seed: int, strange: bool = False) -> list[str]:
    """Return shuffled lines of the table: text, integers, booleans, floats, and integers that measure (Unix time).

    Args:
        n_machines: number of sequences.
        days: least and largest number of events of a sequence.
        seed: seed of all values.
        strange: some states and codes are new, and some values are missing.
    """
    draw, lines = random.Random(seed), []
    for machine in range(n_machines):
        state = draw.randrange(len(STATES))
        for day in range(draw.randint(*days)):
            state = (state + draw.choice([0, 1, 1, 2])) % len(STATES)
            name, code = STATES[state], CODES[(state + day) % len(CODES)]
            if strange and draw.random() < 0.05:
                name, code = "unheard of", 99
            when = date(2024, 1, 1) + timedelta(days=day)
            clock = 1_704_067_200 + 86_400 * day + draw.randrange(60)
            load = 20 * state + draw.gauss(0, 3)
            alarm = str(name == "störung 3").lower()
            values = [name, str(code), alarm, f"{load:.3f}", str(clock)]
            if strange:
                values = ["" if draw.random() < 0.03 else value for value in values]
            lines.append(",".join([f"m{machine:05d}", str(when), *values]))
    draw.shuffle(lines)
    return lines


def write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def train(root: Path, **values: Any) -> None:
    """Preprocess machines and train a tiny model; keyword arguments are laid over its config."""
    table = write(root / "data" / "machines.csv", rows(30, (15, 40), seed=0))
    encoding = {
        "project_root": str(root),
        "data_path": str(table),
        "sequence_column": "machine",
        "position_column": "day",
        "seq_length": 8,
        "column_types": {"clock": "real"},
        "fill_null": {"state": "unknown", "code": CODES[0], "alarm": "unknown", "load": 7.5, "clock": "mean"},
    }
    preprocess(PreprocessConfig.model_validate(encoding), log=quiet)
    config = TrainConfig.model_validate(merged(RUN | {"project_root": str(root)}, values))
    api.train(config, emit=quiet)


def model(last_epoch: int, kind: str = "end-to-end-") -> str:
    return f"models/sequifier-machines-best-{kind}{last_epoch}.onnx"
