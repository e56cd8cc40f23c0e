"""Everything that a command prints: one way, in which text from elsewhere cannot steer the terminal."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from sequifier.printable import printable

if TYPE_CHECKING:
    from rich.console import Console


def echo(text: object = "", *, err: bool = False, nl: bool = True, color: str | None = None) -> None:
    """Print text.

    Args:
        text: may be several lines.
        err: on stderr.
        nl: end with a new line.
        color: on a terminal.
    """
    # A file of its own: click would write UTF-8 to a stream that says it is ASCII.
    stream = sys.stderr if err else sys.stdout
    click.secho(printable(str(text)), file=stream, nl=nl, fg=color if stream.isatty() else None)


def ask(question: str) -> bool:
    """Ask on stderr; Enter is yes."""
    return click.confirm(printable(question), default=True, err=True)


def console(*, err: bool = False, **options: Any) -> "Console":
    """A console of rich whose text is printable; colors and movements of its own stay."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class PrintableConsole(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

    return PrintableConsole(stderr=err, highlight=False, **options)


def counted(number: int, what: str) -> str:
    """`1 run`, `2,000 runs`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
