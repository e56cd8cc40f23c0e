"""Checks whether a user's program can be started, without starting it."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError, Problem, did_you_mean

_TAKES_A_FILE = (
    (re.compile(r"(python|pypy)[\d.]*"), re.compile(r"-[bBdEiIOPqsSuvx]+")),
    (re.compile(r"bash|sh|dash|zsh|ksh"), re.compile(r"-[euxv]+")),
    (re.compile(r"node|ruby|perl|Rscript|julia|lua|php"), None),
)
"""Programs whose first argument that is not an option is a file to run, and their options that take no value."""
_HEAD_BYTES = 256


def path_with_this_python() -> str:
    """A PATH on which `python` is the one that runs this."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def check_programs(config: SearchConfig | SamplerSearchConfig) -> None:
    """Check that the user's program, which measures each result, can be started.

    Raises:
        ConfigError: it cannot.
    """
    if isinstance(config, SamplerSearchConfig):
        if config.judge.type == "script" and config.judge.command is not None:
            check_startable("judge.command", config.judge.command, config.root, path=path_with_this_python())
    elif config.evaluation_script is not None:
        check_startable("evaluation_script.command", config.evaluation_script.command, config.root)


def check_startable(key: str, command: str, root: Path, *, path: str | None = None) -> None:
    """Check a command before anything is trained that it would measure.

    Args:
        key: field of the config that holds the command.
        command: the program and its arguments, quoted as for a shell.
        root: its working folder.
        path: its PATH; None for the one of this process.

    Raises:
        ConfigError: it cannot be started: the program or the script it runs is missing, a folder or not executable.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(
            [Problem(key, f"cannot be split into words: {error}: {command}", fix="quote it as for a shell")]
        ) from error
    if not words:
        raise ConfigError([Problem(key, "does not name a program", fix="write a program and its arguments")])
    wrong = _wrong_program(words[0], root, path) or _wrong_script(words, root)
    if wrong is not None:
        what, fix = wrong
        raise ConfigError([Problem(key, f"`{command}` cannot be started: {what}", fix=fix)])


def _wrong_program(word: str, root: Path, path: str | None) -> tuple[str, str] | None:
    """What is wrong with the program, and how to fix it."""
    if "/" not in word:
        if shutil.which(word, path=path) is not None:
            return None
        fix = f"write ./{word}" if (root / word).is_file() else "install it, or give its path"
        return f"there is no program `{word}` on the PATH", fix
    file = root / word
    if not file.exists():
        return f"{file} does not exist", _similar(file)
    if file.is_dir():
        return f"{file} is a folder", "name the program in it"
    if not os.access(file, os.X_OK):
        return f"{file} is not executable", f"chmod +x {word}, or write the program that runs it in front of it"
    return _wrong_head(file, root, path)


def _wrong_head(file: Path, root: Path, path: str | None) -> tuple[str, str] | None:
    """What is wrong with the first line of a script that is started by its own name."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD_BYTES)
    except OSError:
        return None  # it may be executed but not read
    if not head.startswith(b"#!"):
        is_text = not head or (b"\0" not in head and all(byte > 8 for byte in head))
        fix = "begin it with a line such as #!/usr/bin/env python3, or write the program that runs it in front of it"
        return (f"{file} is a script whose first line does not name its program", fix) if is_text else None
    line = head[2:].split(b"\n")[0].decode(errors="replace")
    words = [word for word in re.split(r"[ \t]+", line) if word]
    if not words:
        return f"the first line of {file} does not name a program", "write #!/usr/bin/env python3, for example"
    if Path(words[0]).name == "env":
        named = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), "")
        found = named and shutil.which(named, path=path) is not None
    else:
        named = words[0]
        found = os.access(root / named, os.X_OK)
    if found:
        return None
    fix = "write the file with Unix line ends" if "\r" in named else "install it, or correct that line"
    return f"the first line of {file} names {named!r}, which does not exist", fix


def _wrong_script(words: list[str], root: Path) -> tuple[str, str] | None:
    """What is wrong with the file that an interpreter would run."""
    name, rest = Path(words[0]).name, words[1:]
    known = [flags for program, flags in _TAKES_A_FILE if program.fullmatch(name)]
    if not known:
        return None
    while rest and known[0] is not None and known[0].fullmatch(rest[0]):
        rest = rest[1:]
    if not rest or rest[0].startswith("-"):
        return None  # code in the command, a module, or an unknown option
    file = root / rest[0]
    if not file.exists():
        return f"{file} does not exist", _similar(file)
    if file.is_dir() and not (file / "__main__.py").is_file():
        return f"{file} is a folder", "name the script in it"
    if not os.access(file, os.R_OK):
        return f"{file} cannot be read", f"chmod +r {rest[0]}"
    return None


def _similar(file: Path) -> str:
    siblings = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
    near = did_you_mean(file.name, siblings) if siblings else ""
    return near if near.startswith("did you mean") else "paths are relative to project_root"
