"""`sequifier make`: a new project folder with configs for every command."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel

from sequifier.artifacts.atomic import write_text
from sequifier.config.inference import InferConfig
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.reference import annotate
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import SequifierError, did_you_mean
from sequifier.project import flights, python_tokens

CONFIGS: dict[str, type[BaseModel]] = {
    "preprocess.yaml": PreprocessConfig,
    "train.yaml": TrainConfig,
    "infer.yaml": InferConfig,
    "hyperparameter_search.yaml": SearchConfig,
}
"""The config file of each command, in the order in which a project uses them."""

EXAMPLES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "flights": ("flights.parquet", flights.write),
    "python": ("python_tokens.parquet", python_tokens.write),
}
"""The data file of each example, and the function that writes it."""


def make(name: str, example: str | None, folder: Path) -> list[str]:
    """Make the project `folder / name`: configs, data/ and .gitignore, with sample data for an example.

    Args:
        name: the new folder; it must not exist, or be empty.
        example: a key of `EXAMPLES`, or `None` for configs that say PLEASE FILL where only the user knows.
        folder: where the project is made.

    Returns:
        What was made and what to do next, line by line.

    Raises:
        SequifierError: the example is unknown, or the folder has something in it already (nothing is touched).
        RunError: the folder cannot be written to.
    """
    if example is not None and example not in EXAMPLES:
        raise SequifierError(f"there is no example `{example}`", fix=did_you_mean(example, EXAMPLES))
    project = folder / name
    if project.exists() and (not project.is_dir() or any(project.iterdir())):
        raise SequifierError(
            f"`{name}` exists and is not an empty folder; nothing was changed",
            where=str(project),
            fix="choose another name, or move what is there away",
        )
    for file, text in configs(example).items():
        write_text(project / "configs" / file, text)
    write_text(project / ".gitignore", _template("gitignore"))
    (project / "data").mkdir(exist_ok=True)
    if example is None:
        return [
            f"made {name}/ with {', '.join(f'configs/{file}' for file in CONFIGS)}",
            "next:",
            f"  put your table of events into {name}/data",
            "  write your values where the configs say PLEASE FILL",
            f"  cd {name}",
            "  sequifier preprocess",
            "  sequifier hyperparameter-search",
        ]
    data, write = EXAMPLES[example]
    write(project / "data" / data)
    return [
        f"made {name}/ with data/{data} and {', '.join(f'configs/{file}' for file in CONFIGS)}",
        "next:",
        f"  cd {name}",
        "  sequifier preprocess",
        "  sequifier hyperparameter-search",
    ]


def configs(example: str | None) -> dict[str, str]:
    """The text of each config of a new project, with comments from the descriptions of the fields."""
    return {file: annotate(_template(f"{example or 'plain'}-{file}"), model) for file, model in CONFIGS.items()}


def _template(path: str) -> str:
    return (files("sequifier.project") / "templates" / path).read_text(encoding="utf-8")
