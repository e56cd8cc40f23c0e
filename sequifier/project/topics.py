"""Sample text without a download: the topics of Python's own `help()`.

The documentation topics of CPython (`pydoc_data.topics`) are about half a megabyte of English with code, from which a
small model of characters learns words and grammar.
"""

from collections.abc import Mapping
from pathlib import Path

from sequifier.artifacts.atomic import atomic_path
from sequifier.errors import DataError


def write(path: Path, topics: Mapping[str, str] | None = None) -> None:
    """Write the topics, sorted by name, as one UTF-8 text with two empty lines between them.

    Args:
        path: the text file.
        topics: name -> text; the topics of the running Python by default.

    Raises:
        DataError: the running Python has no topics.
    """
    topics = _of_this_python() if topics is None else topics
    text = "\n\n\n".join(topics[name].strip("\n") for name in sorted(topics)) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode())


def _of_this_python() -> Mapping[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            "this Python has no documentation topics for the sample text (module pydoc_data.topics)",
            fix="use a Python with a complete standard library, or your own text: `sequifier make NAME`, then "
            "read_format: text in configs/preprocess.yaml",
        ) from error
    return dict(topics)
