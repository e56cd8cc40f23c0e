"""`sequifier infer`."""

from pathlib import Path

import click

from sequifier.cli.options import Command, ListOption, config_options, given, located, with_seed_options
from sequifier.cli.output import echo, log_to_stderr


@click.command("infer", cls=Command)
@config_options("configs/infer.yaml")
@click.option("-mp", "--model-path", cls=ListOption, metavar="FILE...", help="Exported model files.")
@click.option("-dp", "--data-path", help="Events to predict from, encoded or raw.")
@click.option("-mc", "--metadata-config-path", help="Metadata file that preprocess wrote.")
@click.option(
    "-ic", "--input-columns", cls=ListOption, metavar="COLUMN...", help="Input columns; must be those of the model."
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
    """Predict or generate events, or compute embeddings, with exported models, in original labels and units.

    Writes outputs/predictions/, outputs/embeddings/ and, with output_probabilities or top_k, outputs/probabilities/ and
    outputs/top_k/.

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

    log = log_to_stderr(verbose)
    with located(loaded), StallWatch(log):
        for inference in api.infer(loaded.config, log=log):
            echo(inference.predictions)
