"""`sequifier make`."""

from pathlib import Path

import click

from sequifier.cli.options import Command, ListOption
from sequifier.cli.output import echo


@click.command("make", cls=Command)
@click.argument("name")
@click.option(
    "--example", type=click.Choice(["flights", "python", "text"]), help="Add real data and configs that run at once."
)
@click.option("--data", type=click.Path(path_type=Path), help="Your own table, CSV or Parquet: fills the configs in.")
@click.option("--sequence", metavar="COLUMN", help="Which sequence an event belongs to; None: the table is one series.")
@click.option("--order", metavar="COLUMN", help="What orders the events of a sequence: integers, dates or datetimes.")
@click.option("--target", "targets", cls=ListOption, metavar="COLUMN...", help="What to predict.")
def command(
    name: str,
    example: str | None,
    data: Path | None,
    sequence: str | None,
    order: str | None,
    targets: tuple[str, ...],
) -> None:
    """Make a project folder: commented configs for every command, data/ and .gitignore.

    With --data, the table is looked at, and what was found is written into the configs. --sequence, --order and
    --target may be left out where only one answer makes sense.

    \b
    Example:
        sequifier make my-flights --example flights
        sequifier make my-language-model --example text
        sequifier make shop --data orders.csv --sequence customer --order day --target item
    """
    from sequifier import api

    if data is None and (sequence or order or targets):
        raise click.UsageError("--sequence, --order and --target are about a table: add --data FILE")
    if data is not None and example is not None:
        raise click.UsageError("--data and --example exclude each other")
    for line in api.make(
        name, example=example, folder=Path.cwd(), data=data, sequence=sequence, order=order, targets=targets
    ):
        echo(line)
