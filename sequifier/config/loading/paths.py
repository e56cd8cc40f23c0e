"""Files and folders that a config names."""

from collections.abc import Callable
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
