"""The import rule: what each package may import, anywhere in its files, and what stays out of light commands."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sequifier"

FOR_ALL = {
    *("activity", "callbacks", "errors", "machine", "memory_messages", "params", "percent", "printable"),
    *("regular_file", "stall", "streams"),
}

# What each part of the package may import besides itself and FOR_ALL, which everything may.
# A dotted entry allows that module alone.
ALLOWED: dict[str, set[str]] = {
    "activity": set(),
    "errors": set(),
    "callbacks": set(),
    "machine": set(),
    "memory_messages": set(),
    "printable": set(),
    "percent": set(),
    "regular_file": set(),
    "stall": set(),
    "streams": set(),
    "params": set(),
    "processes": set(),
    "config": set(),
    # config inside `from_config` only, see below; the others: 001
    "experiment": {"config", "artifacts.atomic", "artifacts.read_file"},
    "artifacts": {"config"},
    "preprocess": {"config", "artifacts"},
    "dataset": {"config", "artifacts"},
    "model": set(),  # model/build.py: config, see below
    "metrics": {"config"},
    "generation": {"model"},
    "training": {"config", "artifacts", "dataset", "model", "metrics", "generation"},
    "export": {"config", "artifacts", "model"},
    "inference": {"config", "artifacts", "preprocess.encode", "dataset", "model", "metrics", "generation"},
    "results": {"config", "artifacts", "experiment", "metrics.skill"},
    "search": {"config", "artifacts", "experiment", "processes", "dataset.windows", "results"},
    "report": {"config", "search", "artifacts", "experiment", "results"},
    "sampler_search": {
        *("config", "artifacts", "experiment", "processes", "results", "search", "inference", "generation"),
        "metrics",
    },
    "prepare": {"config", "artifacts", "dataset", "model", "metrics", "training", "export"},
    "score": {"config", "artifacts", "training", "prepare"},
    "model_report": {
        *("config", "artifacts", "dataset", "model", "metrics", "training", "export", "prepare", "report"),
        "results.plain",
    },
    "run": {
        *("config", "experiment", "artifacts", "preprocess", "dataset", "model", "metrics", "generation"),
        *("training", "export", "inference", "prepare", "run_record"),
    },
    "run_record": {"config", "artifacts", "experiment", "model", "training", "prepare"},
    "check": {"config", "artifacts", "experiment", "results", "search"},
    "cli": {"api", "config", "results"},
}
ALLOWED["execution"] = ALLOWED["run"] | {"processes", "run", "score", "search"}
ALLOWED["api"] = ALLOWED["project"] = set(ALLOWED) - {"cli"} | {"api", "project"}
ALLOWED["__init__"] = set()
ALLOWED["__main__"] = {"cli"}

# The last one and types of the command line: docs/decisions/001-two-exceptions-to-the-import-rule.md
EXTRA_OF_FILE = {"model/build.py": {"config"}}

HEAVY = {"torch", "polars", "onnx", "onnxruntime", "onnxscript", "optuna", "pytorch_optimizer", "ray"}

# Libraries that a package must not import, not even inside a function.
FORBIDDEN: dict[str, set[str]] = {
    "config": {"torch", "polars"},
    "model": {"polars", "onnx", "onnxruntime", "yaml"},
    "preprocess": {"torch"},
    "results": {"torch", "polars", "onnx", "onnxruntime"},
    "search": {"torch", "polars", "onnx", "onnxruntime"},
    "report": {"torch", "polars", "onnx", "onnxruntime"},
}

# Libraries that a package imports inside functions only, so that importing the package stays light.
INSIDE_FUNCTIONS: dict[str, set[str]] = {
    "config": HEAVY,
    "experiment": HEAVY,
    "artifacts": HEAVY,
    "results": HEAVY,
    "search": HEAVY,
    "report": HEAVY,
    "project": HEAVY,
    "api": HEAVY,
    "cli": HEAVY,
}

# artifacts/tensor_shards.py reads and writes .pt shards, for which alone preprocessing needs torch.
TORCH_IN_ARTIFACTS = {
    f"artifacts/{name}.py" for name in ("tensor_shards", "torch_file", "checkpoint", "torch_model_file")
}

# torch has the writer of TensorBoard's event files: docs/decisions/026-libraries-instead-of-our-own.md
TORCH_IN_REPORT = {"report/exports/tensorboard.py"}


class Import(NamedTuple):
    """One imported module, and where."""

    module: str  # "sequifier.config.base", "torch.nn"
    file: str  # "config/base.py"
    line: int
    inside: str  # name of the enclosing function, "" at module level
    for_types: bool  # under `if TYPE_CHECKING:`

    @property
    def part(self) -> str:
        return part_of(self.file)

    def __str__(self) -> str:
        return f"sequifier/{self.file}:{self.line} imports {self.module}"


def part_of(file: str) -> str:
    """The package or module at the top that a file belongs to: `config/base.py` to `config`, `run.py` to `run`."""
    return file.split("/")[0].removesuffix(".py")


def imports_of(source: str, file: str) -> Iterator[Import]:
    """Every import of a file, wherever it stands; `from sequifier import run` counts as `sequifier.run`."""

    def visit(node: ast.AST, inside: str, for_types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, file, child.lineno, inside, for_types)
            elif isinstance(child, ast.ImportFrom):
                module = child.module or ""
                if child.level:
                    folder = ("sequifier/" + file).split("/")[: -child.level]
                    module = ".".join([*folder, *([module] if module else [])])
                for alias in child.names:
                    # `from sequifier import run` and `from sequifier.config import base` import modules.
                    full = f"{module}.{alias.name}"
                    imports_module = module == "sequifier" or is_module(full)
                    yield Import(full if imports_module else module, file, child.lineno, inside, for_types)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from visit(child, child.name, for_types)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from visit(child, inside, True)
            else:
                yield from visit(child, inside, for_types)

    yield from visit(ast.parse(source), "", False)


def is_module(name: str) -> bool:
    """Whether a dotted name is a package or a file of this repository."""
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def all_imports() -> list[Import]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        found += imports_of(path.read_text(encoding="utf-8"), file)
    return found


def breaks_the_rule(imported: Import) -> bool:
    names = imported.module.split(".")
    if names[0] != "sequifier" or names[1:] in ([], ["__version__"], ["ARITHMETIC"]):
        return False
    target = names[1]
    allowed = ALLOWED[imported.part] | EXTRA_OF_FILE.get(imported.file, set()) | FOR_ALL
    if imported.part == "cli" and imported.for_types:
        return False
    if imported.part == "experiment" and target == "config":
        return imported.inside != "from_config"
    return target != imported.part and target not in allowed and ".".join(names[1:3]) not in allowed


def breaks_a_library_rule(imported: Import) -> bool:
    library = imported.module.split(".")[0]
    if library in FORBIDDEN.get(imported.part, set()) and imported.file not in TORCH_IN_REPORT:
        return True
    if imported.part == "artifacts" and library == "torch" and imported.file not in TORCH_IN_ARTIFACTS:
        return True
    light = library in INSIDE_FUNCTIONS.get(imported.part, set())
    return light and not imported.inside and not imported.for_types


def test_imports_go_down_only() -> None:
    broken = [str(imported) for imported in all_imports() if breaks_the_rule(imported)]
    assert not broken, "\n".join(broken)


def circles(imports: Iterable[tuple[str, str]]) -> list[set[str]]:
    """Groups of modules that import one another, directly or by way of others of the group."""
    targets: dict[str, set[str]] = {}
    for importer, target in imports:
        targets.setdefault(importer, set()).add(target)

    def reached_from(start: str) -> set[str]:
        found: set[str] = set()
        rest = [start]
        while rest:
            new = targets.get(rest.pop(), set()) - found
            found |= new
            rest += new
        return found

    reached = {module: reached_from(module) for module in targets}
    groups = {
        frozenset(other for other in reached[module] if module in reached.get(other, set()))
        for module in reached
        if module in reached[module]
    }
    return sorted((set(group) for group in groups), key=sorted)


def test_no_modules_import_one_another() -> None:
    """Neither at the module level nor inside functions; imports for types alone do not count."""
    imports = []
    for imported in all_imports():
        importer = "sequifier." + imported.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if imported.module.startswith("sequifier.") and imported.module != importer and not imported.for_types:
            imports.append((importer, imported.module))
    found = circles(imports)
    assert not found, "\n".join(", ".join(sorted(circle)) for circle in found)


def test_circles_of_imports_are_found() -> None:
    assert circles([("a", "b"), ("b", "c"), ("c", "d")]) == []
    assert circles([("a", "b"), ("b", "a"), ("b", "c"), ("d", "e"), ("e", "f"), ("f", "d")]) == [
        {"a", "b"},
        {"d", "e", "f"},
    ]


def test_heavy_libraries_stay_where_they_belong() -> None:
    broken = [str(imported) for imported in all_imports() if breaks_a_library_rule(imported)]
    assert not broken, "\n".join(broken)


def test_ray_is_imported_where_the_engine_is_a_cluster_alone() -> None:
    importing = {imported.file for imported in all_imports() if imported.module.split(".")[0] == "ray"}
    assert importing and all(file.startswith("execution/cluster/") for file in importing)
    entered = {imported.file for imported in all_imports() if imported.module == "sequifier.execution.cluster.engine"}
    assert entered == {"execution/engines.py"}


def test_the_package_and_its_parameters_import_the_standard_library_alone() -> None:
    own = tuple(f"sequifier.{part}" for part in FOR_ALL)
    for imported in all_imports():
        if imported.part in {"__init__", *FOR_ALL} and not imported.for_types and not imported.module.startswith(own):
            assert imported.module.split(".")[0] in sys.stdlib_module_names, str(imported)


@pytest.mark.parametrize(
    ("part", "above"),
    [("catalogue", ("fields", "train", "loading", "help")), ("", ("loading", "help")), ("loading", ("help",))],
    ids=["catalogue", "the fields", "loading"],
)
def test_imports_inside_config_go_down_only(part: str, above: tuple[str, ...]) -> None:
    """What a config may name, then its fields, then reading files, then help."""
    folder = "/".join(["config", *([part] if part else [])])
    names = tuple(f"sequifier.config.{name}" for name in above)
    broken = [
        str(imported)
        for imported in all_imports()
        if imported.file.rpartition("/")[0] == folder and imported.module.startswith(names)
    ]
    assert not broken, "\n".join(broken)


def test_the_page_on_the_architecture_has_this_table() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page.partition("## What may import what")[2], re.M))
    expected = {part: ", ".join(sorted(allowed)) or "-" for part, allowed in ALLOWED.items() if part not in FOR_ALL}
    expected["api"] = expected["project"] = "everything but `cli`"
    del expected["__init__"]
    assert rows == expected


def test_every_part_of_the_package_has_a_rule() -> None:
    parts = {part_of(path.relative_to(PACKAGE).as_posix()) for path in PACKAGE.rglob("*.py")}
    assert parts <= set(ALLOWED), f"no import rule for {sorted(parts - set(ALLOWED))}"


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("from sequifier.training import losses", "model/heads.py"),
        ("def f():\n    import sequifier.run", "search/runner.py"),
        ("from sequifier import api", "training/loop.py"),
        ("from ..search import plan", "config/train.py"),
        ("if True:\n    from sequifier.config import base", "experiment/record.py"),
        ("import sequifier.preprocess.read", "inference/predict.py"),
    ],
)
def test_an_import_upwards_is_found_wherever_it_stands(source: str, file: str) -> None:
    assert [imported for imported in imports_of(source, file) if breaks_the_rule(imported)]


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("def f():\n    import torch.nn", "config/train.py"),
        ("import polars as pl", "artifacts/events.py"),
        ("def f():\n    from optuna import study\nimport optuna", "search/strategies.py"),
    ],
)
def test_a_heavy_import_is_found(source: str, file: str) -> None:
    assert [imported for imported in imports_of(source, file) if breaks_a_library_rule(imported)]


@pytest.mark.parametrize("part", ["results", "search", "config", "experiment", "project", "cli"])
def test_importing_a_light_package_loads_no_heavy_library(part: str) -> None:
    files = [path.relative_to(ROOT).with_suffix("").parts for path in sorted((PACKAGE / part).rglob("*.py"))]
    modules = [".".join(parts).removesuffix(".__init__") for parts in files]
    code = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert "sequifier" in run.stdout
    assert not {module.split(".")[0] for module in run.stdout.split()} & HEAVY


OTHER_READERS = {
    "artifacts/read_file.py",  # the one way
    "artifacts/torch_file.py",  # the one way, for torch
    "artifacts/sequence_losses.py",  # inside `reading`
    "config/catalogue/torch_names.py",  # of this package
    "execution/worker.py",
    "execution/worker_events.py",  # from a pipe of our own worker
    "experiment/cache.py",  # inside `except Exception`
    "experiment/environment.py",  # of installed packages
    "experiment/json_values.py",  # of what it just wrote
    "params/current.py",  # the standard library alone, inside `except Exception`
    "project/python_functions.py",  # a user's script
}


def test_what_a_stage_wrote_is_read_in_one_way() -> None:
    readers = {"json.load", "json.loads", "torch.load", "np.load", "pickle.load", "onnx.load"}
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in readers:
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found == OTHER_READERS, "use artifacts/read_file.py or artifacts/torch_file.py"
