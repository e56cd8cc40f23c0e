"""What counts as out of memory: real errors where they can be had, and the words of those that cannot."""

import numpy as np
import pytest
import torch

from sequifier.training.memory import is_out_of_memory, peak_memory_bytes, reset_peak_memory

TOO_MUCH = 1 << 56


def test_torch_numpy_and_python_say_in_their_own_words_that_memory_ran_out() -> None:
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(TOO_MUCH)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(TOO_MUCH)
    with pytest.raises(MemoryError) as of_python:
        bytearray(TOO_MUCH)
    assert all(is_out_of_memory(raised.value) for raised in (of_torch, of_numpy, of_python))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB)"),
        Exception("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bfc_arena.cc BFCArena::AllocateRawInternal"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_other_libraries_are_known_by_their_words(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_the_cause_of_an_error_counts_too() -> None:
    with pytest.raises(ValueError, match="the export failed") as raised:
        try:
            bytearray(TOO_MUCH)
        except MemoryError as error:
            raise ValueError("the export failed") from error
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        OSError(28, "No space left on device"),
        ValueError("the memory of the elephant"),
        KeyError("memory"),
    ],
)
def test_other_errors_do_not_count(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_the_peak_is_at_least_what_was_just_used() -> None:
    reset_peak_memory("cpu")
    before = peak_memory_bytes("cpu")
    held = np.ones(64 << 20, np.uint8)
    assert peak_memory_bytes("cpu") >= before + held.nbytes // 2
