"""Earlier releases of Sequifier, and the configs of one and the same search, and of `infer`, for each of them.

Each release gets a virtual environment in a cache folder, made once (about 7 GB each where pip takes torch with CUDA).
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sequifier-peers"
PEERS = {"1.0.0.6": ["torch==2.8.0", "numpy<2", "pyarrow==21"], "3.1.1.0": []}
"""Releases and what they need beside themselves: 1.0 cannot export a model with torch 2.13."""
OURS = [sys.executable, "-m", "sequifier"]


@dataclass(frozen=True)
class Grid:
    """What is trained on the table `data/events.csv`: one model, or a grid of them."""

    rates: list[float]
    dropout: list[float]
    feed_forward: list[int]
    epochs: int = 1
    width: int = 64
    layers: int = 2
    heads: int = 4
    batch_size: int = 64
    seq_length: int = 48
    columns: tuple[str, ...] = ("item", "price")
    targets: dict[str, str] = field(default_factory=lambda: {"item": "categorical"})
    split_ratios: list[float] = field(default_factory=lambda: [0.8, 0.1, 0.1])
    stride: int | None = None  # events between the windows of every split; None: seq_length
    inference_batch_size: int = 10  # what the models of 1.0 are made for
    products: str = "float32"  # number format of the products in the blocks, the same for every release

    @property
    def n_runs(self) -> int:
        """How many runs it has."""
        return len(self.rates) * len(self.dropout) * len(self.feed_forward)

    @property
    def criterion(self) -> dict[str, str]:
        """The loss of each target."""
        losses = {"categorical": "CrossEntropyLoss", "real": "MSELoss"}
        return {target: losses[kind] for target, kind in self.targets.items()}

    @property
    def embedding_widths(self) -> dict[str, int]:
        """Width of each column, shared out evenly."""
        width, more = divmod(self.width, len(self.columns))
        return {column: width + (number < more) for number, column in enumerate(self.columns)}


def write(path: Path, values: dict[str, Any]) -> None:
    """A YAML file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def write_ours(root: Path, grid: Grid) -> None:
    """Configs of this release; runs train one after another with all threads, as in the others."""
    write(
        root / "configs/preprocess.yaml",
        {
            "data_path": "data/events.csv",
            "seq_length": grid.seq_length,
            "split_ratios": grid.split_ratios,
            "stride_by_split": [grid.stride or grid.seq_length] * 3,
        },
    )
    write(
        root / "configs/hyperparameter_search.yaml",
        {
            "metadata_config_path": "configs/metadata_configs/events.json",
            "hp_search_name": "tune",
            "search_strategy": "grid",
            "input_columns": [list(grid.columns)],
            "target_columns": list(grid.targets),
            "override_input": True,
            "execution": {"devices": 1},  # one run after another, as the earlier releases
            "model_hyperparameter_sampling": {
                "dim_model": grid.width,
                "n_head": grid.heads,
                "num_layers": grid.layers,
                "dim_feedforward": grid.feed_forward,
            },
            "training_hyperparameter_sampling": {
                "device": "cpu",
                "epochs": grid.epochs,
                "save_interval_epochs": grid.epochs,
                "learning_rate": grid.rates,
                "batch_size": grid.batch_size,
                "dropout": grid.dropout,
                **formats_ours(grid),
            },
        },
    )


def formats_ours(grid: Grid) -> dict[str, Any]:
    """Our fields of number formats, which would else follow from the machine; predictions are in float32, as usual."""
    if grid.products == "float32":
        return {"layer_autocast": False}
    return {"layer_type_dtypes": {"linear": grid.products, "decoder": "float32"}}


def write_v1(root: Path, grid: Grid) -> None:
    """Configs of 1.0, which wants the folder of its run files to be there."""
    (root / "configs/hp_search").mkdir(parents=True, exist_ok=True)
    write(
        root / "configs/preprocess.yaml",
        {
            "project_root": ".",
            "data_path": "data/events.csv",
            "read_format": "csv",
            "write_format": "parquet",
            "selected_columns": list(grid.columns),
            "split_ratios": grid.split_ratios,
            "seq_length": grid.seq_length,
            "stride_by_split": [grid.stride or grid.seq_length] * 3,
            "max_rows": None,
        },
    )
    write(
        root / "configs/hyperparameter_search.yaml",
        {
            "project_root": ".",
            "metadata_config_path": "configs/metadata_configs/events.json",
            "hp_search_name": "tune",
            "search_strategy": "grid",
            "n_samples": None,
            "model_config_write_path": "configs/hp_search",
            "training_data_path": "data/events-split0.parquet",
            "validation_data_path": "data/events-split1.parquet",
            "read_format": "parquet",
            "input_columns": [list(grid.columns)],
            "target_columns": list(grid.targets),
            "target_column_types": grid.targets,
            "seq_length": [grid.seq_length],
            "inference_batch_size": grid.inference_batch_size,
            "export_generative_model": True,
            "export_embedding_model": False,
            "override_input": True,
            "model_hyperparameter_sampling": {
                "initial_embedding_dim": [grid.width],
                "joint_embedding_dim": [None],
                "feature_embedding_dims": [grid.embedding_widths],
                "dim_model": [grid.width],
                "n_head": [grid.heads],
                "dim_feedforward": grid.feed_forward,
                "num_layers": [grid.layers],
                "prediction_length": 1,
                "activation_fn": ["swiglu"],
                "normalization": ["rmsnorm"],
                "positional_encoding": ["learned"],
                "attention_type": ["mha"],
                "norm_first": [True],
                "n_kv_heads": [None],
                "rope_theta": [10000.0],
            },
            "training_hyperparameter_sampling": {
                "device": "cpu",
                "epochs": [grid.epochs] * len(grid.rates),
                "save_interval_epochs": grid.epochs,
                "batch_size": [grid.batch_size],
                "learning_rate": grid.rates,
                "criterion": grid.criterion,
                "accumulation_steps": [1],
                "dropout": grid.dropout,
                "optimizer": [{"name": "Adam"}],
                "scheduler": [{"name": "StepLR", "step_size": 1, "gamma": 0.99}] * len(grid.rates),
                "continue_training": False,
                "layer_autocast": grid.products != "float32",
                "layer_type_dtypes": None if grid.products == "float32" else {"linear": grid.products},
            },
        },
    )


def write_v3(root: Path, grid: Grid) -> None:
    """Configs of 3.1."""
    write(
        root / "configs/preprocess.yaml",
        {
            "project_root": ".",
            "preprocessing_data_path": "data/events.csv",
            "read_format": "csv",
            "write_format": "parquet",
            "selected_columns": list(grid.columns),
            "split_ratios": grid.split_ratios,
            "split_method": "within_sequence",
            "window_length": grid.seq_length + 1,
            "max_target_offset": 1,
            "window_stride": grid.stride or grid.seq_length,
            "max_rows": None,
        },
    )
    write(
        root / "configs/train.yaml",
        {
            "project_root": ".",
            "model_name": "base",
            "device": "cpu",
            "global_training": {
                "training_objective": "causal",
                "context_length": grid.seq_length,
                "inference_batch_size": grid.inference_batch_size,
                "batch_size": grid.batch_size,
                "learning_rate": grid.rates[0],
                "optimizer": {"name": "Adam"},
                "scheduler": {"name": "StepLR", "step_size": 1, "gamma": 0.99},
                "scheduler_step_on": "epoch",
            },
            "model": {
                "backbone": {
                    "architecture": {
                        "dim_model": grid.width,
                        "num_layers": grid.layers,
                        "attention": {"n_heads": grid.heads},
                        "feed_forward": {"dim": grid.feed_forward[0]},
                        "dropout": grid.dropout[0],
                    }
                },
                "interface": {
                    "input_columns": list(grid.columns),
                    "target_columns": list(grid.targets),
                    "ingestion": {
                        "type": "embedding",
                        "output_dim": grid.width,
                        "feature_embedding_dims": grid.embedding_widths,
                    },
                    "decoder": {"type": "linear", "prediction_length": 1},
                },
            },
            "dataset": {
                "part": {"metadata_config_path": "configs/metadata_configs/events.json"},
                "criterion": grid.criterion,
            },
            "training_plan": {"epochs": grid.epochs},
            "evaluation": True,
            "export_generative_model": True,
            "export_embedding_model": False,
        },
    )
    write(
        root / "configs/hyperparameter_search.yaml",
        {
            "base_config_path": "train.yaml",
            "project_root": ".",
            "name": "tune",
            "method": "grid",
            "model_config_write_path": "configs/hp_search",
            "prune_trials": False,
            "parameters": {
                "global_training": {"learning_rate": grid.rates},
                "model": {
                    "backbone": {"architecture": {"dropout": grid.dropout, "feed_forward": {"dim": grid.feed_forward}}}
                },
            },
        },
    )


Write = Callable[[Path, Grid], None]


@dataclass(frozen=True)
class Job:
    """What `infer` is to do: predict the windows of a split with a model of the grid, or generate from it."""

    grid: Grid
    model: str
    data: str
    batch_size: int
    steps: int = 0  # events to generate behind the first window of each sequence; 0: predict the windows

    @property
    def in_common(self) -> dict[str, Any]:
        """What every release reads."""
        return {
            "project_root": ".",
            "metadata_config_path": "configs/metadata_configs/events.json",
            "model_path": self.model,
            "model_type": "generative",
            "data_path": self.data,
            "device": "cpu",
            "inference_batch_size": self.batch_size,
        }


def infer_ours(root: Path, job: Job) -> None:
    """Config of this release. Of each sequence that it continues, the data holds a window and one event more."""
    generation = {"autoregression": True, "autoregression_extra_steps": job.steps - 1} if job.steps else {}
    write(root / "configs/infer.yaml", job.in_common | generation)


def infer_v1(root: Path, job: Job) -> None:
    """Config of 1.0."""
    generation = {"autoregression": True, "autoregression_extra_steps": job.steps - 1} if job.steps else {}
    contract = {
        "training_config_path": "configs/hp_search/tune-run-0.yaml",
        "input_columns": list(job.grid.columns),
        "target_columns": list(job.grid.targets),
        "target_column_types": job.grid.targets,
        "seq_length": job.grid.seq_length,
    }
    write(root / "configs/infer.yaml", job.in_common | contract | generation)


def infer_v3(root: Path, job: Job) -> None:
    """Config of 3.1."""
    generation = {"autoregressive": True, "generation_steps": job.steps} if job.steps else {}
    write(root / "configs/infer.yaml", job.in_common | generation)


WriteInfer = Callable[[Path, Job], None]


def new_project(
    write_table: Callable[[Path], None], root: Path, grid: Grid, write_configs: Write, program: list[str]
) -> Path:
    """A project with its table preprocessed and the search still to be done."""
    (root / "data").mkdir(parents=True)
    write_table(root / "data/events.csv")
    write_configs(root, grid)
    sequifier(program, "preprocess", root)
    return root


def sequifier(program: list[str], command: str, root: Path) -> float:
    """Run a command in a project; returns the seconds of the whole process."""
    # The peers start `sequifier` by its name; 3.1 wants to be told that splits of other sizes than usual are meant.
    more = {"PATH": f"{Path(program[0]).parent}{os.pathsep}{os.environ['PATH']}", "ALLOW_LARGE_SPLITS": "1"}
    environment = {name: value for name, value in os.environ.items() if program == OURS or name != "PYTHONPATH"}
    began = time.perf_counter()
    done = subprocess.run(
        [*program, command, f"--config-path=configs/{command.replace('-', '_')}.yaml"],
        cwd=root,
        env=environment | more,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    seconds = time.perf_counter() - began
    # 1.0 ends with 0 when every run failed, after four attempts each: that is not the time of a training.
    has_failed = command == "hyperparameter-search" and not any(root.glob("models/**/*.onnx"))
    if done.returncode or has_failed:
        raise SystemExit(f"{program} {command} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return seconds


def peer(version: str) -> list[str]:
    """The command of an earlier release, installed when it is not there yet."""
    folder = CACHE / f"v{version}"
    program = folder / "bin/sequifier"
    if not program.exists():
        print(f"installing sequifier {version} into {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        wanted = [f"sequifier=={version}", *PEERS[version]]
        subprocess.run([str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *wanted], check=True)
    return [str(program)]
