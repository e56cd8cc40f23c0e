"""Options of several commands, and flags that take several words."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from sequifier.cli.memory import check_address_space
from sequifier.cli.output import echo
from sequifier.errors import ConfigError

Function = TypeVar("Function", bound=Callable[..., Any])

CONFIG_FILE = click.Path(path_type=Path, readable=False)  # the reader of configs has the better message


class ListOption(click.Option):
    """A flag that takes one or more words, and may be repeated: `-D a=1 b=2 -D c=3`."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **{**attributes, "multiple": True})


class Command(click.Command):
    """A command whose `ListOption` flags take every word up to the next flag."""

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command, with the memory that its libraries need."""
        check_address_space(self.name or "")
        return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat a list flag before each of its words, which is the form that click knows."""
        names = {name for option in self.params if isinstance(option, ListOption) for name in option.opts}
        spread: list[str] = []
        flag, is_first = "", True
        for word in args:
            if word.startswith("-") and len(word) > 1:
                name, equals, _ = word.partition("=")
                flag, is_first = (name, not equals) if name in names else ("", True)
            elif flag:
                if not is_first:
                    spread.append(flag)
                is_first = False
            spread.append(word)
        try:
            return super().parse_args(ctx, spread)
        except click.NoSuchOption as error:
            if keys := self._fields_called(error.option_name):
                ways = " or ".join(f"-D {key}=VALUE" for key in keys[:3])
                raise click.UsageError(f"No such option '{error.option_name}'; set the field by {ways}", ctx) from error
            raise
        except click.UsageError as error:
            if "extra argument" in error.message and args[0].endswith((".yaml", ".yml")):
                what = f"{error.message}; the config is named by a flag: --config-path {args[0]}"
                raise click.UsageError(what, ctx) from error
            raise

    def _fields_called(self, flag: str) -> list[str]:
        """The keys of the fields of the command's config that a flag would set, if there were one for each field."""
        from sequifier.config.help.explain import keys_called
        from sequifier.config.loading.kinds import KINDS

        kind = (self.name or "").replace("-", "_")
        return keys_called(kind, flag.lstrip("-")) if kind in KINDS else []


def config_options(default: str) -> Callable[[Function], Function]:
    """`--config-path`, `-D`, `--config-section`, `--verbose`, `--quiet`."""

    def decorate(function: Function) -> Function:
        for option in reversed(
            [
                click.option(
                    "--config-path",
                    type=CONFIG_FILE,
                    default=Path(default),
                    show_default=True,
                    help="The YAML config.",
                ),
                click.option(
                    "-D",
                    "--define",
                    "defines",
                    cls=ListOption,
                    metavar="KEY=VALUE...",
                    help="Override config fields by dotted key.",
                ),
                click.option("--config-section", metavar="NAME", help="Merge this entry of `sections:` into the file."),
                click.option("--verbose/--quiet", "verbose", default=None, help="Print more, or only the result."),
            ]
        ):
            function = option(function)
        return function

    return decorate


seed_options = [
    click.option("-s", "--seed", type=click.IntRange(min=0), help="Random seed."),
    click.option("-r", "--randomize", is_flag=True, help="Draw a random seed."),
]


def with_seed_options(function: Function) -> Function:
    """`--seed`, `--randomize`."""
    for option in reversed(seed_options):
        function = option(function)
    return function


def given(seed: int | None, randomize: bool, **flags: Any) -> dict[str, Any]:
    """The given flags by config key: the words of a list flag as a list, `None` as null."""
    values: dict[str, Any] = {}
    for key, value in flags.items():
        if isinstance(value, tuple):
            if value:
                values[key] = None if value == ("None",) else list(value)
        elif value is not None:
            values[key] = None if value == "None" else value
    if seed is not None and randomize:
        raise click.UsageError("--seed and --randomize exclude each other")
    if seed is not None:
        values["seed"] = seed
    if randomize:
        values["seed"] = None
    return values


skip_metadata_option = click.option(
    "-sm",
    "--skip-metadata",
    is_flag=True,
    help="Take splits, columns, classes and id maps from the config, without a metadata file.",
)


def load_with_metadata(
    model: Any, path: Path, *, skip: bool, section: str | None, defines: tuple[str, ...], flags: dict[str, Any]
) -> Any:
    """Load the config of a training or a search.

    Args:
        model: of the config.
        path: of the file.
        skip: write the metadata that the config itself gives, and use them instead of a file.
        section: as in `config.loading.load.load`.
        defines: as in `load`.
        flags: as in `load`.
    """
    from sequifier.config.loading.load import load

    if not skip:
        return load(model, path, section=section, defines=defines, flags=flags)
    loaded = load(model, path, section=section, defines=defines, flags=flags | {"metadata_config_path": "(given)"})
    from sequifier import api

    try:
        written = api.write_given_metadata(loaded.config)
    except ConfigError as error:
        raise loaded.located(error) from error
    config = loaded.config.model_copy(update={"metadata_config_path": written})
    # The note on keys without effect is wrong here: they have one.
    return replace(loaded, config=config, notes=tuple(note for note in loaded.notes if note.key))


all_metrics_option = click.option(
    "--all-metrics", is_flag=True, help="Print every metric of the best runs below the ranked table."
)


@contextmanager
def located(loaded: Any) -> Iterator[None]:
    """The parameter scope of a config.

    Prints the notes of loading, and adds file and line to problems that are found later.
    """
    from sequifier.params import param_scope

    for note in loaded.notes:
        echo(f"note: {note}", err=True, color="yellow")
    try:
        with param_scope(loaded.config.model_dump(mode="json")):
            yield
    except ConfigError as error:
        raise loaded.located(error) from error
