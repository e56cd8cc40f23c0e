"""How commands print: text from files and libraries cannot control the terminal."""

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from sequifier.printable import printable

if TYPE_CHECKING:
    from rich.console import Console


def echo(text: object = "", *, err: bool = False, nl: bool = True, color: str | None = None) -> None:
    """Print text.

    Args:
        text: one or several lines.
        err: print to stderr.
        nl: end with a newline.
        color: color of the text on a terminal.
    """
    # The stream is passed because click's own would write UTF-8 to an ASCII terminal.
    stream = sys.stderr if err else sys.stdout
    click.secho(printable(str(text)), file=stream, nl=nl, fg=color if stream.isatty() else None)


def log_to_stderr(verbose: bool | None) -> Callable[[str], None]:
    """Return a function that prints progress to stderr, or nothing with --quiet."""

    def log(line: str) -> None:
        if verbose is not False:
            echo(line, err=True)

    return log


def ask(question: str) -> bool:
    """Ask a yes-or-no question on stderr; Enter means yes."""
    return click.confirm(printable(question), default=True, err=True)


def console(*, err: bool = False, **options: Any) -> "Console":
    """Return a rich console that removes control characters from text, but not its own colors and cursor movements."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class PrintableConsole(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

    return PrintableConsole(stderr=err, highlight=False, **options)


def duration(seconds: float) -> str:
    """Return seconds as 45 s, 12 min or 3.4 h."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
