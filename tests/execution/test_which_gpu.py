"""Which GPU a process touches: a run on the CPU none, a run on cuda:1 that one alone."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch.utils._pytree import tree_map_only

from sequifier.artifacts.checkpoint import read_checkpoint, resume_path
from sequifier.config.loading.load import load
from sequifier.config.train import TrainConfig
from sequifier.errors import RunError
from sequifier.execution import worker
from sequifier.prepare import prepare
from sequifier.run import run
from sequifier.run_record import facts
from sequifier.training import memory
from sequifier.training.shared import Shared
from tests.support.fake_cuda import count_evaluation, count_step, fake_cuda, prepared
from tests.support.quiet import quiet
from tests.support.runs import train
from tests.support.shop import WriteConfig
from tests.support.trained_shop import infer

ACCELERATOR_ERROR = getattr(torch, "AcceleratorError", RuntimeError)  # torch 2.8


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that there are two GPUs, and fail when one of them is initialised."""

    def touched(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a GPU was touched")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    modules = [module for name, module in sys.modules.items() if name.partition(".cuda")[0] == "torch"]
    for module in modules:
        for name in ("_lazy_init", "init", "current_device", "empty_cache", "mem_get_info"):
            if name in vars(module):
                monkeypatch.setattr(module, name, touched)


@pytest.mark.usefixtures("two_gpus")
def test_a_cpu_run_with_checkpoints_resume_export_and_inference_touches_no_gpu(
    shop: Path, train_config: WriteConfig
) -> None:
    training = {"device": "cpu", "epochs": 2, "dropout": 0.2, "save_interval_epochs": 1, "enforce_determinism": True}
    path = train_config(training_spec=training, export_pt=True, export_with_dropout=True)
    stopped = run(load(TrainConfig, path).config, emit=quiet, should_stop=lambda: True)
    assert stopped.ended == "interrupted"
    content = read_checkpoint(resume_path(shop / "checkpoints", "tiny"))
    assert content["random_cuda"] is None
    result = train(path)
    assert (result.ended, result.last_epoch) == ("finished", 2)
    for model in ("best_pt", "best_onnx"):
        infer(result.files[model], infer_with_dropout=True)
    with pytest.raises(AssertionError, match="touched"):
        torch.cuda.get_rng_state()


@pytest.mark.usefixtures("two_gpus")
def test_a_worker_that_waits_for_its_first_run_touches_no_gpu() -> None:
    threads = torch.get_num_threads()
    worker._warm_up(1)
    memory.release_device_memory()
    torch.set_num_threads(threads)


def test_a_worker_returns_memory_of_a_gpu_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    memory.release_device_memory()
    assert emptied == [True]


WATCH = """
import os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "torch":
            print(os.environ.get("CUBLAS_WORKSPACE_CONFIG"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
"""
TRAIN = """
from pathlib import Path
from sequifier import api
from sequifier.config.loading.load import load
from sequifier.config.train import TrainConfig
api.train(load(TrainConfig, Path(sys.argv[1])).config, emit=lambda event, **fields: None)
"""
WORKER = """
sys.argv = ["worker", "2", str(os.getppid()), "60", "1"]
from sequifier.execution import worker
worker.main()
"""


@pytest.mark.parametrize("script", [TRAIN, WORKER], ids=["train", "worker"])
def test_cublas_has_its_workspaces_before_torch_loads(script: str, train_config: WriteConfig) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    with subprocess.Popen(
        [sys.executable, "-c", WATCH + script, str(train_config())],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == ":4096:8\n"


def test_everything_of_a_run_on_the_second_gpu_is_there(
    train_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is the current one before; operands on both of them raise."""
    config = load(TrainConfig, train_config(training_spec={"device": "cuda:1"})).config
    asked: list[Any] = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: asked.append(device))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with fake_cuda(n_devices=2):
        ready = prepared(config)
        second = torch.device("cuda", 1)
        assert (ready.device, ready.state.device, torch.cuda.current_device()) == (second, second, 1)
        count_step(ready)
        count_evaluation(ready)
        moments = [value for state in ready.state.optimizer.state.values() for value in state.values()]
        assert moments and all(value.device == second for value in moments if value.dim())
        ready.state.checkpoint()
        assert asked == [second]
        found = facts(ready)
        assert found["device"].startswith("GPU 1, driver ")
        assert (found["device_index"], found["products"]) == ("1", "float32, validation tf32")


def test_a_checkpoint_of_a_cpu_resumes_on_a_gpu_and_one_of_a_gpu_on_a_cpu(
    shop: Path, train_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = load(TrainConfig, train_config(training_spec={"device": "cpu", "epochs": 2})).config
    run(on_cpu, emit=quiet, should_stop=lambda: True)
    content = read_checkpoint(resume_path(shop / "checkpoints", "tiny"))
    on_gpu = load(TrainConfig, train_config(training_spec={"device": "cuda:1", "epochs": 2})).config
    with fake_cuda(n_devices=2):
        ready = prepared(on_gpu)
        with monkeypatch.context() as patched:
            patched.setattr(torch, "set_rng_state", lambda state: None)  # a fake state has no numbers
            ready.state.restore(tree_map_only(torch.Tensor, torch.empty_like, content | {"best_sequences": None}))
        count_step(ready)
        assert ready.state.progress.epoch == 1
    state = prepare(on_cpu, Shared()).state
    state.restore(content | {"random_cuda": torch.zeros(16, dtype=torch.uint8)})
    assert (state.device, state.progress.epoch) == (torch.device("cpu"), 1)


def test_a_gpu_that_is_lost_in_training_ends_the_run_with_one_error(
    train_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any, **__: Any) -> NoReturn:
        raise ACCELERATOR_ERROR("CUDA error: no CUDA-capable device is detected\nCUDA kernel errors might ...")

    monkeypatch.setattr("sequifier.run.fit", lost)
    with pytest.raises(RunError, match="is lost: CUDA error: no CUDA-capable device is detected\n") as raised:
        train(train_config())
    assert raised.value.is_shared, "a search ends instead of failing all its runs"
