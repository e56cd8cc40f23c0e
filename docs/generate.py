"""Write what follows from the code (`make docs`).

docs/hyperparameters.md and the comments in configs/ come from the config models, the list of files in
docs/architecture.md from the first lines of the modules.
"""

import ast
import re
from pathlib import Path

from sequifier.config.help.comments import annotate
from sequifier.config.help.reference import reference
from sequifier.config.loading.kinds import KINDS, kind_of
from sequifier.project.make import configs

ROOT = Path(__file__).parents[1]


def generated() -> dict[Path, str]:
    """The text that each generated file should have."""
    texts = {ROOT / "docs" / "hyperparameters.md": reference()}
    # The repository is a project for the Python tokens, as `sequifier make NAME --example python` makes it.
    texts |= {ROOT / "configs" / file: text for file, text in configs("python").items()}
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        if path not in texts:
            texts[path] = annotate(path.read_text(encoding="utf-8"), KINDS[kind_of(path)], full=True)
    page = ROOT / "docs" / "architecture.md"
    texts[page] = with_files(page.read_text(encoding="utf-8"))
    return texts


def with_files(page: str) -> str:
    """The page with a list of all modules: one line each, the first of its docstring."""
    lines, package = [], None
    for path in sorted((ROOT / "sequifier").rglob("*.py"), key=lambda path: (path.parent, path.name)):
        line = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
        if not line:
            continue
        if path.parent != package:
            package = path.parent
            lines += ["", f"**{package.relative_to(ROOT).as_posix()}/**", ""]
        lines.append(f"- `{path.name}`: {line}")
    begin, end = "<!-- files: written by `make docs` -->\n", "\n<!-- end of files -->"
    listed = begin + "\n".join(lines) + "\n" + end
    return re.sub(re.escape(begin) + ".*?" + re.escape(end.strip()), lambda _: listed, page, flags=re.DOTALL)


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
