"""Files and folders that a config names."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sequifier.errors import ConfigError, Problem, did_you_mean
from sequifier.regular_file import kind_of_stream


def root_problem(project_root: str) -> tuple[str, str] | None:
    """The problem of a project_root that does not exist, and how to fix it; a misspelt folder would be created."""
    root = Path(project_root).expanduser()
    if root.is_dir():
        return None
    if root.exists():
        return f"{project_root} is a file; it must be the folder of the project", ""
    above = next(place for place in root.absolute().parents if place.is_dir())
    missing = root.absolute().relative_to(above).parts[0]
    near = did_you_mean(missing, [other.name for other in above.iterdir() if other.is_dir()])
    fix = near if near.startswith("did you mean") else "create the folder, or start with `sequifier make`"
    nearest = "the working folder" if above == Path.cwd() else above
    return f"there is no folder {project_root}; the nearest that exists is {nearest}", fix


def find_input(
    path: str, project_root: str, key: str, *, working_folder_first: bool = False, fix: Callable[[str], str] = str
) -> Path:
    """An existing input file or folder.

    A path that is absolute or begins with project_root is used as it is. Any other path is looked up under
    project_root, then under the working folder, or in the opposite order.

    Args:
        path: as written in the config.
        project_root: as written in the config.
        key: the field that holds the path, for the error.
        working_folder_first: look under the working folder first.
        fix: of a missing file, from the names beside it that are similar ("did you mean ...?", or empty).

    Raises:
        ConfigError: there is no such file (the error names every place), or it is a pipe, a socket or a device.
    """
    given, root = Path(path).expanduser(), Path(project_root).expanduser()
    if given.is_absolute() or (root.parts and given.parts[: len(root.parts)] == root.parts):
        places = [given]
    else:
        places = [given, root / given] if working_folder_first else [root / given, given]
    for place in places:
        if place.exists():
            if kind := kind_of_stream(place):  # opening a pipe would wait forever
                what = f"{path} is {kind}, not a file or folder; it is read more than once"
                raise ConfigError([Problem(key, what, fix="write the data to a file, and give its path")])
            return place
    looked = " and ".join(dict.fromkeys(str(place) for place in places))
    looked = f" (looked for {looked})" if looked != path else ""
    siblings = [other.name for other in places[0].parent.iterdir()] if places[0].parent.is_dir() else []
    near = did_you_mean(given.name, siblings) if siblings else ""
    similar = near if near.startswith("did you mean") else ""
    raise ConfigError([Problem(key, f"no such file or folder: {path}{looked}", fix=fix(similar))])


def find_model(path: str, project_root: str) -> Path:
    """The exported model of `model_path`, see `find_input`.

    Raises:
        ConfigError: there is no such file; the fix names the models that are there.
    """
    given, root = Path(path), Path(project_root).expanduser()

    def fix(similar: str) -> str:
        name, epoch = given.stem.rpartition("-")[::2]
        models = others_of_its_kind(given, root)
        newest = next((other for other in models if _is_epoch_of(name, other.stem)), None) if epoch.isdigit() else None
        if newest is not None:
            return f"the newest model of this name is {newest}: use --model-path {newest}"
        if models and not similar:
            return f"{_listed(models)}: give one with --model-path"
        return similar or "run `sequifier train` first, or give --model-path"

    return find_input(path, project_root, "model_path", fix=fix)


def others_of_its_kind(missing: Path, root: Path) -> list[Path]:
    """The files that are there instead of a missing one, with its suffix, the newest first."""
    found = (root / missing.parent).glob(f"*{missing.suffix}")
    newest_first = sorted(found, key=lambda other: (-other.stat().st_mtime_ns, other.name))
    return [missing.parent / other.name for other in newest_first]


def _is_epoch_of(name: str, stem: str) -> bool:
    return bool(name) and stem.startswith(f"{name}-") and stem.removeprefix(f"{name}-").isdigit()


def _listed(files: Sequence[Path]) -> str:
    """`models/ has a.onnx, b.onnx and 3 more`."""
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return f"{files[0].parent}/ has {', '.join(file.name for file in files[:3])}{more}"


def written_by_preprocess(missing: Path, root: Path) -> str:
    """The fix for a missing file that `preprocess` writes."""
    others = others_of_its_kind(missing, root)
    return f"run `sequifier preprocess`, which writes this file{f'; {_listed(others)}' if others else ''}"
