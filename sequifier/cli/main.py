"""The `sequifier` command. Heavy libraries are imported by the commands that need them."""

import sys
from importlib import import_module
from io import StringIO
from traceback import format_exception
from typing import Any

import click

from sequifier import __version__
from sequifier.cli.memory import how_to_fix, out_of_memory
from sequifier.cli.output import echo
from sequifier.errors import SequifierError
from sequifier.streams import is_reader_gone, restart_in_utf8_mode, robust_streams

COMMANDS = {
    "make": "Make a project folder with commented configs.",
    "preprocess": "Encode a table of events.",
    "train": "Train one model.",
    "hyperparameter-search": "Train many models and rank them.",
    "infer": "Predict with an exported model.",
    "sampler-search": "Find the sampler settings that continue sequences best.",
    "export": "Export an old, pruned or interrupted run again.",
    "search-analysis": "Analyse searches, finished or running.",
    "visualize-training": "Draw the learning curves of runs.",
    "config": "Show, check and explain configs.",
    "docs": "Print a guide.",
}


class LazyGroup(click.Group):
    """A group that imports the module of a command when it is called or its help is shown, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"sequifier.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Click would import every command to show the first line of its help.
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
    """Run a command.

    Exit codes: 0 done, 1 an error, 2 wrong usage, 3 some runs of a search failed, 130 interrupted.
    """
    restart_in_utf8_mode()
    with robust_streams() as stdout:
        code = _run()
        sys.stdout.flush()
        if stdout.error is not None and not is_reader_gone(stdout.error):
            _fail(f"cannot write the output: {stdout.error.strerror}")
            code = code or 1
    sys.exit(code)


def _run() -> int:
    """Run the command and return its exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        with StringIO() as shown:
            error.show(shown)
            echo(shown.getvalue(), err=True, nl=False)
        return error.exit_code
    except SequifierError as error:
        return _fail(str(error))
    except click.Abort as error:
        # click turns every EOFError into an Abort, as if the user had ended the input.
        return _unexpected(error.__cause__) if isinstance(error.__cause__, EOFError) else _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit:
        raise
    except BaseException as error:  # a panic in polars is not an Exception
        if (reason := out_of_memory(error)) is None:
            if isinstance(error, OSError) and error.filename:
                fix = "make sure that it exists, and that you may read and write it"
                return _fail(f"{error.strerror}: {error.filename}\n  fix:   {fix}")
            return _unexpected(error)
        return _fail(f"there is not enough memory: {reason}\n  fix:   {how_to_fix(reason)}")
    return code if isinstance(code, int) else 0


def _fail(message: str) -> int:
    echo(f"error: {message}", err=True, color="red")
    return 1


def _unexpected(error: BaseException) -> int:
    """Print the traceback of an error in this program or in the user's own code."""
    echo("".join(format_exception(error)), err=True, nl=False)
    return 1


def _interrupted() -> int:
    echo("interrupted", err=True)
    return 130
