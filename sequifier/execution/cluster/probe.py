"""What a node of a cluster sees of a search. Sent to the node as it is, so it needs nothing there but Python."""

from typing import Any


def look(folder: str, mark: str, token: str, files: dict[str, int], lock: str) -> dict[str, Any]:
    """Look at the software and the files of the node that this runs on.

    Args:
        folder: the working folder of the search.
        mark: a file that the search has just written.
        token: its content.
        files: paths of the data, each with its size.
        lock: the file that the search has locked.

    Returns:
        `software`, name -> version ("" where it is not installed); `missing`, the first path that the node lacks or
        sees otherwise, or ""; `is_locked`, whether the lock is in effect here.
    """
    import platform
    import time
    from importlib import metadata
    from pathlib import Path

    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return ""

    def is_there(path: str, content: str | None = None, size: int | None = None) -> bool:
        try:
            if content is not None:
                return Path(path).read_text(encoding="utf-8") == content
            return Path(path).exists() and (size is None or Path(path).stat().st_size == size)
        except OSError:
            return False

    def missing() -> str:
        if not is_there(folder):
            return folder
        if not is_there(mark, content=token):
            return mark
        return next((path for path, size in files.items() if not is_there(path, size=size)), "")

    def is_locked() -> bool:
        import fcntl

        try:
            with Path(lock).open("r+b") as file:  # NFS locks only what is open for writing
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False

    try:
        import sequifier

        own = sequifier.__version__
    except ImportError:
        own = ""
    end = time.monotonic() + 10  # a network file system shows new files late
    while (gone := missing()) and time.monotonic() < end:
        time.sleep(0.5)
    return {
        "software": {"Python": platform.python_version(), "sequifier": own, "torch": version("torch")},
        "missing": gone,
        "is_locked": not gone and is_locked(),
    }
