"""The `sequifier` command. Whatever is heavy is imported by the command that needs it."""

import sys
from importlib import import_module
from typing import Any

import click

from sequifier import __version__
from sequifier.errors import SequifierError

COMMANDS = {
    "make": "Make a project folder with commented configs.",
    "preprocess": "Encode a table of events.",
    "train": "Train one model.",
    "hyperparameter-search": "Train and rank many models: the main job.",
    "infer": "Predict with an exported model.",
    "sampler-search": "Find the sampler that continues sequences best.",
    "export": "Export an old, pruned or interrupted run again.",
    "search-analysis": "Read searches, finished or running.",
    "visualize-training": "Draw the learning curves of runs.",
    "config": "Show, check and explain configs.",
}


class LazyGroup(click.Group):
    """Imports a command's module when it is called or asked for help, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"sequifier.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Click would import every command for its first line.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from sequifier.errors import nearest

        if args and args[0] not in COMMANDS and (near := nearest(args[0], COMMANDS)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sequifier")
def cli() -> None:
    """Tuned, deployable sequence models from tables of events.

    \b
    Example:
        sequifier make my-project --example flights
        sequifier hyperparameter-search --config-path configs/hyperparameter_search.yaml
    """


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 a user's error, 2 bad usage, 3 some runs failed, 130 interrupted."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SequifierError as error:
        click.secho(f"error: {error}", fg="red" if sys.stderr.isatty() else None, err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
