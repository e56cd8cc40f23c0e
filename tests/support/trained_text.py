"""A language model of characters that trains in a second, and short calls for sampler searches on it."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from sequifier import api
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.train import TrainConfig
from sequifier.preprocess.pipeline import preprocess
from sequifier.sampler_search.session import SamplerSearchResult
from tests.support.quiet import quiet

HELD_OUT = "data/held-out.txt"

SMALL: dict[str, Any] = {
    "model_path": "models/text.onnx",
    "device": "cpu",
    "n_prompts": 4,
    "samples_per_config": 2,
    "max_tokens": 8,
    "n_samples": 3,
    "search_strategy": "random",
}


def train_text(root: Path, text: str) -> None:
    (root / "data").mkdir(parents=True)
    (root / "data" / "text.txt").write_text(text)
    (root / HELD_OUT).write_text(text[-3000:])
    preprocess(
        PreprocessConfig.model_validate(
            {
                "project_root": str(root),
                "data_path": str(root / "data" / "text.txt"),
                "read_format": "text",
                "text_sequence_length": 512,
                "seq_length": 16,
                "split_method": "within_sequence",
                "split_ratios": [0.8, 0.1, 0.1],
            }
        ),
        log=quiet,
    )
    config = {
        "project_root": str(root),
        "metadata_config_path": "configs/metadata_configs/text.json",
        "model_name": "text",
        "target_columns": ["char"],
        "export_pt": True,
        "model_spec": {"dim_model": 16, "n_head": 2, "num_layers": 1},
        "training_spec": {"epochs": 2, "batch_size": 16, "learning_rate": 0.02, "device": "cpu"},
    }
    api.train(TrainConfig.model_validate(config), emit=quiet)
    for ending in ("onnx", "pt"):
        shutil.copy(root / "models" / f"sequifier-text-best-2.{ending}", root / "models" / f"text.{ending}")


def write_search(root: Path, name: str = "sampler_search.yaml", **values: Any) -> Path:
    path = root / "configs" / name
    path.write_text(yaml.safe_dump({**SMALL, **values}))
    return path


def config_of(**values: Any) -> SamplerSearchConfig:
    return SamplerSearchConfig.model_validate({**SMALL, **values})


def search(
    events: list[tuple[str, dict[str, Any]]] | None = None, *, retry_failed: bool = False, **values: Any
) -> SamplerSearchResult:
    """Run a search in the working folder, and append its events to `events`."""

    def emit(event: str, **fields: Any) -> None:
        if events is not None:
            events.append((event, fields))

    return api.sampler_search(config_of(**values), retry_failed=retry_failed, emit=emit)
