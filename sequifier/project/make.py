"""`sequifier make`: a new project folder with configs for every command."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel

from sequifier.artifacts.atomic import write_text
from sequifier.config.help.comments import annotate
from sequifier.config.inference import InferConfig
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import SequifierError, did_you_mean
from sequifier.project import flights, python_tokens, topics
from sequifier.project.from_table import Proposal, propose
from sequifier.project.from_text import is_text, measure, text_values
from sequifier.project.table_configs import model_name, path_from

CONFIGS: dict[str, type[BaseModel]] = {
    "preprocess.yaml": PreprocessConfig,
    "train.yaml": TrainConfig,
    "infer.yaml": InferConfig,
    "hyperparameter_search.yaml": SearchConfig,
    "sampler_search.yaml": SamplerSearchConfig,
}
"""The config file of each command, in the order in which a project uses them."""

COMMANDS = ("sequifier preprocess", "sequifier hyperparameter-search")
"""The commands that follow, for most projects."""

TOPICS = 466_000
"""Length of the text of the example, about, in characters."""


@dataclass(frozen=True)
class Example:
    """Sample data with complete configs."""

    data: str  # name of its file in data/
    write: Callable[[Path], None]
    next: tuple[str, ...] = COMMANDS


EXAMPLES: dict[str, Example] = {
    "flights": Example("flights.parquet", flights.write),
    "python": Example("python_tokens.parquet", python_tokens.write),
    "text": Example("topics.txt", topics.write, ("sequifier preprocess", "sequifier train")),
}


@dataclass(frozen=True)
class OwnTable:
    """The user's table and its key and target columns; see `project.from_table.propose`."""

    path: Path
    sequence: str = ""
    order: str = ""
    targets: Sequence[str] = ()
    columns: Sequence[str] = ()
    drop_duplicates: bool = False


def make(name: str, example: str | None, folder: Path, data: OwnTable | None = None) -> list[str]:
    """Make the project `folder / name`: configs, data/ and .gitignore, with sample data for an example.

    Args:
        name: the new folder; it must not exist, or be empty.
        example: a key of `EXAMPLES`, or `None` for configs with PLEASE FILL in place of the user's values.
        folder: the folder in which the project is made.
        data: the user's own table instead of an example; the configs are filled in from it.

    Returns:
        Lines for the user: findings, files and next steps.

    Raises:
        SequifierError: the example does not exist, or the folder is not empty (nothing is changed then).
        DataError: the table cannot be used, or a column must be named (nothing is written then).
        RunError: the folder cannot be written to.
    """
    if example is not None and example not in EXAMPLES:
        raise SequifierError(f"the example `{example}` does not exist", fix=did_you_mean(example, EXAMPLES))
    project = folder / name
    if project.exists() and (not project.is_dir() or any(project.iterdir())):
        raise SequifierError(
            f"`{name}` exists and is not an empty folder; nothing was changed",
            where=str(project),
            fix="choose another name, or move the files of that folder",
        )
    if data is not None:
        return (_from_text if is_text(data.path) else _from_table)(name, project, data)
    _write(project, configs(example))
    if example is None:
        todo = f"put your table of events into {name}/data", "replace each PLEASE FILL in the configs"
        return _made(name, todo=todo)
    chosen = EXAMPLES[example]
    chosen.write(project / "data" / chosen.data)
    return _made(name, what=f"data/{chosen.data} and ", commands=chosen.next)


def configs(example: str | None) -> dict[str, str]:
    """Return the text of each config of a new project, with comments from the descriptions of fields."""
    if example == "text":
        return _text_configs(text_values("data/topics.txt", "topics", TOPICS, "The "))
    return {file: annotate(_template(f"{example or 'plain'}-{file}"), model) for file, model in CONFIGS.items()}


def _text_configs(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        file: annotate(Template(_template(f"text-{file}")).substitute(values), model) for file, model in CONFIGS.items()
    }


def _from_text(name: str, project: Path, data: OwnTable) -> list[str]:
    if data.sequence or data.order or data.targets or data.columns or data.drop_duplicates:
        raise SequifierError(
            f"`{data.path}` is a text, which has no columns and no rows",
            where="--data",
            fix="leave the options about tables out (--sequence, --order, ...); a table needs the ending .csv",
        )
    n_characters, what, prompt = measure(data.path)
    path = path_from(project, data.path)
    _write(project, _text_configs(text_values(path, model_name(name), n_characters, prompt)))
    return [what, *_made(name, commands=EXAMPLES["text"].next)]


def _from_table(name: str, project: Path, data: OwnTable) -> list[str]:
    with TemporaryDirectory(prefix="sequifier-") as folder:
        proposal: Proposal = propose(
            data.path,
            columns=data.columns,
            sequence=data.sequence,
            order=data.order,
            targets=data.targets,
            drop_duplicates=data.drop_duplicates,
            name=name,
            project=project,
            folder=Path(folder),
        )
    _write(project, {file: annotate(proposal.configs[file], model) for file, model in CONFIGS.items()})
    todo = (f"check {name}/configs/preprocess.yaml: it lists the use of each column",)
    return [*proposal.lines, *_made(name, todo=todo)]


def _made(name: str, *, what: str = "", todo: Sequence[str] = (), commands: Sequence[str] = COMMANDS) -> list[str]:
    """Say what was made, besides configs, and what to do next."""
    kinds = [file.removesuffix(".yaml") for file in CONFIGS]
    files = f"configs/ ({', '.join(kinds[:-1])} and {kinds[-1]})"
    steps = (*todo, f"cd {shlex.quote(name)}", *commands)
    return [f"made {name}/ with {what}{files}", "next:", *(f"  {step}" for step in steps)]


def _write(project: Path, texts: Mapping[str, str]) -> None:
    for file, text in texts.items():
        write_text(project / "configs" / file, text)
    write_text(project / ".gitignore", _template("gitignore"))
    (project / "data").mkdir(exist_ok=True)


def _template(path: str) -> str:
    return (files("sequifier.project") / "templates" / path).read_text(encoding="utf-8")
