"""Too little memory, as libraries say it: one line for the user instead of a traceback."""

MORE_MEMORY = "allow this process more memory (`ulimit -v`, the limit of its container or job), or end other programs"

_WORDS = (
    "failed to map segment",  # the dynamic linker, when a library is imported
    "cannot allocate memory",
    "can't start new thread",
    "resource temporarily unavailable",
    "bad_alloc",
    "failed to spawn",  # polars, which panics
)


def out_of_memory(error: BaseException) -> str | None:
    """Why a command ended, in one line, when memory ran out; None when it ended for another reason."""
    here: BaseException | None = error
    while here is not None:
        if isinstance(here, MemoryError) or any(words in str(here).lower() for words in _WORDS):
            return next((line for line in str(here).splitlines() if line.strip()), type(here).__name__)
        here = here.__cause__ or here.__context__
    return None
