"""`sequifier sampler-search`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sequifier.cli.options import (
    Command,
    ListOption,
    all_metrics_option,
    config_options,
    given,
    located,
    with_seed_options,
)
from sequifier.cli.output import ask, echo
from sequifier.percent import counted

if TYPE_CHECKING:
    from sequifier.sampler_search.setup import Setup

FAILED_RUNS = 3
"""Exit code: finished, but some configurations have no score."""


@click.command("sampler-search", cls=Command)
@config_options("configs/sampler_search.yaml")
@click.option("-mp", "--model-path", help="An exported model, .onnx or .pt.")
@click.option(
    "--strategy",
    type=click.Choice(["grid", "random", "sample", "bayesian"]),
    help="Strategy that chooses configurations; sample means random.",
)
@click.option(
    "--n-samples", "--iterations", "n_samples", type=click.IntRange(min=1), help="Number of configurations to try."
)
@click.option("--samples-per-config", type=click.IntRange(min=1), help="Number of continuations per prompt.")
@click.option("--samplers", cls=ListOption, metavar="NAME...", help="top_p, min_p, top_n_sigma, top_k, temperature.")
@click.option("--custom-prompts", cls=ListOption, metavar="TEXT...", help="Texts to use as prompts.")
@click.option("--check", is_flag=True, help="Call model, endpoint and judge once each, then exit.")
@click.option("--retry-failed", is_flag=True, help="Try configurations without a score again.")
@click.option("--yes", is_flag=True, help="Start without asking.")
@all_metrics_option
@with_seed_options
def command(
    config_path: Path,
    defines: tuple[str, ...],
    config_section: str | None,
    verbose: bool | None,
    model_path: str | None,
    strategy: str | None,
    n_samples: int | None,
    samples_per_config: int | None,
    samplers: tuple[str, ...],
    custom_prompts: tuple[str, ...],
    check: bool,
    retry_failed: bool,
    yes: bool,
    all_metrics: bool,
    seed: int | None,
    randomize: bool,
) -> int:
    """Try samplers (temperature, top_p, min_p, ...) on a trained model, score the generated continuations, rank them.

    Writes logs/NAME/: a ledger, the generations, hyper_search_STRATEGY_TIME.json and best.yaml for `infer`. Run the
    same command again to resume.

    \b
    Example:
        sequifier sampler-search --config-path configs/sampler_search.yaml --config-section quick_test
        sequifier sampler-search --strategy bayesian --iterations 50 --samplers min_p top_p
    """
    from sequifier import api
    from sequifier.cli.sampler_progress import SamplerProgress
    from sequifier.cli.tables import print_table, score_lines
    from sequifier.config.loading.load import load
    from sequifier.config.sampler_search import SamplerSearchConfig

    flags = given(
        seed,
        randomize,
        model_path=model_path,
        search_strategy=strategy,
        n_samples=n_samples,
        samples_per_config=samples_per_config,
        sampler_types=samplers,
        test_prompts=custom_prompts,
    )
    loaded = load(SamplerSearchConfig, config_path, section=config_section, defines=defines, flags=flags)
    asks = sys.stdin.isatty() and not (yes or loaded.config.override_input)

    def confirm(setup: "Setup", n_left: int) -> bool:
        return not asks or ask(f"Try {counted(n_left, 'configuration')}?")

    with located(loaded), SamplerProgress(verbose) as progress:
        result = api.sampler_search(
            loaded.config, check_only=check, retry_failed=retry_failed, confirm=confirm, emit=progress
        )
    if result.ended == "checked":
        echo("ready")
        return 0
    if result.table is not None:
        print_table(result.table, result.rows, all_metrics=all_metrics)
        for line in score_lines(result.rows):
            echo(line)
    for row in result.rows:
        if row.n_failed:
            echo(f"run {row.run} {row.state}: {row.error}")
    if partly := [row for row in result.rows if row.error and row.state == "finished"]:
        echo(f"{len(partly)} scores leave continuations out, run {partly[0].run} for one: {partly[0].error}")
    if result.results is not None:
        echo(f"\nall results: {result.results}")
    if result.best is not None:
        echo(f"best samplers: {result.best}")
    if result.command:
        echo(f"draw with the best: {result.command}")
    if result.ended in ("stopped", "declined"):
        raise KeyboardInterrupt
    return FAILED_RUNS if any(row.n_failed for row in result.rows) else 0
