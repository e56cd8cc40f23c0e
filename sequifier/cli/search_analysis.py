"""`sequifier search-analysis`."""

from typing import Literal

import click

from sequifier.cli.options import Command


@click.command("search-analysis", cls=Command)
@click.argument("search", metavar="NAME|FILE")
@click.option("--metric", help="What ranks the runs; without it, what the search ranks them by.")
@click.option("--direction", type=click.Choice(["minimize", "maximize"]), help="Which way the metric is better.")
@click.option(
    "--export-optuna",
    metavar="URL",
    required=True,
    help="Write the search into this Optuna storage, as a study named like it; a second time replaces it.",
)
def command(
    search: str, metric: str | None, direction: Literal["minimize", "maximize"] | None, export_optuna: str
) -> None:
    """Read a search, finished or running: NAME below logs/, or the path of its ledger.

    \b
    Example:
        sequifier search-analysis flights-search --export-optuna sqlite:///study.db
    """
    from sequifier import api

    trials = api.export_optuna(search, export_optuna, metric=metric, direction=direction)
    click.echo(f"{trials} trial{'' if trials == 1 else 's'} written to {export_optuna}")
