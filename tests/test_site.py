"""The site builds without a broken link (`make site`)."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_site_has_every_guide_and_no_broken_link(tmp_path: Path) -> None:
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install 'sequifier-search[site]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")  # mkdocs.yml is strict: a warning fails
    guides = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"index", "configs", "results", "changes"}
    assert guides <= {path.stem for path in tmp_path.glob("*.html")}
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [guide for guide in sorted(guides) if f"- {guide}.md" not in listed] == [], "not in the navigation"
