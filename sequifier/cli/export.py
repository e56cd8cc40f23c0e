"""`sequifier export`."""

import click

from sequifier.cli.options import Command
from sequifier.cli.output import echo, log_to_stderr


@click.command("export", cls=Command)
@click.argument("source", metavar="RUN|CHECKPOINT")
@click.option("--end-to-end", is_flag=True, help="Also write the ONNX model that takes raw values and returns labels.")
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    metavar="K",
    help="With --end-to-end: the K most probable classes too. Default: export_top_k of the run.",
)
@click.option("--pt", is_flag=True, help="Also write the weights for PyTorch.")
@click.option(
    "--embedding", is_flag=True, help="Also write the ONNX model (with --pt, the weights too) that returns embeddings."
)
@click.option(
    "--card",
    is_flag=True,
    help="Also write models/RUN-card.md: data, schema, metrics, config and how to call the model.",
)
@click.option(
    "--report",
    is_flag=True,
    help="Also write models/RUN-report.html and .json: metrics by class, step, length of history and value of columns, "
    "calibration, the worst sequences, and what order does; on the validation split.",
)
@click.option(
    "--project-root",
    metavar="FOLDER",
    help="Folder of the project. Default: the working folder, or the project of the checkpoint.",
)
@click.option("--verbose/--quiet", "verbose", default=None, help="Print progress, or only the paths of the files.")
def command(
    source: str,
    end_to_end: bool,
    top_k: int | None,
    pt: bool,
    embedding: bool,
    card: bool,
    report: bool,
    project_root: str | None,
    verbose: bool | None,
) -> None:
    """Export an old, pruned or interrupted run again, without training.

    RUN is the name of a run; the checkpoint from which it would resume is exported, or else its latest one. CHECKPOINT
    is a file in checkpoints/. Writes models/sequifier-RUN-{best,last}-E.onnx, where E is the last trained epoch.

    \b
    Example:
        sequifier export flights-search-run-3 --end-to-end --card --report
        sequifier export checkpoints/flights-search-run-3-epoch-2.pt --pt
    """
    if top_k is not None and not end_to_end:
        raise click.UsageError("--top-k is about the model of --end-to-end; give both")
    from sequifier import api

    for path in api.export(
        source,
        end_to_end=end_to_end,
        top_k=top_k,
        pt=pt,
        embedding=embedding,
        card=card,
        report=report,
        project_root=project_root,
        log=log_to_stderr(verbose),
    ):
        echo(path)
