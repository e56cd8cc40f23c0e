"""`sequifier make`."""

from pathlib import Path

import click


@click.command("make")
@click.argument("name")
@click.option("--example", type=click.Choice(["flights", "python"]), help="Add real data and configs that run at once.")
def command(name: str, example: str | None) -> None:
    """Make a project folder: commented configs for every command, data/ and .gitignore.

    \b
    Example:
        sequifier make my-flights --example flights
    """
    from sequifier import api

    for line in api.make(name, example=example, folder=Path.cwd()):
        click.echo(line)
