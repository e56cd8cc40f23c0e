"""`sequifier hyperparameter-search`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sequifier.cli.options import (
    Command,
    all_metrics_option,
    config_options,
    given,
    load_with_metadata,
    located,
    skip_metadata_option,
    with_seed_options,
)
from sequifier.cli.output import ask, echo
from sequifier.percent import counted

if TYPE_CHECKING:
    from sequifier.search.plan import Plan
    from sequifier.search.session import SearchResult

FAILED_RUNS = 3
"""Exit code: finished, but some runs failed."""


@click.command("hyperparameter-search", cls=Command)
@config_options("configs/hyperparameter_search.yaml")
@click.option("--dry-run", is_flag=True, help="Show the plan and write the run files; train nothing.")
@click.option("--write-all", is_flag=True, help="In a dry run, write every run file, not the first 1,000.")
@click.option("--strategy", type=click.Choice(["sample", "grid", "bayesian"]), help="How configurations are chosen.")
@click.option("--n-samples", type=click.IntRange(min=1), help="How many distinct configurations to run.")
@click.option("--retry-failed", is_flag=True, help="Run failed runs again.")
@click.option("--json", "as_json", is_flag=True, help="Print events and the result as JSON lines, and nothing else.")
@click.option("--slurm", is_flag=True, help="Write a batch script that starts this on Slurm; train nothing.")
@click.option("--yes", is_flag=True, help="Start without asking.")
@all_metrics_option
@skip_metadata_option
@with_seed_options
def command(
    config_path: Path,
    defines: tuple[str, ...],
    config_section: str | None,
    verbose: bool | None,
    dry_run: bool,
    write_all: bool,
    strategy: str | None,
    n_samples: int | None,
    retry_failed: bool,
    as_json: bool,
    slurm: bool,
    yes: bool,
    all_metrics: bool,
    skip_metadata: bool,
    seed: int | None,
    randomize: bool,
) -> int:
    """Expand a search into run files, train each, rank them, export one ONNX model per run.

    Run the same command again to resume the search; add values, and only the new configurations run.

    \b
    Example:
        sequifier hyperparameter-search --config-path configs/hyperparameter_search.yaml --dry-run
    """
    from sequifier import api
    from sequifier.cli.search_display import SearchProgress
    from sequifier.cli.search_json import SearchEvents
    from sequifier.cli.tables import print_next, print_table
    from sequifier.config.search import SearchConfig
    from sequifier.stall import StallWatch

    flags = given(seed, randomize, search_strategy=strategy, n_samples=n_samples)
    loaded = load_with_metadata(
        SearchConfig, config_path, skip=skip_metadata, section=config_section, defines=defines, flags=flags
    )
    if slurm:
        with located(loaded):
            path = api.slurm_script(loaded.config, [word for word in sys.argv[1:] if word != "--slurm"])
        echo(f"sbatch {shlex.quote(str(path))}")
        return 0
    asks = sys.stdin.isatty() and not (yes or loaded.config.override_input)

    def confirm(plan: "Plan", n_runs: int) -> bool:
        return not asks or ask(f"Train {counted(n_runs, 'run')}?")

    with (
        located(loaded),
        SearchEvents(verbose) if as_json else SearchProgress(verbose) as progress,
        StallWatch(lambda line: progress("log", line=line)) as watch,
    ):

        def emit(event: str, **fields: Any) -> None:
            if event == "planned":
                watch.stop()  # from here on this process waits for its worker
            progress(event, **fields)

        result = api.search(
            loaded.config,
            dry_run=dry_run,
            write_all=write_all,
            retry_failed=retry_failed,
            confirm=confirm,
            emit=emit,
        )
    if isinstance(progress, SearchEvents):
        progress.result(result)
        return _exit_code(result)
    if dry_run:
        if not write_all and len(result.plan.runs) > api.DRY_RUN_FILES:
            echo(f"  {api.DRY_RUN_FILES:,} run files are written; --write-all writes the rest", err=True)
        return 0
    print_table(result.table, result.rows, all_metrics=all_metrics)
    print_next(result, config_path)
    if result.ended == "stopped":
        echo("the same command resumes the search", err=True)
    return _exit_code(result)


def _exit_code(result: "SearchResult") -> int:
    if result.ended in ("stopped", "declined"):
        raise KeyboardInterrupt
    return FAILED_RUNS if any(row.n_failed for row in result.rows) else 0
