"""`sequifier make --data speech.txt`: a project for a text, whose characters a model learns."""

from pathlib import Path
from typing import Any

from sequifier.config.dump import inline
from sequifier.errors import DataError
from sequifier.percent import counted

SEQ_LENGTH, BATCH_SIZE = 64, 32  # of the templates
STEPS = 1000
"""Optimizer steps after which a model of characters writes words; more epochs of a short text, fewer of a long one."""
MOST_EPOCHS = 50
_LINES = 20
_NAMES = (".txt", ".text", ".md", ".rst", ".log")


def is_text(path: Path) -> bool:
    """Whether a file or folder holds text, and no table."""
    from sequifier.artifacts.table_form import PLAIN_TABLE
    from sequifier.preprocess.plain_csv import form_of, names_in
    from sequifier.preprocess.table_formats import format_of_files
    from sequifier.preprocess.user_items import recognise

    path = path.expanduser()
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")]
        return format_of_files(files) is None and any(file.suffix.lower() in _NAMES for file in files)
    if not path.is_file() or path.suffix.lower() not in _NAMES or recognise(path):
        return False
    with path.open("rb") as file:
        lines = [line for _, line in zip(range(_LINES), file, strict=False)]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or any(b"\0" in line for line in lines):
        return False
    if any(not line.strip() for line in lines) or lines[0].rstrip().endswith((b".", b"!", b"?", b":")):
        return True  # no table has empty lines between others, or a sentence for a header
    form = form_of(path, None, PLAIN_TABLE, shown=path)
    n_columns = len(names_in(path, form))
    is_table = n_columns > 1 and all(line.count(form.separator.encode()) >= n_columns - 1 for line in lines)
    return not is_table


def text_values(path: str, name: str, n_characters: int, prompt: str) -> dict[str, Any]:
    """Return the values of the templates for a text.

    Args:
        path: the file or folder, as the config has it.
        name: of the model.
        n_characters: length of the text.
        prompt: what samples during training begin with.
    """
    from sequifier.preprocess.source import named_after

    steps = max(1, n_characters * 8 // 10 // (SEQ_LENGTH * BATCH_SIZE))
    epochs = min(MOST_EPOCHS, max(1, -(-STEPS // steps)))
    return {
        "data_path": inline(path),
        "metadata": inline(f"configs/metadata_configs/{named_after(Path(path))}.json"),
        "name": name,
        "prompt": inline(prompt),
        "epochs": epochs,
        "many_epochs": inline([max(1, epochs // 6), max(1, epochs // 3)]),
        "longest": f"\n  max_steps: {2 * STEPS}" if steps > 2 * STEPS else "",
    }


def measure(path: Path) -> tuple[int, str, str]:
    """Return the length of a text in bytes, which is about that in characters, the text in words, and its first word.

    Raises:
        DataError: it is too short to learn from.
    """
    path = path.expanduser()
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.suffix.lower() == ".txt"]
    n_bytes = sum(file.stat().st_size for file in files)
    if n_bytes < 20 * SEQ_LENGTH:
        raise DataError(
            f"the text has {n_bytes:,} characters", where=str(path), fix=f"give one of {20 * SEQ_LENGTH:,} or more"
        )
    with min(files).open("rb") as file:
        # Training reads the beginning, so its characters are known.
        words = file.read(256).decode("utf-8", errors="ignore").split()
    of_files = f" in {counted(len(files), 'file')}" if len(files) > 1 else ""
    what = f"{path.name}: a text of about {n_bytes:,} characters{of_files}; each character is an event"
    return n_bytes, what, words[0] if words else "a"
