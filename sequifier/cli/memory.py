"""Running out of memory, as libraries report it: one line for the user instead of a traceback."""

import re

from sequifier.errors import RunError
from sequifier.memory_messages import reports_out_of_memory

MORE_MEMORY = "allow this process more memory (`ulimit -v`, the limit of its container or job), or end other programs"

_OF_A_DEVICE = re.compile(r"\b(?:CUDA|HIP|MPS|XPU|Triton)\b|\b(?:CU|HIP)[A-Z]+_STATUS_")

_AT_THE_START = (
    "failed to map segment",  # the dynamic linker, when a library is imported
    "can't start new thread",
    "resource temporarily unavailable",
    "failed to spawn",  # polars, which panics
)
"""Messages, in lower case, of a process that may have too little of anything; a run that trains does not meet them."""


_NEEDED_MB = {
    **dict.fromkeys(("make", "preprocess", "infer"), 1536),
    **dict.fromkeys(("train", "hyperparameter-search", "sampler-search", "export"), 1792),
}
"""Address space that the libraries of a command need to start and work, measured on 2 cores; more cores need more. With
less, polars aborts the process when one of its threads gets no memory (seen up to 1,300 MB in `infer`)."""


def check_address_space(command: str) -> None:
    """Check that the limit of the address space is not so low that a library would abort the process without a message.

    Raises:
        RunError: the limit (`ulimit -v`) is too small.
    """
    try:
        import resource
    except ImportError:  # not on Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    needed = _NEEDED_MB.get(command, 0) << 20
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise RunError(
            f"there is not enough memory: this process may use {limit >> 20:,} MB of address space (`ulimit -v`), but "
            f"the libraries of `{command}` need {needed >> 20:,} MB to start",
            fix=MORE_MEMORY,
        )


def out_of_memory(error: BaseException) -> str | None:
    """Return in one line why a command ended if memory ran out, or None if it ended for another reason."""
    here: BaseException | None = error
    while here is not None:
        message = str(here)
        if isinstance(here, MemoryError) or _reports_it(message):
            return next((line for line in message.splitlines() if line.strip()), type(here).__name__)
        here = here.__cause__ or here.__context__
    return None


def _reports_it(message: str) -> bool:
    return reports_out_of_memory(message) or any(words in message.lower() for words in _AT_THE_START)


def how_to_fix(reason: str) -> str:
    """Return what to do about a reason of `out_of_memory`."""
    if _OF_A_DEVICE.search(reason):
        return "set a smaller batch_size (inference_batch_size in infer), or end other programs on the device"
    return MORE_MEMORY
