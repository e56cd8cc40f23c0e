"""Real learning curves to prune: 81 small models on Python tokens, trained to their end, as one JSON file.

A grid of 3 learning rates x 3 batch sizes x 3 depths x 3 dropouts, `EPOCHS` epochs each: about 8 minutes of a core.
tests/search/test_pruning.py replays the curves in many orders: what asha finds, and how many of the grid's epochs it
needs for it.

    python benchmarks/asha.py [--rows 80000] [--out tests/search/data/curves.json]
"""

import argparse
import itertools
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

EPOCHS = 9
GRID: dict[str, list[float]] = {
    "learning_rate": [0.0003, 0.002, 0.012],
    "batch_size": [16, 48, 144],
    "num_layers": [1, 2, 3],
    "dropout": [0.0, 0.1, 0.3],
}


def curve(config: dict[str, Any], shared: Any) -> list[float]:
    """The validation loss after each epoch of one run."""
    from sequifier.config.train import TrainConfig
    from sequifier.run import run

    losses: list[float] = []

    def emit(event: str, **fields: Any) -> None:
        if event == "epoch":
            losses.append(fields["val_loss"])

    run(TrainConfig.model_validate(config), emit=emit, shared=shared, resume="never")
    return losses


def main() -> None:
    """Make the data, train the grid, write the file."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=80_000, help="events taken")
    arguments.add_argument("--out", type=Path, default=Path("tests/search/data/curves.json"))
    chosen = arguments.parse_args()

    import torch

    from sequifier.config.preprocess import PreprocessConfig
    from sequifier.preprocess.pipeline import preprocess
    from sequifier.project.python_tokens import write
    from sequifier.training.shared import Shared

    out = chosen.out.absolute()
    cells = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    curves, shared, started = [], Shared(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write(Path("data/tokens.parquet"))
        data = {"data_path": "data/tokens.parquet", "read_format": "parquet", "seq_length": 24}
        data |= {"selected_columns": ["kind"], "max_rows": chosen.rows}
        preprocess(PreprocessConfig.model_validate(data), log=print)
        for number, cell in enumerate(cells):
            training = {"epochs": EPOCHS, "device": "cpu", "continue_training": False, "save_interval_epochs": EPOCHS}
            training |= {name: cell[name] for name in ("learning_rate", "batch_size", "dropout")}
            model = {"dim_model": 32, "n_head": 2, "dim_feedforward": 64, "num_layers": cell["num_layers"]}
            config = {
                "metadata_config_path": "configs/metadata_configs/tokens.json",
                "model_name": f"run-{number}",
                "target_columns": ["kind"],
                "export_onnx": False,
                "cpu_threads": 1,
                "model_spec": model,
                "training_spec": training,
            }
            curves.append([round(loss, 6) for loss in curve(config, shared)])
            print(f"{number + 1}/{len(cells)} {cell}: {curves[-1][0]:.4f} ... {curves[-1][-1]:.4f}", flush=True)
    seconds = time.perf_counter() - started
    origin = f"{chosen.rows} events, {seconds:.0f} s on one core, torch {torch.__version__}, Python "
    origin += f"{platform.python_version()}'s own tokens"
    lines = [json.dumps({**cell, "curve": found}) for cell, found in zip(cells, curves, strict=True)]
    text = f'{{"origin": {json.dumps(origin)},\n"runs": [\n' + ",\n".join(lines) + "\n]}\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(f"{seconds:.0f} s; best of the grid: {min(min(found) for found in curves):.4f}")


if __name__ == "__main__":
    main()
