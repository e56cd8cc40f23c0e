"""Write what follows from the code (`make docs`).

docs/hyperparameters.md and the comments in configs/ come from the config models, the list of files in
docs/architecture.md from the first lines of the modules, the functions in docs/api.md from sequifier/api.py.
"""

import ast
import re
from collections.abc import Iterator, Sequence
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
    for name, parts in {"architecture": ("files", files()), "api": ("functions", functions())}.items():
        page = ROOT / "docs" / f"{name}.md"
        texts[page] = with_part(page.read_text(encoding="utf-8"), *parts)
    return texts


def files() -> Sequence[str]:
    """A list of all modules: one line each, the first of its docstring."""
    lines, package = [], None
    for path in sorted((ROOT / "sequifier").rglob("*.py"), key=lambda path: (path.parent, path.name)):
        line = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
        if not line:
            continue
        if path.parent != package:
            package = path.parent
            lines += ["", f"**{package.relative_to(ROOT).as_posix()}/**", ""]
        lines.append(f"- `{path.name}`: {line}")
    return lines


def functions() -> Sequence[str]:
    """The functions of sequifier/api.py: what each takes, and its docstring."""
    lines = []
    for function in ast.parse((ROOT / "sequifier" / "api.py").read_text(encoding="utf-8")).body:
        if isinstance(function, ast.FunctionDef) and not function.name.startswith("_"):
            lines += ["", f"## {function.name}", "", "```text", f"{function.name}("]
            lines += [f"    {parameter}," for parameter in _parameters(function.args)]
            lines += [f") -> {_type(function.returns)}", "", *(ast.get_docstring(function) or "").split("\n"), "```"]
    return lines


def _parameters(args: ast.arguments) -> Iterator[str]:
    defaults = [None] * (len(args.args) - len(args.defaults)) + list(args.defaults)
    for arg, default in zip(args.args, defaults, strict=True):
        yield _parameter(arg, default)
    if args.kwonlyargs:
        yield "*"
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield _parameter(arg, default)


def _parameter(arg: ast.arg, default: ast.expr | None) -> str:
    return f"{arg.arg}: {_type(arg.annotation)}" + ("" if default is None else f" = {ast.unparse(default)}")


def _type(annotation: ast.expr | None) -> str:
    """An annotation; one in quotes without them."""
    assert annotation is not None
    return str(annotation.value) if isinstance(annotation, ast.Constant) else ast.unparse(annotation)


def with_part(page: str, name: str, lines: Sequence[str]) -> str:
    """The page with these lines between its marks."""
    begin, end = f"<!-- {name}: written by `make docs` -->\n", f"\n<!-- end of {name} -->"
    listed = begin + "\n".join(lines) + "\n" + end
    return re.sub(re.escape(begin) + ".*?" + re.escape(end.strip()), lambda _: listed, page, flags=re.DOTALL)


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
