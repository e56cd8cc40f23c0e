"""Hooks of mkdocs: pages of the site that lie outside docs/, and the links between them."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "configs/README.md": "configs.md",
    "benchmarks/RESULTS.md": "results.md",
}
"""File of the repository -> page of the site."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    for path, page in OUTSIDE.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_relinked(text, Path(path).parent)))
    return files


def on_page_markdown(markdown: str, *, page: object, config: MkDocsConfig, files: Files) -> str:
    """Let links to files outside docs/ lead to their pages."""
    return _relinked(markdown, Path("docs"))


def _relinked(text: str, folder: Path) -> str:
    """Rewrite the links of a page that lies in `folder` of the repository."""

    def relinked(link: re.Match[str]) -> str:
        anchor = link[2] or ""
        target = Path(ROOT / folder / link[1]).resolve().relative_to(ROOT).as_posix()
        if target in OUTSIDE:
            return f"]({OUTSIDE[target]}{anchor})"
        if target.startswith("docs/"):
            return f"]({target.removeprefix('docs/')}{anchor})"
        return link[0]

    return re.sub(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)]*)?\)", relinked, text)
