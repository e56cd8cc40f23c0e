"""The files of a finished search, without training: planned by the real planner, with results from a formula.

To look at a report of one: python -m tests.support.synthetic_search FOLDER [runs] [epochs]
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from sequifier.artifacts.ledger import LEDGER_FILE, Record, State
from sequifier.artifacts.sequence_losses import FILE, ONE_MODEL, Units, write_unit_sums
from sequifier.config.train import TrainConfig
from sequifier.experiment.record import CONFIG, DATA, METRICS
from sequifier.search.folder import SearchFolder
from sequifier.search.make_plan import make_plan
from sequifier.search.plan import Plan, PlannedRun
from sequifier.search.run_file import write_run_files
from tests.support.searches import metadata, search

TRAINING: dict[str, Any] = {
    "epochs": 100,
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "dropout": [0.0, 0.1, 0.2, 0.3],
    "batch_size": [16, 64],
    "optimizer": [
        {"name": "AdamW", "weight_decay": {"low": 1e-4, "high": 1e-1, "log": True}},
        {"name": "SGD", "momentum": [0, 0.9]},
    ],
}
MODEL: dict[str, Any] = {"dim_model": [8, 16, 32, 64], "n_head": [2, 2, 4, 4], "num_layers": {"low": 1, "high": 6}}
BASELINES = {
    "baseline: most frequent, mean": {"val_loss": 1.8, "val_kind_accuracy": 0.3, "standard_error": 0.01},
    "baseline: what follows what, last value": {"val_loss": 1.1, "val_kind_accuracy": 0.5, "standard_error": 0.02},
}
N_SEQUENCES = 60


def write_search(
    root: Path,
    *,
    name: str = "wide",
    n_runs: int = 200,
    epochs: int = 100,
    states: dict[int, State] | None = None,
    model: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    seed: int = 0,
    **fields: Any,
) -> Plan:
    """Write the files of a finished search.

    Args:
        root: folder of the project.
        name: name of the search.
        n_runs: number of configurations.
        epochs: epochs of each run.
        states: states of the runs that do not finish, by number.
        model: searched fields of model_spec.
        training: searched fields of training_spec.
        seed: seed of the results.
        fields: further fields of the search config.
    """
    values = {"hp_search_name": name, "search_strategy": "sample", "n_samples": n_runs, "project_root": str(root)}
    values |= {"input_columns": [["kind"], ["kind", "length"]], "model_config_write_path": "configs/hp_search"}
    config = search(model=model or MODEL, training={**(training or TRAINING), "epochs": epochs}, **{**values, **fields})
    plan = make_plan(config, metadata())
    write_run_files(plan)
    draw = np.random.default_rng(seed)
    folder = root / "logs" / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    hardness = draw.normal(0, 0.3, N_SEQUENCES)
    for run in plan.runs:
        state = (states or {}).get(run.number, "finished")
        lines += _records(root, plan, run, state, draw, hardness)
    (folder / LEDGER_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    notes = SearchFolder(folder)
    notes.keep_config(config)
    notes.keep_baselines(BASELINES)
    return plan


def loss_of(config: TrainConfig) -> float:
    """Return the expected loss of a run: the learning rate matters most, then the optimizer, then the size."""
    spec = config.training_spec
    off = math.log10(spec.learning_rate) + 2.7
    slow = 0.25 if spec.optimizer.name == "SGD" else 0.0
    blind = 0.08 if config.input_columns == ["kind"] else 0.0
    small = 0.25 / math.log2(config.model_spec.dim_model)
    return 0.7 + 0.12 * off**2 + slow + blind + small + 0.3 * (spec.dropout - 0.1) ** 2


def _records(
    root: Path, plan: Plan, run: PlannedRun, state: State, draw: np.random.Generator, hardness: Any
) -> list[dict[str, Any]]:
    epochs = run.config.training_spec.epochs
    final = loss_of(run.config) + draw.normal(0, 0.02)
    speed = draw.uniform(5, 15) * 100 / epochs
    wobble = draw.normal(0, 0.01, epochs)
    curve = [final + 1.2 * math.exp(-epoch * speed / 100) + wobble[epoch - 1] for epoch in range(1, epochs + 1)]
    if run.config.training_spec.dropout == 0.0:
        curve = [value + 0.2 * max(0.0, place / epochs - 0.6) ** 2 for place, value in enumerate(curve)]
    if state == "pruned":
        curve = curve[: max(2, epochs // 4)]
    if state == "diverged":
        curve = curve[: max(2, epochs // 10)]
    record = f"logs/{run.name}/2026-01-02__03-{run.number // 60 % 60:02d}-{run.number % 60:02d}__{run.number:04x}"
    (root / record).mkdir(parents=True, exist_ok=True)
    (root / "logs" / run.name / "latest").unlink(missing_ok=True)
    (root / "logs" / run.name / "latest").symlink_to(Path(record).name)
    minute = f"2026-01-02T{3 + run.number // 60 % 20:02d}:{run.number % 60:02d}"
    base = {
        "run": run.number,
        "name": run.name,
        "identity": run.identity,
        "data": plan.fingerprint,
        "batch_size": run.config.training_spec.batch_size,
        "seed": run.config.seed,
    }
    started = Record.model_validate({**base, "state": "running", "time": f"{minute}:00.000+00:00"})
    seconds = round(0.4 * len(curve) + run.n_parameters / 4000, 3)
    metrics = [_entry(epoch, curve, run, seconds) for epoch in range(1, len(curve) + 1)]
    if state not in ("failed", "oom"):
        (root / record / METRICS).write_text("".join(json.dumps(entry) + "\n" for entry in metrics))
    (root / record / CONFIG).write_text("")
    (root / record / DATA).write_text(json.dumps({"results": {"parameters": run.n_parameters}}))
    if state == "running":
        return [started.model_dump()]
    if state in ("failed", "oom"):
        error = "ValueError: no; to reproduce: x" if state == "failed" else "MemoryError: 3 GB"
        values: dict[str, Any] = {"error": error}
        ended = Record.model_validate({**base, "state": state, "time": f"{minute}:20.000+00:00", **values})
        return [started.model_dump(), ended.model_dump()]
    best = int(np.argmin(curve))
    losses = np.maximum(0.01, curve[best] + hardness + draw.normal(0, 0.05, N_SEQUENCES))
    losses *= curve[best] / losses.mean()
    units = Units(losses * 4, np.full(N_SEQUENCES, 4.0), "sequences")
    write_unit_sums(root / record / FILE, {ONE_MODEL: {"val_loss": units}})
    ended = Record.model_validate(
        {
            **base,
            "state": state,
            "best_val_loss": curve[best],
            "best_epoch": best + 1,
            "n_targets": {"kind": 4 * N_SEQUENCES},
            "metrics": {"val_loss": curve[best], "val_kind_accuracy": 1 / (1 + curve[best]), "standard_error": 0.04},
            "curve": curve,
            "seconds": {"training": seconds - 0.1, "total": seconds},
            "files": {
                "config": str(run.path.relative_to(root)),
                "record": record,
                "sequence_losses": f"{record}/{FILE}",
                "best_onnx": f"models/sequifier-{run.name}-best-{epochs}.onnx",
            },
            "error": "not promoted after epoch 25" if state == "pruned" else None,
            "time": f"{minute}:50.000+00:00",
        }
    )
    return [started.model_dump(), ended.model_dump()]


def _entry(epoch: int, curve: list[float], run: PlannedRun, seconds: float) -> dict[str, Any]:
    """Return a line of metrics.jsonl, with all keys of a real one."""
    value = curve[epoch - 1]
    return {
        "epoch": epoch,
        "step": 10 * epoch,
        "train_loss": value - 0.1 - 0.001 * epoch,
        "val_loss": value,
        "val_kind_loss": value,
        "val_kind_log_loss": value,
        "val_kind_accuracy": 1 / (1 + value),
        "val_kind_top5": 1.0,
        "val_kind_mrr": 1 / (1 + value),
        "val_kind_macro_f1": 1 / (1 + value),
        "val_kind_calibration_error": 0.1,
        "standard_error": 0.04,
        "learning_rate": run.config.training_spec.learning_rate,
        "windows_per_second": 3000.0,
        "events_per_second": 24000.0,
        "peak_memory_bytes": 434114560,
        "seconds": {"training": seconds / len(curve), "validation": 0.003},
    }


if __name__ == "__main__":
    place = Path(sys.argv[1])
    count, length = (int(word) for word in (*sys.argv[2:], "200", "100")[:2])
    every: dict[int, State] = dict.fromkeys(range(7, count, 6), "pruned")
    every |= {11: "failed", 23: "oom", 41: "diverged"}
    plan = write_search(place, n_runs=count, epochs=length, states={k: v for k, v in every.items() if k < count})
    winner = json.loads((place / "logs/wide" / LEDGER_FILE).read_text().splitlines()[-1])["run"]
    (place / "logs/wide/test.json").write_text(
        json.dumps({"run": winner, "metrics": {"val_loss": 0.9, "standard_error": 0.03}})
    )
