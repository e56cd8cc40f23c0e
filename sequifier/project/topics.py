"""Sample text without a download: what Python's own `help()` says about the language.

The text of the documentation topics that every CPython carries (`pydoc_data.topics`): about half a megabyte of English
with code in it, enough for a small model to learn words and grammar from, one character after the other.
"""

from collections.abc import Mapping
from pathlib import Path

from sequifier.artifacts.atomic import atomic_path
from sequifier.errors import DataError


def write(path: Path, topics: Mapping[str, str] | None = None) -> None:
    """Write the topics in the order of their names as one UTF-8 text, two empty lines between them.

    Args:
        path: the text file.
        topics: name -> text; those of the running Python when left out.

    Raises:
        DataError: this Python comes without them.
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
            "this Python has no documentation topics to make the sample text from (module pydoc_data.topics)",
            fix="use a Python with its whole standard library, or your own text: `sequifier make NAME`, then "
            "read_format: text in configs/preprocess.yaml",
        ) from error
    return dict(topics)
