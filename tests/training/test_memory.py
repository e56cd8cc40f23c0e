"""What counts as out of memory: real errors where they can be had, and the words of those that cannot."""

import numpy as np
import pytest
import torch

from sequifier.training.memory import is_out_of_memory, peak_memory_bytes, reset_peak_memory

TOO_MUCH = 1 << 56
CPU = torch.device("cpu")


def test_torch_numpy_and_python_say_in_their_own_words_that_memory_ran_out() -> None:
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(TOO_MUCH)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(TOO_MUCH)
    with pytest.raises(MemoryError) as of_python:
        bytearray(TOO_MUCH)
    assert all(is_out_of_memory(raised.value) for raised in (of_torch, of_numpy, of_python))


def test_the_cause_of_an_error_counts_too() -> None:
    with pytest.raises(ValueError, match="the export failed") as raised:
        try:
            bytearray(TOO_MUCH)
        except MemoryError as error:
            raise ValueError("the export failed") from error
    assert is_out_of_memory(raised.value)


def test_the_peak_is_at_least_what_was_just_used() -> None:
    reset_peak_memory(CPU)
    before = peak_memory_bytes(CPU)
    held = np.ones(64 << 20, np.uint8)
    assert peak_memory_bytes(CPU) >= before + held.nbytes // 2
