"""CUDA without a GPU: fake tensors, which have shapes, number formats and a device, but no numbers.

An operator whose operands are on different devices raises, as on a GPU. What else a GPU does is counted by `Counts`:
kernels, copies between host and device, and host syncs, at which the host waits for the device. Torch's autograd
engine cannot run without a device, so a backward pass only gives each parameter a gradient of its shape.
"""

import ctypes
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sequifier.config.train import TrainConfig
from sequifier.prepare import Prepared, prepare
from sequifier.training.evaluate import evaluate
from sequifier.training.loop import Calls, train_epoch
from sequifier.training.shared import Shared
from sequifier.training.step import train_step
from sequifier.training.tally import Tally
from tests.support.quiet import quiet

MEMORY = 80 << 30
"""Bytes of the fake GPU, all of them free."""

_GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
using namespace c10::impl;
static NoOpDeviceGuardImpl<c10::DeviceType::CUDA> guard;
extern "C" const void* no_op() { return &guard; }
extern "C" const void* exchange(const void* other) {
  auto& current = device_guard_impl_registry[static_cast<size_t>(c10::DeviceType::CUDA)];
  return current.exchange(static_cast<const DeviceGuardImplInterface*>(other));
}
"""
_PINNED = "_is_pinned_for_the_fake_gpu"
"""Attribute of a fake tensor in pinned memory."""

_FREE = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "detach", "_unsafe_view", "device"}
"""Operators that launch no kernel, besides views."""


class Counts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what the operators of a block would do on a GPU.

    Attributes:
        kernels: operator -> how often it ran on the device.
        copies: number of copies between host and device.
        syncs: what made the host wait -> how often: reads of numbers, shapes that follow from numbers, and copies that
            are not from pinned memory.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: Counter[str] = Counter()
        self.copies = 0
        self.syncs: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "aten":
            with self:  # in inference mode torch passes composite operators on as they are
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        name = func.overloadpacket.__name__
        before = _devices((args, kwargs))
        if name == "_local_scalar_dense":
            return self._read(args[0])
        if "cuda" in before and (replaced := self._shape_from_numbers(name, args)) is not None:
            return replaced
        # Fake tensors let these take indices from the host, as torch does on a GPU: with a copy that waits.
        if "index" in name and len(_devices((args, kwargs), at_least=1)) > 1:
            raise RuntimeError(f"{name}: operands on {' and '.join(sorted(before))}")
        # torch has no shapes-only version of all fused optimizers.
        result = None if name.startswith("_fused_") and name.endswith("_") else func(*args, **kwargs)
        devices = before | _devices(result)
        if name in ("_to_copy", "copy_") and devices == {"cpu", "cuda"}:
            self._copied(args[1] if name == "copy_" else args[0], is_blocking=not kwargs.get("non_blocking", False))
        elif "cuda" in devices and not func.is_view and name not in _FREE:
            self.kernels[name] += 1
        return result

    def _read(self, tensor: Tensor) -> int | float | bool:
        """Return a number in place of the one that a fake tensor does not have."""
        if tensor.device.type == "cuda":
            self.syncs["read of a number"] += 1
        return False if tensor.dtype == torch.bool else 0.5 if tensor.dtype.is_floating_point else 1

    def _shape_from_numbers(self, name: str, args: Any) -> Any:
        """Return the result of an operator whose shape depends on numbers, as if they were all true; else None."""
        if name == "nonzero":
            self.syncs[name] += 1
            return torch.zeros(args[0].numel(), args[0].dim(), dtype=torch.int64, device=args[0].device)
        if name in ("index", "index_put", "index_put_"):
            masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
            if masks:
                self.syncs["boolean index"] += 1
                rows = [torch.zeros(mask.numel(), dtype=torch.int64, device=mask.device) for mask in masks]
                return args[0][tuple(rows)] if name == "index" else args[0]
        return None

    def _copied(self, source: Tensor, *, is_blocking: bool) -> None:
        self.copies += 1
        if is_blocking or (source.device.type == "cpu" and not hasattr(source, _PINNED)):
            self.syncs["blocking copy"] += 1


@contextmanager
def fake_cuda(*, n_devices: int = 1) -> Iterator[None]:
    """GPUs, in a torch without any: tensors that are made inside are fake, and those on `cuda` do not exist.

    Operands on two GPUs raise, as those on a GPU and the CPU do; the first one is the current one until it is set.
    """
    current = torch.device("cuda", 0)

    def set_current(device: torch.device) -> None:
        nonlocal current
        current = device

    with ExitStack() as stack:
        stack.enter_context(_device_guard())
        answers: dict[str, Any] = {
            "is_available": lambda: True,
            "is_bf16_supported": lambda including_emulation=True: True,
            "mem_get_info": lambda device=None: (MEMORY, MEMORY),
            "device_count": lambda: n_devices,
            "current_device": lambda: current.index,
            "set_device": set_current,
            "max_memory_allocated": lambda device=None: 0,
            "reset_peak_memory_stats": lambda device=None: None,
            "empty_cache": lambda: None,
            "_lazy_init": lambda: None,
        }
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        scaler_is_off = "torch.amp.grad_scaler.torch.cuda.amp.common.amp_definitely_not_available"
        stack.enter_context(mock.patch(scaler_is_off, lambda: False))
        stack.enter_context(mock.patch.object(nn.Module, "to", _moved))
        stack.enter_context(mock.patch.object(Tensor, "pin_memory", _pinned))
        # Otherwise `torch.tensor(1.0, device="cuda")` would copy a number to a real GPU.
        stack.enter_context(mock.patch.object(FakeTensorMode, "avoid_device_init", True))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        yield


def prepared(config: TrainConfig) -> Prepared:
    """Prepare a run on the fake GPU, without baselines."""
    ready = prepare(config, Shared())
    ready.state.model.train()
    return ready


def count_step(ready: Prepared) -> Counts:
    """Take two training steps and count what the second one does; the first one allocates the optimizer's state."""
    size = ready.config.training_spec.step_size
    chosen = [part.choose(np.arange(min(size, len(part)))) for part in ready.train.parts]
    with _backward(ready):
        for _ in range(2):
            counts = Counts()
            with counts:
                train_step(ready.state, ready.train, chosen, ready.objective, ready.config)
    return counts


def count_epoch(ready: Prepared) -> Counts:
    """Train two epochs and count what the second one does."""
    with _backward(ready):
        for _ in range(2):
            counts = Counts()
            with counts:
                list(train_epoch(ready.state, ready.train, ready.objective, ready.config, seed=1, calls=Calls(quiet)))
            ready.state.begin_epoch()
    return counts


@contextmanager
def _backward(ready: Prepared) -> Iterator[None]:
    """Let a backward pass give each parameter of the model a gradient of its shape."""
    parameters = list(ready.state.model.parameters())

    def backward(self: Tensor, *_: Any, **__: Any) -> None:
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)

    with mock.patch.object(Tensor, "backward", backward):
        yield


def count_evaluation(ready: Prepared) -> Counts:
    """Evaluate the validation windows in two batches, up to where the sums are read, and count what that does."""
    counts, batch_size = Counts(), -(-len(ready.valid) // 2)
    with mock.patch.object(Tally, "evaluation", lambda self: None), counts:
        evaluate(ready.state.model, ready.valid, ready.objective, batch_size=batch_size)
    return counts


@contextmanager
def _device_guard() -> Iterator[None]:
    """Give CUDA a device guard that does nothing: a torch without CUDA has none, and indexing needs one."""
    library = _guard_library()
    before = library.exchange(library.no_op())
    try:
        yield
    finally:
        library.exchange(before)


@cache
def _guard_library() -> ctypes.CDLL:
    torch_folder = Path(torch.__file__).parent
    compiler = shutil.which("g++")
    if compiler is None or not (torch_folder / "include/c10").is_dir():
        pytest.skip("the fake GPU needs g++ and the headers of torch")
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder, "guard.cpp"), Path(folder, "guard.so")
        source.write_text(_GUARD)
        options = ["-std=c++20", "-shared", "-fPIC", f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
        paths = [f"-I{torch_folder / 'include'}", f"-L{torch_folder / 'lib'}", "-lc10"]
        subprocess.run([compiler, *options, str(source), *paths, "-o", str(built)], check=True)
        library = ctypes.CDLL(str(built))
    for function in (library.exchange, library.no_op):
        function.restype = ctypes.c_void_p
    library.exchange.argtypes = [ctypes.c_void_p]
    return library


def _pinned(tensor: Tensor) -> Tensor:
    result = tensor.detach()
    setattr(result, _PINNED, True)
    return result


def _moved(model: nn.Module, device: Any) -> nn.Module:
    """`model.to(device)`, for which torch swaps parameters, but not fake ones."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module.register_parameter(name, nn.Parameter(parameter.detach().to(device)))
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to(device)
    return model


def _devices(values: Any, *, at_least: int = 0) -> set[str]:
    """The devices of the tensors that have at least this number of dimensions."""
    return {leaf.device.type for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.dim() >= at_least}
