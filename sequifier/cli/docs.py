"""`sequifier docs`: the guides of this version, without a network."""

import sys
from pathlib import Path

import click

import sequifier
from sequifier.cli.options import Command
from sequifier.cli.output import console, echo
from sequifier.errors import nearest

CHECKOUT = Path(sequifier.__file__).parents[1] / "docs"
INSTALLED = Path(sequifier.__file__).parent / "guides"  # put there when a wheel is built: setup.py


@click.command("docs", cls=Command)
@click.argument("topic", required=False)
def command(topic: str | None) -> None:
    """Print a guide, or the list of guides. In a pipe it is the Markdown text.

    \b
    Example:
        sequifier docs concepts
    """
    guides = {path.stem: path for path in sorted((INSTALLED if INSTALLED.is_dir() else CHECKOUT).glob("*.md"))}
    if topic is None:
        width = max(map(len, guides))
        for name, path in guides.items():
            echo(f"{name:{width}}  {_title(path)}")
        return
    if topic not in guides:
        near = nearest(topic, guides)
        hint = f"Did you mean {near[0]!r}?" if near else "`sequifier docs` lists all."
        raise click.UsageError(f"no guide is called {topic!r}. {hint}")
    text = guides[topic].read_text(encoding="utf-8")
    if not sys.stdout.isatty():
        echo(text, nl=False)
        return
    from rich.markdown import Markdown

    console().print(Markdown(text))


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        return next(lines).removeprefix("# ").strip()
