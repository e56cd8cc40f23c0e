"""What installs: pinned versions, and every file of the package that is not Python."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
CONSTRAINTS = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]


def test_every_dependency_of_tests_and_demo_has_one_exact_version() -> None:
    pinned = {plain(line.partition("==")[0]) for line in CONSTRAINTS}
    needed = [*PYPROJECT["project"]["dependencies"], *EXTRAS["dev"], *EXTRAS["trackers"]]
    assert {plain(re.split(r"[<>=!~]", requirement)[0]) for requirement in needed} <= pinned
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line) for line in CONSTRAINTS)


def test_every_file_that_is_not_python_is_package_data() -> None:
    package = ROOT / "sequifier"
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["sequifier"]
    installed = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    others = {
        path
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts
    }
    assert others <= installed, f"not installed: {sorted(map(str, others - installed))}"


def plain(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
