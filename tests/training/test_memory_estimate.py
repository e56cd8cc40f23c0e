"""The memory estimate of a plan against the peak of a process that trains."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sequifier.config import memory
from sequifier.config.memory import memory_estimate, run_memory
from sequifier.config.size import parameter_count
from sequifier.config.train import TrainConfig
from tests.support.shapes import small

ROOT = Path(__file__).parents[2]
BFLOAT16 = {"linear": "bfloat16", "decoder": "float32"}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "wide-sgd": ({"dim_model": 384, "num_layers": 5}, {"batch_size": 24, "optimizer": {"name": "SGD"}}, 300),
    "deep-narrow-gelu": ({"dim_model": 64, "num_layers": 10, "activation_fn": "gelu"}, {"batch_size": 80}, 100),
    "long-dropout": ({"seq_length": 400, "dropout": 0.2, "num_layers": 2}, {"batch_size": 6}, 500),
    "many-classes": ({"seq_length": 48, "positional_encoding": "learned", "n_kv_heads": 2}, {"batch_size": 40}, 15_000),
    "bfloat16-post-norm": ({"norm_first": False}, {"batch_size": 96, "layer_type_dtypes": BFLOAT16}, 500),
    "bfloat16": ({"n_kv_heads": 1}, {"batch_size": 128, "layer_type_dtypes": BFLOAT16}, 50),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a part of a process is known on Linux alone")
@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_within_a_fifth_of_the_measured_peak(case: str) -> None:
    command = [sys.executable, "-m", "tests.support.measured_memory", json.dumps(CASES[case])]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    measured, estimated = json.loads(printed)
    assert 0.8 < estimated / measured < 1.2, f"{estimated / 1e6:.0f} MB estimated, {measured / 1e6:.0f} MB measured"


def test_memory_grows_with_the_batch_and_with_what_the_optimizer_keeps() -> None:
    shape = small(dim_model=64, embedding_widths=(30, 20, 13, 1))
    one, two = (memory_estimate(shape, batch_size=batch_size) for batch_size in (1000, 2000))
    assert one < two < 2 * one
    saved = memory_estimate(shape, batch_size=1) - memory_estimate(shape, batch_size=1, optimizer_copies=0)
    assert saved == 2 * 4 * parameter_count(shape)
    assert memory_estimate(shape, batch_size=1000, products="bfloat16") < one


def test_the_machine_says_whether_it_has_a_matrix_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "cpuinfo"
    monkeypatch.setattr(memory, "CPU_INFO", place)
    assert not memory.machine_has_matrix_unit(), "a system without such a file"
    for flags, expected in (
        ("flags\t: fpu amx_bf16 avx512_fp16 amx_tile amx_int8\n", True),
        ("flags\t: avx2\n", False),
    ):
        place.write_text(flags)
        assert memory.machine_has_matrix_unit() == expected


def test_a_run_file_says_what_the_estimate_needs() -> None:
    shape = small(dim_model=64, embedding_widths=(30, 20, 13, 1))

    def of(has_matrix_unit: bool = False, **training: Any) -> int:
        root = {"metadata_config_path": "m", "model_name": "m", "target_columns": ["kind"]}
        config = TrainConfig.model_validate({**root, "training_spec": {"batch_size": 1000, **training}})
        return run_memory(config, shape, has_matrix_unit=has_matrix_unit)

    assert of() == memory_estimate(shape, batch_size=1000)
    assert of(optimizer={"name": "SGD"}) == memory_estimate(shape, batch_size=1000, optimizer_copies=0)
    short = memory_estimate(shape, batch_size=1000, products="bfloat16")
    assert of(layer_type_dtypes={"linear": "bfloat16"}) == of(has_matrix_unit=True) == short
    assert of(has_matrix_unit=True, layer_autocast=False) == of(
        has_matrix_unit=True, batch_size=1000, layer_type_dtypes={}
    )
