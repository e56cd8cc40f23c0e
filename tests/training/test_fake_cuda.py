"""Training steps and evaluation batches on a GPU that does not exist: devices of all operands, and host syncs."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.train import TrainConfig
from sequifier.model.transformer import Transformer
from sequifier.preprocess.pipeline import preprocess
from tests.support.fake_cuda import Counts, count_epoch, count_evaluation, count_step, fake_cuda, prepared
from tests.support.quiet import quiet

N_CLASSES = {"item": 12, "shop": 7, "channel": 4}
SEQ_LENGTH = 16


def project(root: Path, lengths: list[int], **fields: Any) -> Path:
    """A preprocessed table; `min_count` leaves rarer classes unknown."""
    draw = random.Random(0)
    lines = ["sequenceId,itemPosition,item,shop,channel,price,weight,outcome"]
    for sequence, length in enumerate(lengths):
        outcome = ("won", "lost")[sequence % 3 == 0]
        for position in range(length):
            classes = (str(int(n * draw.random() ** 2)) for n in N_CLASSES.values())
            lines.append(f"{sequence},{position},{','.join(classes)},{draw.random():.4f},{draw.random():.4f},{outcome}")
    root.mkdir(exist_ok=True)
    (root / "events.csv").write_text("\n".join(lines) + "\n")
    values = {"data_path": str(root / "events.csv"), "seq_length": SEQ_LENGTH}
    values |= {"selected_columns": ["item", "shop", "channel", "price", "weight"]} | fields
    preprocess(PreprocessConfig.model_validate({"project_root": str(root), **values}), log=quiet)
    return root


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("fake_cuda")
    draw = random.Random(1)
    return {
        "full": project(root / "full", [80] * 20),
        "short": project(root / "short", [draw.randint(3, 30) for _ in range(60)]),
        "unknown": project(root / "unknown", [80] * 20, min_count=150),
        "ends": project(
            root / "ends", [draw.randint(3, 30) for _ in range(60)], end_event=["item"], split_method="between_sequence"
        ),
        "by sequence": project(
            root / "by_sequence", [draw.randint(12, 30) for _ in range(30)], standardize="per_sequence"
        ),
        "observed": project(
            root / "observed",
            [draw.randint(3, 30) for _ in range(60)],
            observation={"start": -1, "end": 40},
            time_features=["gap"],
            time_unit="none",
            split_method="between_sequence",
        ),
        "labels": project(
            root / "labels",
            [draw.randint(1, 30) for _ in range(60)],
            sequence_columns=["outcome"],
            split_method="between_sequence",
        ),
    }


def config(root: Path, **fields: Any) -> TrainConfig:
    training = fields.pop("training", {})
    model = {"dim_model": 64, "n_head": 4, "num_layers": 2, **fields.pop("model", {})}
    values = {
        "project_root": str(root),
        "metadata_config_path": "configs/metadata_configs/events.json",
        "model_name": "fake",
        "target_columns": ["item"],
        "model_spec": model,
        "training_spec": {"batch_size": 32, "device": "cuda", "optimizer": {"name": "AdamW"}, **training},
    }
    return TrainConfig.model_validate(values | fields)


VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "128 x 4": {"model": {"dim_model": 128, "num_layers": 4}},
    "dropout": {"training": {"dropout": 0.1}},
    "rope": {"model": {"positional_encoding": "rope"}},
    "gqa": {"model": {"attention_type": "gqa", "n_kv_heads": 2}},
    "mqa post-norm layer_norm gelu": {
        "model": {
            "attention_type": "mqa",
            "norm_first": False,
            "normalization": "layer_norm",
            "activation_fn": "gelu",
        }
    },
    "3 targets": {"target_columns": ["item", "price", "shop"]},
    "float16": {"training": {"layer_type_dtypes": {"linear": "float16"}}},
    "float32": {"training": {"layer_autocast": False}},
    "accumulation 4": {"training": {"accumulation_steps": 4}},
    "class weights": {"training": {"class_weights": {"item": [1.0] * (N_CLASSES["item"] + 1)}}},
    "mapped": {"training": {"load_full_data_to_ram": False}},
    "Muon": {"training": {"optimizer": {"name": "Muon"}}},
    "AdEMAMix": {"training": {"optimizer": {"name": "AdEMAMix"}}},
    "float16 with AdEMAMix": {
        "training": {"layer_type_dtypes": {"linear": "float16"}, "optimizer": {"name": "AdEMAMix"}},
    },
    "MultiMarginLoss": {"data": "unknown", "training": {"criterion": {"item": "MultiMarginLoss"}}},
    "short sequences": {"data": "short"},
    "short sequences, mapped": {"data": "short", "training": {"load_full_data_to_ram": False}},
    "short sequences, 3 targets": {"data": "short", "target_columns": ["item", "price", "shop"]},
    "unknown ids": {"data": "unknown"},
    "ends": {"data": "ends", "target_columns": ["item", "price", "shop"], "model": {"positional_encoding": "rope"}},
    "horizon": {"target_columns": ["item", "price"], "prediction_horizon": 5},
    "horizon, short sequences": {
        "data": "short",
        "target_columns": ["price", "item"],
        "prediction_horizon": 2,
        "training": {"evaluation_horizon": 3},
        "metric": "val_price_mae_standardised_step_2",
    },
    "horizon, windows normalized": {
        "target_columns": ["price"],
        "prediction_horizon": 4,
        "window_normalization": "mean_std",
    },
    "horizon, known future": {
        "target_columns": ["item", "price"],
        "prediction_horizon": 3,
        "known_future": ["shop", "weight"],
        "training": {"layer_type_dtypes": {"linear": "float16"}},
    },
    "horizon, known future, short sequences, mapped": {
        "data": "short",
        "target_columns": ["price"],
        "prediction_horizon": 2,
        "known_future": ["weight"],
        "window_normalization": "mean_std",
        "training": {"load_full_data_to_ram": False},
    },
    "horizon, unknown ids, mapped": {
        "data": "unknown",
        "prediction_horizon": 3,
        "training": {"load_full_data_to_ram": False},
    },
    "observed times": {
        "data": "observed",
        "target_columns": ["time_gap", "item"],
        "model": {"positional_encoding": "rope", "distribution": {"time_gap": "lognormal_mixture"}},
        "metric": "val_time_gap_nll_per_event",
    },
    "sampled softmax": {"data": "short", "training": {"softmax": {"item": {"sampled": 4}}}},
    "tied weights": {"model": {"joint_embedding_dim": 64, "tie_weights": ["item"]}},
    "windows normalized by last": {"target_columns": ["price", "item"], "window_normalization": "last"},
    "windows normalized by mean_std, short sequences": {
        "data": "short",
        "target_columns": ["price", "weight"],
        "window_normalization": "mean_std",
    },
    "windows normalized, labels": {
        "data": "labels",
        "target_columns": ["price", "outcome"],
        "window_normalization": "mean_std",
        "training": {"load_full_data_to_ram": False},
    },
    "standardised by sequence": {
        "data": "by sequence",
        "target_columns": ["price", "weight", "item"],
        "model": {"distribution": {"weight": "quantiles"}},
    },
    "label": {"data": "labels", "target_columns": ["outcome"]},
    "label of every event, mapped": {
        "data": "labels",
        "target_columns": ["outcome"],
        "target_positions": {"outcome": "every"},
        "training": {"load_full_data_to_ram": False},
    },
    "label beside 2 targets": {"data": "labels", "target_columns": ["item", "outcome", "price"]},
    "distributions": {
        "target_columns": ["item", "price", "weight"],
        "model": {"distribution": {"price": "quantiles", "weight": "lognormal_mixture"}},
    },
    "distributions, ends, mapped": {
        "data": "ends",
        "target_columns": ["item", "price", "weight"],
        "model": {
            "distribution": {"price": "quantiles", "weight": "lognormal_mixture"},
            "positional_encoding": "rope",
        },
        "training": {"load_full_data_to_ram": False},
    },
    "scoring": {
        "data": "ends",
        "target_columns": ["item", "price"],
        "scoring": {"min_events": 2, "except": {"item": ["END"]}},
        "ranking": {"item": {"k": [3]}},
        "model": {"positional_encoding": "rope"},
    },
    "shuffled, label of every event beside a target": {
        "data": "labels",
        "target_columns": ["item", "outcome"],
        "target_positions": {"outcome": "every"},
        "training": {"shuffle_history": "all"},
    },
    "shuffled, ends": {
        "data": "ends",
        "target_columns": ["item", "price", "shop"],
        "training": {"shuffle_history": "all"},
        "model": {"positional_encoding": "rope"},
    },
    "shuffled": {"training": {"shuffle_history": "all"}},
    "shuffled, short sequences": {"data": "short", "training": {"shuffle_history": "before_last"}},
    "shuffled, unknown ids, 3 targets": {
        "data": "unknown",
        "target_columns": ["item", "price", "shop"],
        "training": {"shuffle_history": "all"},
    },
}


def test_the_fake_gpu_sees_wrong_devices_and_what_the_host_waits_for() -> None:
    with fake_cuda():
        numbers, on_host = torch.zeros(5, device="cuda"), torch.from_numpy(np.arange(5))
        with pytest.raises(RuntimeError, match="device"):
            numbers + on_host
        with Counts() as counts:
            with pytest.raises(RuntimeError, match="operands on cpu and cuda"):
                numbers[on_host]
            on_host.pin_memory().to("cuda", non_blocking=True)
            assert not counts.syncs
            on_host.to("cuda")
            on_host.to("cuda", non_blocking=True)
            numbers[numbers > 0].sum().item()
    assert counts.syncs == {"blocking copy": 2, "boolean index": 1, "read of a number": 1}
    assert counts.copies == 3
    assert counts.kernels == {"gt": 1, "sum": 1}


Counted = tuple[Counts, Counts]  # of a training step, of an evaluation


@pytest.fixture(scope="module")
def counted(projects: dict[str, Path]) -> Callable[[str], Counted]:
    """Counts what a step and an evaluation of a variant do. An operand on the wrong device raises."""

    @cache
    def count(name: str) -> Counted:
        fields = dict(VARIANTS[name])
        with fake_cuda():
            ready = prepared(config(projects[fields.pop("data", "full")], **fields))
            assert ready.device.type == "cuda"
            return count_step(ready), count_evaluation(ready)

    return count


@pytest.mark.parametrize("name", VARIANTS)
def test_all_operands_of_a_step_and_an_evaluation_are_on_the_device(
    counted: Callable[[str], Counted], name: str
) -> None:
    step, evaluation = counted(name)
    assert step.kernels and evaluation.kernels


# The scaler of float16 reads whether a gradient has overflowed, unless the optimizer can skip its step on the device.
READS = {"float16 with AdEMAMix": {"read of a number": 1}}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_host_does_not_wait_for_the_device(counted: Callable[[str], Counted], name: str) -> None:
    step, evaluation = counted(name)
    assert (step.syncs, evaluation.syncs) == (READS.get(name, {}), {})


def test_an_epoch_reads_its_loss_once(projects: dict[str, Path]) -> None:
    with fake_cuda():
        ready = prepared(config(projects["short"], target_columns=["item", "price"], training={"log_interval": 1000}))
        counts = count_epoch(ready)
    assert len(ready.train) > 2 * 32, "the case needs several steps"
    assert (counts.syncs, counts.copies) == ({"read of a number": 1}, 1)  # the loss; the order of the windows


def test_nothing_is_copied_for_a_batch_of_columns_on_the_device(counted: Callable[[str], Counted]) -> None:
    step, evaluation = counted("short sequences")
    assert (step.copies, evaluation.copies) == (0, 2)  # the order of the windows, and the starts of the sampling units


@pytest.mark.parametrize("layer_autocast", [False, True])
def test_validation_computes_in_tf32_whatever_the_run_trains_in(
    layer_autocast: bool, projects: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    forward = Transformer.forward

    def watched(*args: Any, **kwargs: Any) -> torch.Tensor:
        seen.append((torch.backends.cuda.matmul.fp32_precision, torch.is_autocast_enabled("cuda")))
        return forward(*args, **kwargs)

    with fake_cuda():
        model = {"dim_model": 256}  # wide enough for bfloat16
        ready = prepared(config(projects["full"], model=model, training={"layer_autocast": layer_autocast}))
        monkeypatch.setattr(Transformer, "forward", watched)
        count_step(ready)
        assert {in_bfloat16 for _, in_bfloat16 in seen} == {layer_autocast}
        seen.clear()
        count_evaluation(ready)
    assert set(seen) == {("tf32", False)}
    assert torch.backends.cuda.matmul.fp32_precision != "tf32"
