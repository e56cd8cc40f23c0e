"""Names of a model's outputs, so that outputs for one input never replace those for another.

The name is MODEL for the default split of the training data and MODEL-INPUT for any other input; INPUT is the name of
the file or folder without its suffix. `outputs/inputs/NAME.txt` holds the path of the input.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.model_file import ModelFile
from sequifier.inference.tables import file_name


def default_split(file: ModelFile) -> str:
    """Return the name of the split that `infer` predicts by default: the test split, else the last."""
    n_splits = len(rows) if isinstance(rows := file.data.get("rows"), list) else 3
    data = Path(str(file.config.get("metadata_config_path"))).stem
    return f"{data}-split{min(2, n_splits - 1)}"


def output_name(model: Path, file: ModelFile, source: Path, root: Path) -> str:
    """Return the common part of the names of all outputs of a model for an input.

    Args:
        model: the model file.
        file: its metadata.
        source: the file or folder of events.
        root: the project's folder.
    """
    place, stem = source.resolve(), source.name if source.is_dir() else source.stem
    if stem == default_split(file) and place.parent == (root / "data").resolve():
        return model.stem
    input = _shown(place, root)
    names = _names(model.stem, place, stem)
    return next(name for name in names if _input_of(name, root) in (None, input))


def claim(name: str, model: Path, source: Path, root: Path) -> None:
    """Store which input a name belongs to.

    Raises:
        RunError: the file cannot be written.
    """
    if name != model.stem:
        write_text(_note(name, root), _shown(source.resolve(), root) + "\n")


def link(outputs: Iterable[Path], name: str, model: str) -> None:
    """Link names without an input to the newest outputs, unless outputs of the default split have these names.

    Sequifier v1 had no other names: a script that reads them finds the newest predictions.

    Args:
        outputs: files that Sequifier v1 wrote too: the table of predictions or embeddings, and the probabilities.
        name: the common part of their names, from `output_name`.
        model: the stem of the model, which is their common part in v1.
    """
    if name == model:
        return
    plain = {path.with_name(path.name.replace(name, model, 1)): path for path in outputs}
    first = next(iter(plain))
    bare = first.name.removesuffix(".csv").removesuffix(".parquet")
    formats = [first.with_name(bare + ending) for ending in ("", ".csv", ".parquet")]
    if any(path.exists() and not path.is_symlink() for path in formats):
        return
    for path, output in plain.items():
        with suppress(OSError):  # some file systems have no links
            if path.is_symlink():
                path.unlink()
            path.symlink_to(output.name)


def _names(model: str, place: Path, stem: str) -> Iterator[str]:
    yield f"{model}-{file_name(stem)}"
    yield f"{model}-{file_name(f'{place.parent.name}-{stem}')}"
    yield f"{model}-{file_name(stem)}-{hashlib.sha256(str(place).encode()).hexdigest()[:12]}"


def _shown(place: Path, root: Path) -> str:
    folder = root.resolve()
    return str(place.relative_to(folder) if place.is_relative_to(folder) else place)


def _note(name: str, root: Path) -> Path:
    return root / "outputs" / "inputs" / f"{name}.txt"


def _input_of(name: str, root: Path) -> str | None:
    try:
        return _note(name, root).read_text(encoding="utf-8").rstrip("\n")
    except (OSError, ValueError):
        return None
