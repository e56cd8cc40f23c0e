"""Which messages mean that memory ran out: raised in a worker that lives on, and printed by one that died."""

from typing import Any

import pytest
import torch

from sequifier.cli.memory import how_to_fix, out_of_memory
from sequifier.errors import DataError
from sequifier.search import out_of_memory as search
from sequifier.training.memory import is_out_of_memory

ACCELERATOR_ERROR = getattr(torch, "AcceleratorError", RuntimeError)  # torch 2.8

MEMORY: dict[str, BaseException] = {
    "torch's allocator": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    "cudaMallocAsync": torch.OutOfMemoryError("Allocation on device 0 would exceed allowed memory. (out of memory)"),
    "asynchronous": ACCELERATOR_ERROR("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
    "cudaMalloc, pinned memory": RuntimeError("CUDA error: out of memory"),
    "driver, expandable segments": RuntimeError("CUDA driver error: out of memory"),
    "driver API": RuntimeError("CUDA_ERROR_OUT_OF_MEMORY"),
    "nvrtc": RuntimeError("CUDA NVRTC error: NVRTC_ERROR_OUT_OF_MEMORY"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cuBLASLt": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasLtMatmul`"),
    "cuSOLVER": RuntimeError(
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`. This error may appear "
        "if the input matrix contains NaN."
    ),
    "cuSPARSE": RuntimeError("CUDA error: CUSPARSE_STATUS_ALLOC_FAILED when calling `cusparseCreate(handle)`"),
    "cuFFT": RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    "cuRAND": RuntimeError("CURAND_STATUS_ALLOCATION_FAILED"),
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "cuDNN 9, device": RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    "cuDNN 9, host": RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    "Triton": RuntimeError("Triton Error [CUDA]: out of memory"),
    "Triton on ROCm": RuntimeError("Triton Error [HIP]:  Code: 2, Messsage: out of memory"),
    "capture of a CUDA graph": RuntimeError("CUDA error: operation failed due to a previous error during capture"),
    "HIP's allocator": torch.OutOfMemoryError("HIP out of memory. Tried to allocate 2 MiB"),
    "HIP": RuntimeError("HIP error: out of memory"),
    "hipBLAS": RuntimeError("CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`"),
    "MIOpen": RuntimeError("miopen error: miopenStatusAllocFailed"),
    "XPU": torch.OutOfMemoryError("XPU out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of ..."),
    "Level Zero": RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    "MPS": RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB, max allowed: 18 GB)"),
    "MPS, one tensor": RuntimeError("Invalid buffer size: 24.41 GB"),
    "onnxruntime's arena": Exception(
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : BFCArena: Available memory of 0 is smaller than requested"
    ),
    "onnxruntime's buffer": Exception("[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer"),
    "onnxruntime on CUDA": Exception("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0"),
    "numpy": MemoryError("Unable to allocate 10 GiB"),
    "torch on a CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 72057594037927936 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "the system": OSError(12, "Cannot allocate memory"),
    "the system, in the words of polars": OSError("Cannot allocate memory (os error 12)"),
    "C++": RuntimeError("std::bad_alloc"),
    "Rust": Exception("memory allocation of 4096 bytes failed"),
}

NO_HANDLE: dict[str, BaseException] = {
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    "cuSOLVER": RuntimeError(
        "cusolver error: CUSOLVER_STATUS_NOT_INITIALIZED, when calling `cusolverDnCreate(handle)`"
    ),
    "cuSOLVER, inside": RuntimeError(
        "cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate(handle)`"
    ),
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    "MIOpen": RuntimeError("miopen error: miopenStatusNotInitialized"),
}
"""A library that could not be set up: out of memory if the device is full."""

ANOTHER: dict[str, BaseException] = {
    "assert": RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later"),
    "address": RuntimeError("CUDA error: an illegal memory access was encountered"),
    "launch": RuntimeError("CUDA error: unspecified launch failure"),
    "resources": RuntimeError("CUDA error: too many resources requested for launch"),
    "Triton's shared memory": RuntimeError("out of resource: shared memory, Required: 270336, Hardware limit: 232448."),
    "a product": RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa)`"),
    "shapes": RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    "a file": FileNotFoundError(2, "No such file or directory", "data/out of memory/CUDA out of memory.parquet"),
    "a file, in the words of polars": OSError("No such file or directory (os error 2): out of memory/a.parquet"),
    "a column": KeyError("CUDA out of memory"),
    "a column in quotation marks": ValueError("unable to find column \"CUDA out of memory\"; valid columns: ['a']"),
    "a column of ours": DataError("column `out of memory` has 12 missing values", fix="drop those rows"),
    "a full disk": OSError(28, "No space left on device"),
    "an elephant's": ValueError("the memory of the elephant"),
}


def judged(error: BaseException) -> tuple[bool, bool]:
    """Whether it counts: raised, and as the last words of a worker that died."""
    printed = f"Traceback (most recent call last):\n  ...\n{type(error).__name__}: {error}\n"
    died: dict[str, Any] = {"event": "died", "kernel_oom": False, "signal": 6, "stderr": printed}
    return is_out_of_memory(error), search.is_out_of_memory(died)


@pytest.mark.parametrize("error", MEMORY.values(), ids=MEMORY)
def test_every_library_is_known_by_its_words(error: BaseException) -> None:
    assert judged(error) == (True, True)


@pytest.mark.parametrize("error", ANOTHER.values(), ids=ANOTHER)
def test_other_failures_and_names_do_not_count(error: BaseException) -> None:
    assert judged(error) == (False, False)


@pytest.mark.parametrize("error", NO_HANDLE.values(), ids=NO_HANDLE)
def test_a_handle_that_cannot_be_made_means_a_full_device(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def free(n_bytes: int) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (n_bytes, 80 << 30))

    assert judged(error) == (True, True), "where there is nothing to ask"
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    free(100 << 20)
    assert is_out_of_memory(error)
    free(40 << 30)
    assert not is_out_of_memory(error), "with half of the device free it is another failure"


def test_a_device_that_does_not_answer_counts_as_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> tuple[int, int]:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", broken)
    assert is_out_of_memory(NO_HANDLE["cuBLAS"])


def test_a_command_advises_by_where_memory_ran_out() -> None:
    of_device, of_machine = out_of_memory(MEMORY["torch's allocator"]), out_of_memory(MEMORY["numpy"])
    assert of_device and "smaller batch_size" in how_to_fix(of_device)
    assert of_machine and "ulimit" in how_to_fix(of_machine)
