"""`sequifier export`."""

import click

from sequifier.cli.options import Command
from sequifier.cli.output import echo


@click.command("export", cls=Command)
@click.argument("source", metavar="RUN|CHECKPOINT")
@click.option("--end-to-end", is_flag=True, help="Also the ONNX that takes raw values and gives labels.")
@click.option("--pt", is_flag=True, help="Also the weights for torch.")
@click.option("--embedding", is_flag=True, help="Also the ONNX (with --pt, the weights) that embeds.")
@click.option("--card", is_flag=True, help="Also models/RUN-card.md: data, schema, metrics, config, how to call it.")
@click.option(
    "--project-root", metavar="FOLDER", help="Of the project; without it, the working folder or the checkpoint's own."
)
@click.option("--verbose/--quiet", "verbose", default=None, help="Say more, or only the files.")
def command(
    source: str,
    end_to_end: bool,
    pt: bool,
    embedding: bool,
    card: bool,
    project_root: str | None,
    verbose: bool | None,
) -> None:
    """Export an old, pruned or interrupted run again, without training.

    RUN is the name of a run: the checkpoint from which it would go on is taken, or else its furthest. CHECKPOINT is a
    file of checkpoints/. Writes models/sequifier-RUN-{best,last}-E.onnx, E being the last epoch trained.

    \b
    Example:
        sequifier export flights-search-run-3 --end-to-end --card
        sequifier export checkpoints/flights-search-run-3-epoch-2.pt --pt
    """
    from sequifier import api

    def log(line: str) -> None:
        if verbose is not False:
            echo(line, err=True)

    written = api.export(
        source, end_to_end=end_to_end, pt=pt, embedding=embedding, card=card, project_root=project_root, log=log
    )
    for path in written:
        echo(path)
