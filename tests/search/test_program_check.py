"""A program of the user's that cannot be started is found before anything is spent on what it would measure."""

import os
import sys
from pathlib import Path

import pytest

from sequifier.config.search_fields import EvaluationScript
from sequifier.errors import ConfigError
from sequifier.search.program_check import check_startable

SHEBANG = "#!/usr/bin/env python3\n"


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder with scripts that can and cannot be started."""
    files = {
        "score.py": SHEBANG,
        "ready.py": SHEBANG,
        "windows.py": "#!/usr/bin/python3\r\n",
        "nowhere.py": "#!/opt/no/such/python\n",
        "no_env.py": "#!/usr/bin/env -S FLAG=1 pythonic -u\n",
        "no_head": "print(1)\n",
        "empty": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, newline="")
        if name != "score.py":
            (tmp_path / name).chmod(0o755)
    (tmp_path / "folder").mkdir()
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__main__.py").touch()
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        f"{sys.executable} score.py --digits 2",
        f"{sys.executable} -u score.py",
        f"{sys.executable} app",
        f"{sys.executable} -c 'print(1)'",
        f"{sys.executable} -m score",
        f"{sys.executable} -X dev nothing.py",  # an option that is not known here is left to the program
        "./ready.py",
        "sh -c 'exec nothing.sh'",
        "true nothing.py",
    ],
)
def test_what_can_be_started_passes(scripts: Path, command: str) -> None:
    before = sorted(scripts.rglob("*"))
    check_startable("evaluation_script.command", command, scripts)
    assert sorted(scripts.rglob("*")) == before, "nothing was run"


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (f"{sys.executable} scores.py", r"scores\.py does not exist\n.*did you mean `score\.py`"),
        (f"{sys.executable} -u sub/score.py", r"sub/score\.py does not exist"),
        (f"{sys.executable} folder", r"folder is a folder"),
        ("sh -eu missing.sh", r"missing\.sh does not exist"),
        ("no-such-program score.py", r"no program `no-such-program` on the PATH"),
        ("ready.py", r"no program `ready\.py` on the PATH\n.*write \./ready\.py"),
        ("./score.py", r"score\.py is not executable\n.*chmod \+x"),
        ("./folder", "folder is a folder"),
        ("./nothing", "nothing does not exist"),
        ("./windows.py", r"names '/usr/bin/python3\\r', which does not exist\n.*Unix line ends"),
        ("./nowhere.py", "names '/opt/no/such/python', which does not exist"),
        ("./no_env.py", "names 'pythonic', which does not exist"),
        ("./no_head", "whose first line does not name its program"),
        ("./empty", "whose first line does not name its program"),
        ("python 'score.py", "No closing quotation"),
        ("''", "no program"),
    ],
)
def test_what_cannot_is_named_with_what_to_do(scripts: Path, command: str, what: str) -> None:
    if os.geteuid() == 0 and "not executable" in what:
        assert not os.access(scripts / "score.py", os.X_OK), "nobody executes a file without a bit for it"
    with pytest.raises(ConfigError, match=what):
        check_startable("evaluation_script.command", command, scripts)


def test_an_open_quote_is_an_error_of_the_config() -> None:
    with pytest.raises(ValueError, match="No closing quotation"):
        EvaluationScript.model_validate({"command": "python 'score.py"})
