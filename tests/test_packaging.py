"""What installs: pinned versions, every file of the package that is not Python, and a wheel that does its work."""

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
CONSTRAINTS = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]


def test_every_dependency_of_tests_demo_and_site_has_one_exact_version() -> None:
    pinned = {plain(line.partition("==")[0]) for line in CONSTRAINTS}
    needed = [*PYPROJECT["project"]["dependencies"], *EXTRAS["dev"], *EXTRAS["trackers"], *EXTRAS["site"]]
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


@pytest.mark.slow
def test_the_wheel_searches_in_an_empty_environment(tmp_path: Path) -> None:
    def call(*words: object, folder: Path = tmp_path) -> str:
        # Neither this checkout nor its environment may help.
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [str(word) for word in words], cwd=folder, env=variables, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    dist = tmp_path / "dist"
    built = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", dist, ROOT], capture_output=True, text=True, timeout=300
    )
    if "No matching distribution found for setuptools" in built.stdout + built.stderr:
        pytest.skip("no package index can be reached")
    assert built.returncode == 0, built.stdout
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    assert wheel.name.startswith("sequifier_search-")
    assert source.name.startswith("sequifier_search-")
    venv.create(tmp_path / "environment", with_pip=True)
    programs = tmp_path / "environment" / "bin"
    call(programs / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
    sequifier = programs / "sequifier"
    assert call(sequifier, "docs", "concepts") == (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    call(sequifier, "make", "trips", "--example", "flights")
    call(sequifier, "preprocess", folder=tmp_path / "trips")
    table = call(sequifier, "hyperparameter-search", "--yes", folder=tmp_path / "trips")
    model = re.search(r"^best model:  (\S+)$", table, re.M)
    assert model is not None, table
    assert (tmp_path / "trips" / model[1]).is_file()


def plain(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
