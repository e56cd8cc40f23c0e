"""`sequifier visualize-training`."""

from pathlib import Path

import click

from sequifier.cli.options import Command
from sequifier.cli.output import echo


@click.command("visualize-training", cls=Command)
@click.argument("names", metavar="NAME[,NAME...]", nargs=-1, required=True)
@click.option("--log-scale", is_flag=True, help="Draw the metric on a logarithmic scale.")
@click.option("--metric", default="val_loss", show_default=True, help="Metric of metrics.jsonl to draw.")
@click.option(
    "--forecasts", is_flag=True, help="Draw forecasts of the best runs too, beside the truth and the seasonal mean."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Path of the page; default: outputs/curves-NAME.html.",
)
def command(names: tuple[str, ...], log_scale: bool, metric: str, forecasts: bool, output: Path | None) -> None:
    """Draw the learning curves of runs below logs/, or of all runs of a search, as one HTML page that works offline.

    \b
    Example:
        sequifier visualize-training flights,flights-large --log-scale
    """
    from sequifier import api

    every = [name.strip() for word in names for name in word.split(",") if name.strip()]
    if not every:
        raise click.UsageError("give the name of a run")
    echo(api.visualize_training(every, metric=metric, log_scale=log_scale, forecasts=forecasts, path=output))
