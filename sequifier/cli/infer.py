"""`sequifier infer`."""

from pathlib import Path

import click

from sequifier.cli.options import Command, ListOption, config_options, given, located, with_seed_options
from sequifier.cli.output import echo


@click.command("infer", cls=Command)
@config_options("configs/infer.yaml")
@click.option("-mp", "--model-path", cls=ListOption, metavar="FILE...", help="Exported models.")
@click.option("-dp", "--data-path", help="The events to predict: encoded, or raw.")
@click.option("-mc", "--metadata-config-path", help="The metadata JSON that preprocess wrote.")
@click.option(
    "-ic", "--input-columns", cls=ListOption, metavar="COLUMN...", help="Accepted: the model names its inputs."
)
@with_seed_options
def command(
    config_path: Path,
    defines: tuple[str, ...],
    config_section: str | None,
    verbose: bool | None,
    model_path: tuple[str, ...],
    data_path: str | None,
    metadata_config_path: str | None,
    input_columns: tuple[str, ...],
    seed: int | None,
    randomize: bool,
) -> None:
    """Predict, generate or embed events with exported models, in original labels and units.

    Writes outputs/predictions/, outputs/embeddings/ and, with output_probabilities, outputs/probabilities/.

    \b
    Example:
        sequifier infer --config-path configs/infer.yaml --model-path models/sequifier-default-best-10.onnx
        sequifier infer -mp models/sequifier-default-best-10.onnx -dp new.csv -D read_format=raw
    """
    from sequifier import api
    from sequifier.config.inference import InferConfig
    from sequifier.config.loading.load import load
    from sequifier.stall import StallWatch

    flags = given(
        seed,
        randomize,
        model_path=model_path,
        data_path=data_path,
        metadata_config_path=metadata_config_path,
        input_columns=input_columns,
    )
    loaded = load(InferConfig, config_path, section=config_section, defines=defines, flags=flags)

    def log(line: str) -> None:
        if verbose is not False:
            echo(line, err=True)

    with located(loaded), StallWatch(log):
        for inference in api.infer(loaded.config, log=log):
            echo(inference.predictions)
