"""`sequifier make`."""

from pathlib import Path

import click

from sequifier.cli.options import Command, ListOption
from sequifier.cli.output import echo


@click.command("make", cls=Command)
@click.argument("name")
@click.option(
    "--example",
    type=click.Choice(["flights", "python", "text"]),
    help="Add real data and configs that run as they are.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Your own table (CSV or Parquet), event log (XES) or text (.txt), from which the configs are filled in.",
)
@click.option(
    "--columns", cls=ListOption, metavar="NAME...", help="Names of the columns of a CSV file without a header."
)
@click.option(
    "--sequence",
    metavar="COLUMN",
    help="Column that names the sequence of an event; None if the table is a single series.",
)
@click.option(
    "--order",
    metavar="COLUMN",
    help="Column that orders the events of a sequence: integers, dates or datetimes; None if the rows are in order.",
)
@click.option("--target", "targets", cls=ListOption, metavar="COLUMN...", help="Columns to predict.")
@click.option(
    "--drop-duplicates", is_flag=True, help="Leave out rows that are identical to an earlier row in every column."
)
def command(
    name: str,
    example: str | None,
    data: Path | None,
    columns: tuple[str, ...],
    sequence: str | None,
    order: str | None,
    targets: tuple[str, ...],
    drop_duplicates: bool,
) -> None:
    """Make a project folder: commented configs for every command, data/ and .gitignore.

    With --data, the configs are filled in from the columns of the table. --sequence, --order and --target may be
    omitted where only one choice makes sense.

    \b
    Example:
        sequifier make my-flights --example flights
        sequifier make my-language-model --example text
        sequifier make shop --data orders.csv --sequence customer --order day --target item
        sequifier make claims --data claims.xes.gz
        sequifier make speeches --data speech.txt
    """
    from sequifier import api

    if data is None and (columns or sequence or order or targets or drop_duplicates):
        what = "--columns, --sequence, --order, --target and --drop-duplicates"
        raise click.UsageError(f"{what} describe a table: add --data FILE")
    if data is not None and example is not None:
        raise click.UsageError("--data and --example exclude each other")
    for line in api.make(
        name,
        example=example,
        folder=Path.cwd(),
        data=data,
        columns=columns,
        sequence=sequence,
        order=order,
        targets=targets,
        drop_duplicates=drop_duplicates,
    ):
        echo(line)
