r"""Messages with which libraries report that memory ran out, raised as errors or printed by a process that ends.

Spellings of torch (`c10/cuda`, `ATen/cuda/Exceptions.h`), of its libraries for devices, Triton, onnxruntime, polars,
numpy, glibc and the C++ and OpenMP runtimes. Text in quotation marks is ignored: there are the names of files and
columns. What these messages have in common with others must not count: `device-side assert triggered`, `illegal memory
access`, `unspecified launch failure` are faults of a program, and a smaller batch would meet them again.
"""

import re

_OUT_OF_MEMORY = (
    # Allocators of torch: "CUDA out of memory. Tried to allocate", "MPS backend out of memory", HIP and XPU alike.
    r"\b(?:CUDA|HIP|XPU|MPS|GPU)(?: backend)? out of memory\b",
    # "CUDA error: out of memory", "CUDA driver error: ", "CUDA failure 2: ", "Triton Error [CUDA]: ", "libgomp: ".
    r"(?:^|[:(] ?)out of memory\b(?![/\\]|\.\w)",
    # Status codes of the libraries: CUBLAS_STATUS_ALLOC_FAILED, CUFFT_ALLOC_FAILED, CURAND_STATUS_ALLOCATION_FAILED,
    # CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED, HIPSPARSE_STATUS_ALLOC_FAILED, ...
    r"(?-i:\b(?:CU|HIP|SPARSE_)[A-Z_]*ALLOC(?:ATION)?_FAILED\b)",
    r"\bmiopenStatusAllocFailed\b",
    r"\brocblas_status_memory_error\b",
    # CUDA_ERROR_OUT_OF_MEMORY, NVRTC_ERROR_OUT_OF_MEMORY, UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY, hipErrorOutOfMemory.
    r"(?-i:\b[A-Z_]+_ERROR_OUT_OF_(?:DEVICE_|HOST_)?MEMORY\b)",
    r"\b(?:cuda|hip|kIOGPU)\w*Error(?:OutOfMemory|MemoryAllocation)\b",
    # A capture of a CUDA graph ends with this error, whatever ended it; outside a capture there is more memory.
    r"\boperation failed due to a previous error during capture\b",
    r"\binvalid buffer size: [\d.]+ [KMGT]i?B\b",  # MPS
    r"\bBFC_?Arena\b",  # onnxruntime
    r"\bfailed to allocate memory\b",  # onnxruntime
    r"\bDefaultCPUAllocator\b",
    r"\bcan(?:'t|not) allocate memory\b",  # errno 12, in the words of torch and of the system
    r"\bunable to allocate [\d.]+ (?:bytes|[KMGTPE]iB)\b",  # numpy
    r"\bstd::bad_alloc\b",
    r"\bmemory allocation of \d+ bytes\b",  # Rust: polars
    r"\bthread creation failed\b",  # libgomp
    r"^[\w.]*MemoryError\b",  # the last line of a traceback
)
_NO_HANDLE = (
    # The handle of a library is made at its first use. With a full device, that fails in many ways.
    r"(?-i:\b(?:CU|HIP)[A-Z]+_STATUS_NOT_INITIALIZED\b)",
    r"\bmiopenStatusNotInitialized\b",
    r"\bwhen calling `(?:cu|hip)\w*Create\(",
)

_MESSAGES = re.compile("|".join(_OUT_OF_MEMORY), re.IGNORECASE | re.MULTILINE)
_HANDLES = re.compile("|".join(_NO_HANDLE), re.IGNORECASE)
_QUOTED = re.compile(r"(?<!\w)'[^'\n]*'(?!\w)|\"[^\"\n]*\"|`[^`\n]*`")


def reports_out_of_memory(text: str) -> bool:
    """Whether a message, of any number of lines, reports that memory ran out."""
    return _MESSAGES.search(_QUOTED.sub("''", text)) is not None


def reports_no_handle(text: str) -> bool:
    """Whether a message reports that a library of a device could not be set up: most often because memory is full."""
    return _HANDLES.search(text) is not None
