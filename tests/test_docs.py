"""Documentation that can be wrong is tested: generated files, commands, flags, paths, links, and the ONNX script."""

import ast
import re
from pathlib import Path

import click
import pytest

from sequifier.cli.main import COMMANDS, cli
from sequifier.config.help.explain import all_fields
from sequifier.config.loading.kinds import KINDS, kind_of
from sequifier.config.loading.load import load
from tests.support.docs_scripts import docs_script

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "llms.txt", "configs/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
WRITTEN_BY_RUNS = ("data/", "models/", "logs/", "checkpoints/", "configs/hp_search/", "configs/metadata_configs/")

generate = docs_script("generate")


@pytest.mark.parametrize("path", generate.generated(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_generated_text_is_not_stale(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generate.generated()[path], "run `make docs`"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_each_config_of_the_repository_loads(path: Path) -> None:
    kind = KINDS[kind_of(path)]
    assert isinstance(load(kind, path).config, kind)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_flags_in_the_documentation_exist(page: Path) -> None:
    for command, rest in re.findall(r"sequifier ([a-z][a-z-]+)([^`\n#|]*)", commands_of(page)):
        assert command in COMMANDS, f"{page.name}: sequifier {command}"
        options = options_of(command)
        unknown = set(re.findall(r"(?<!\S)--?[a-zA-Z-]+", rest)) - options - {"--help"}
        assert not unknown, f"{page.name}: sequifier {command} has no {sorted(unknown)}"


def test_each_command_is_in_the_readme() -> None:
    text = commands_of(ROOT / "README.md")
    assert [command for command in COMMANDS if f"sequifier {command}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_paths_and_links_in_the_documentation_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"
    made = {path for found in re.findall(r"--(?:next|export) (\S+)|^# (configs/\S+)$", text, re.M) for path in found}
    for path in re.findall(r"(?<![\w/.-])(?:configs|docs|sequifier|benchmarks)/[\w./-]+\.\w+", text):
        if path in made:
            continue  # by the commands of the page
        if not path.startswith(WRITTEN_BY_RUNS) and not re.search("[A-Z]{3}", path.replace("README", "")):
            assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_make_targets_in_the_documentation_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= targets, page.name


def test_the_readme_begins_with_the_command_that_users_type() -> None:
    first = re.search(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert first is not None
    assert first[1] == "sequifier hyperparameter-search --config-path configs/hyperparameter_search.yaml\n"


def test_the_prediction_script_needs_onnxruntime_and_numpy_alone() -> None:
    tree = ast.parse((ROOT / "docs" / "predict.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"csv", "json", "pathlib", "numpy", "onnxruntime"}


def commands_of(page: Path) -> str:
    """The code of a page: blocks and inline."""
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL) + re.findall(r"`(sequifier [^`\n]*)`", text))


def options_of(command: str) -> set[str]:
    """The flags of a command, long and short."""
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    commands = [found, *(found.commands.values() if isinstance(found, click.Group) else ())]
    parameters = [parameter for one in commands for parameter in one.params]
    return {flag for parameter in parameters for flag in (*parameter.opts, *parameter.secondary_opts)}


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = sorted(path.name[:3] for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert all(number.isdecimal() for number in numbers) and len(set(numbers)) == len(numbers)


def test_the_page_for_users_of_other_libraries_names_fields_that_exist() -> None:
    page = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
    ours = " ".join(line.split("|")[-2] for line in page.splitlines() if line.startswith("| "))
    codes = re.findall(r"`([^`]+)`", ours)
    named = {code for code in codes if re.fullmatch("[a-z_.]+", code)}
    named |= {name for code in codes for name in re.findall(r"(?:^|[{ ])([a-z_.]+)(?=: |=)", code)}
    in_values = (
        "sample grid name type weight_decay momentum low high log sampled negatives by candidates infer unknown linear"
    )
    fields = {place.key for place in all_fields()} | {place.name for place in all_fields()}
    assert named - set(in_values.split()) <= fields
    assert {"prediction_horizon", "start_with", "split_events", "gradient_clip", "execution.devices"} <= named
