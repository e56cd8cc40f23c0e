"""`sequifier train`."""

from pathlib import Path
from typing import Any, Literal

import click

from sequifier.cli.options import (
    Command,
    ListOption,
    config_options,
    given,
    load_with_metadata,
    located,
    skip_metadata_option,
    with_seed_options,
)
from sequifier.cli.output import echo
from sequifier.printable import command_line

DIFFERS = 1
"""Exit code of --verify when the losses differ."""


@click.command("train", cls=Command)
@config_options("configs/train.yaml")
@click.option("-mc", "--metadata-config-path", help="Metadata file that preprocess wrote.")
@click.option("-mn", "--model-name", help="Name of the run.")
@click.option("-ic", "--input-columns", cls=ListOption, metavar="COLUMN...", help="Input columns of the model.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Optimizer steps after which training ends.")
@click.option(
    "--resume/--no-resume",
    default=None,
    help="Resume from the last checkpoint, or start anew. Default: resume a run that did not finish.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Train a run of a search again, from its run file, and compare the loss with the ledger: exit code 0 if they "
    "are equal; otherwise 1, with the difference and what changed. Overwrites nothing.",
)
@skip_metadata_option
@with_seed_options
def command(
    config_path: Path,
    defines: tuple[str, ...],
    config_section: str | None,
    verbose: bool | None,
    metadata_config_path: str | None,
    model_name: str | None,
    input_columns: tuple[str, ...],
    max_steps: int | None,
    resume: bool | None,
    verify: bool,
    skip_metadata: bool,
    seed: int | None,
    randomize: bool,
) -> int:
    """Train one model on the events that preprocess encoded.

    Writes logs/NAME/, checkpoints/NAME-epoch-N.pt and models/sequifier-NAME-best-E.onnx.

    \b
    Example:
        sequifier train --config-path configs/train.yaml -D training_spec.epochs=3
    """
    from sequifier.cli.progress import TrainingProgress
    from sequifier.config.train import TrainConfig
    from sequifier.stall import StallWatch

    flags = given(
        seed,
        randomize,
        metadata_config_path=metadata_config_path,
        model_name=model_name,
        input_columns=input_columns,
        **{"training_spec.max_steps": max_steps},
    )
    loaded = load_with_metadata(
        TrainConfig, config_path, skip=skip_metadata, section=config_section, defines=defines, flags=flags
    )
    from sequifier import api  # loads torch: errors of the config are reported before

    mode: Literal["always", "never"] | None = None if resume is None else "always" if resume else "never"
    with (
        located(loaded),
        TrainingProgress(verbose) as progress,
        StallWatch(lambda line: progress("log", line=line)) as watch,
    ):

        def emit(event: str, **fields: Any) -> None:
            watch.progressed()
            progress(event, **fields)

        if verify:
            verified = api.verify(loaded.config, emit=emit)
            echo(verified.line)
            return 0 if verified.is_same else DIFFERS
        result = api.train(loaded.config, config_path=loaded.path, resume=mode, emit=emit)
    if result.ended == "interrupted":
        starts_afresh = not (loaded.config.training_spec.continue_training if resume is None else resume)
        echo(f"the same command{' with --resume' if starts_afresh else ''} resumes it", err=True)
        raise KeyboardInterrupt
    root = loaded.config.root
    for path in result.files.values():
        if path.startswith("models/"):
            echo(root / path)
    best = result.files.get("best_onnx")
    if best is not None and verbose is not False and Path("configs/infer.yaml").is_file():
        echo(f"to predict: {command_line('infer', '--model-path', root / best)}", err=True)
    return 0
