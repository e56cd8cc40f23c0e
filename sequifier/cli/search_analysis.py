"""`sequifier search-analysis`."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from sequifier.cli.options import Command, all_metrics_option
from sequifier.cli.output import console, echo
from sequifier.percent import counted
from sequifier.printable import command_line

if TYPE_CHECKING:
    from rich.console import Console

    from sequifier.report.report import Report

WATCH_SECONDS = 2.0
REFRESH_SECONDS = 10
"""Seconds after which a browser reads the page of a running search again."""

_OUT = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("search-analysis", cls=Command)
@click.argument("searches", metavar="NAME|FILE...", nargs=-1)
@click.option("--latest", is_flag=True, help="The most recent search.")
@click.option("--compare", is_flag=True, help="Analyse several searches together instead of one by one.")
@click.option("--metric", help="Metric that ranks the runs; default: the metric of the search.")
@click.option("--direction", type=click.Choice(["minimize", "maximize"]), help="Direction of the metric.")
@all_metrics_option
@click.option(
    "--export", "best", metavar="FILE", type=_OUT, help="Write the best run as train.yaml, or the best samplers."
)
@click.option("--next", "following", metavar="FILE", type=_OUT, help="Write the config of the next, narrower search.")
@click.option(
    "--html",
    metavar="FILE",
    type=_OUT,
    help="Write the report as one HTML file that works offline; several searches are compared on it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all numbers as JSON, and nothing else.")
@click.option("--fanova", is_flag=True, help="Compute fANOVA importance too; needs sequifier-search[analysis].")
@click.option("--watch", is_flag=True, help="Print the ranked table again after each change, until the search ends.")
@click.option("--log", "log_of", metavar="N", type=click.IntRange(min=0), help="Print the log of run N instead.")
@click.option(
    "--export-optuna",
    metavar="URL",
    help="Write the search into this Optuna storage, as a study named like it; replaces an earlier export.",
)
@click.option(
    "--tensorboard",
    metavar="DIR",
    type=_FOLDER,
    help="Write TensorBoard event files into DIR/SEARCH; replaces an earlier export. Needs sequifier-search[trackers].",
)
@click.option(
    "--mlflow",
    metavar="DIR",
    type=_FOLDER,
    help="Write an MLflow experiment into DIR/mlflow.db; replaces an earlier export. Needs sequifier-search[trackers].",
)
def command(
    searches: tuple[str, ...],
    latest: bool,
    compare: bool,
    metric: str | None,
    direction: Literal["minimize", "maximize"] | None,
    all_metrics: bool,
    best: Path | None,
    following: Path | None,
    html: Path | None,
    as_json: bool,
    fanova: bool,
    watch: bool,
    log_of: int | None,
    export_optuna: str | None,
    tensorboard: Path | None,
    mlflow: Path | None,
) -> None:
    """Analyse searches over models or samplers, finished or running: NAME below logs/, or a ledger or result file.

    Prints the ranked runs, the importance of each setting, the ranges of the best values, their certainty, and what to
    search next.

    \b
    Example:
        sequifier search-analysis flights-search --html report.html --next next.yaml
        sequifier search-analysis --latest --watch
    """
    from sequifier import api

    if not searches and not latest:
        raise click.UsageError("name a search, or add --latest")
    together = compare or html is not None or len(searches) + latest == 1
    writes = [option for option, value in (("--export", best), ("--next", following)) if value]
    single = [*writes, *(["--json"] if as_json else []), *(["--watch"] if watch else [])]
    if log_of is not None:
        single.append("--log")
    if not together and single:
        raise click.UsageError(f"{single[0]} takes one search; add --compare to take several together")
    if watch and as_json:
        raise click.UsageError("--watch and --json cannot be combined")

    def read(names: tuple[str, ...], with_latest: bool) -> "Report":
        return api.read_report(names, latest=with_latest, metric=metric, direction=direction, fanova=fanova)

    says: Callable[[str], None] = lambda text: echo(text, err=as_json)  # noqa: E731
    if export_optuna is not None or tensorboard is not None or mlflow is not None:
        report = read(searches, latest)
        if export_optuna is not None:
            for table in report.tables:
                trials = api.export_optuna(str(table.folder), export_optuna, metric=metric, direction=direction)
                says(f"{counted(trials, 'trial')} written to {export_optuna}")
        _export(report, tensorboard, mlflow, says)
        if not single:
            return
    if log_of is not None:
        echo(read(searches, latest).log(log_of), nl=False)
        return
    out = console(soft_wrap=True)
    if not together:
        for place, name in enumerate([*([""] if latest else []), *searches]):
            if place:
                out.print()
            read((name,) if name else (), not name).print_summary(out, all_metrics=all_metrics)
        return
    report = _watch(lambda: read(searches, latest), out, html) if watch else read(searches, latest)
    if as_json:
        echo(report.json())
    else:
        report.print_summary(out, all_metrics=all_metrics)
    _write(report, html, best, following, says)


def _export(report: "Report", tensorboard: Path | None, mlflow: Path | None, says: Callable[[str], None]) -> None:
    """Write the files of trackers that were requested."""
    if tensorboard is not None:
        written = f"{counted(report.write_tensorboard(tensorboard), 'run')} written to {tensorboard}"
        says(f"{written}, to see them: tensorboard --logdir {tensorboard}")
    if mlflow is not None:
        written, store = f"{counted(report.write_mlflow(mlflow), 'run')} written to {mlflow}", mlflow / "mlflow.db"
        says(f"{written}, to see them: mlflow ui --backend-store-uri sqlite:///{store}")


def _write(
    report: "Report", html: Path | None, best: Path | None, following: Path | None, says: Callable[[str], None]
) -> None:
    """Write the page and the configs that were requested."""
    if html is not None:
        report.write_html(html, command=command_line(*sys.argv[1:]))
        says(f"\nreport: {html}")
    if best is not None:
        says(f"\nbest: {best}, to use it: {report.export(best)}")
    if following is not None:
        says(f"\nnext search: {following}, to start it: {report.export_next(following)}")


def _watch(read: "Callable[[], Report]", console: "Console", html: Path | None) -> "Report":
    """Print the ranked table after each change until the search ends; returns its last report.

    On a terminal the table is updated in place; in a pipe each change is one line.
    """
    from rich.live import Live

    seen: object = None
    line = ""
    with Live(console=console, auto_refresh=False, transient=True, screen=False) as live:
        while True:
            report = read()
            if (found := report.fingerprint()) != seen:
                seen = found
                if console.is_terminal:
                    live.update(report.watched(console), refresh=True)
                elif line != (line := report.status()):  # an epoch that changes nothing in it is not worth a line
                    echo(line)
                if html is not None and report.is_running:
                    report.write_html(html, refresh=REFRESH_SECONDS)
            if not report.is_running:
                return report
            time.sleep(WATCH_SECONDS)
