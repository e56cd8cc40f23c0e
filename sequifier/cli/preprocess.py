"""`sequifier preprocess`."""

from pathlib import Path

import click

from sequifier.cli.options import Command, ListOption, config_options, given, located, with_seed_options
from sequifier.cli.output import echo, log_to_stderr


@click.command("preprocess", cls=Command)
@config_options("configs/preprocess.yaml")
@click.option("-dp", "--data-path", help="Table of raw events.")
@click.option("-sc", "--selected-columns", cls=ListOption, metavar="COLUMN...", help="Columns to keep, in this order.")
@with_seed_options
def command(
    config_path: Path,
    defines: tuple[str, ...],
    config_section: str | None,
    verbose: bool | None,
    data_path: str | None,
    selected_columns: tuple[str, ...],
    seed: int | None,
    randomize: bool,
) -> None:
    """Encode a table of events.

    Writes the splits to data/ and their metadata to configs/metadata_configs/.

    \b
    Example:
        sequifier preprocess --config-path configs/preprocess.yaml --data-path data/events.csv
    """
    from sequifier import api
    from sequifier.config.loading.load import load
    from sequifier.config.preprocess import PreprocessConfig
    from sequifier.stall import StallWatch

    flags = given(seed, randomize, data_path=data_path, selected_columns=selected_columns)
    loaded = load(PreprocessConfig, config_path, section=config_section, defines=defines, flags=flags)

    log = log_to_stderr(verbose)
    with located(loaded), StallWatch(log):
        echo(api.preprocess(loaded.config, log=log))
    commands = ("hyperparameter-search", "train")
    following = [name for name in commands if Path(f"configs/{name.replace('-', '_')}.yaml").is_file()]
    if following:
        log(f"next: {', or '.join(f'sequifier {name}' for name in following)}")
