"""The ranked table of a search, and what to do with it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from sequifier.cli.output import console
from sequifier.percent import counted, loss_text
from sequifier.printable import command_line

if TYPE_CHECKING:
    from sequifier.results.ranking import Configuration
    from sequifier.results.trials import Table
    from sequifier.search.session import SearchResult

_REASONS = 3


def print_table(table: "Table", rows: "Sequence[Configuration]", *, all_metrics: bool = False) -> None:
    """Print the ranked table on stdout, best first, with the baselines in their places, and its verdict.

    On a terminal it has what has room there, in a pipe everything.

    Args:
        table: of the trials.
        rows: ranked.
        all_metrics: print every metric of the best configurations too.
    """
    from sequifier.results.metrics_table import metrics_table
    from sequifier.results.ranking import verdict
    from sequifier.results.terminal_table import WIDTH, ranked_table

    out, is_terminal = console(), sys.stdout.isatty()
    drawn_width = out.width
    drawn = ranked_table(table, rows, width=drawn_width, fits=is_terminal)
    if not is_terminal:
        out.width = WIDTH
    out.print()
    out.print(drawn)
    for line in verdict(table, rows):
        out.print(line, soft_wrap=not is_terminal, markup=False)
    if all_metrics and (grid := metrics_table(table, rows, width=drawn_width if is_terminal else None)) is not None:
        out.print()
        out.print(grid)
        out.print()


def print_next(result: "SearchResult", config_path: Path) -> None:
    """Print errors, whether the best run beats the baselines, where its files are, and the next commands."""
    out = console(soft_wrap=True)
    for row in result.rows:
        if row.error and row.state != "pruned":
            out.print(f"run {row.run} {row.state}: {row.error}", markup=False)
    if result.table.difference is not None:
        out.print(f"warning: {result.table.difference}", style="yellow", markup=False)
    if result.refused:
        out.print(refused_text(result.refused), markup=False)
    ranked = [row for row in result.rows if row.rank is not None]
    if ranked:
        _print_winner(result, ranked)
    failed = [row for row in result.rows if row.state in ("failed", "oom")]
    if failed:
        again = command_line("hyperparameter-search", "--config-path", config_path, "--retry-failed")
        out.print(f"{len(failed)} failed: {again}", markup=False)


def _print_winner(result: "SearchResult", ranked: "Sequence[Configuration]") -> None:
    """Print whether the best run beats the baselines, where its files are, and how to train it again."""
    from sequifier.results.deployed import deployed

    out = console(soft_wrap=True)  # paths and commands can be copied
    is_pipe = not sys.stdout.isatty()
    root, winner, baseline = result.plan.config.root, ranked[0], result.table.best_baseline
    if baseline is not None and winner.value is not None:
        if result.table.sign * winner.value >= result.table.sign * baseline[1]:
            out.print("warning: the best run does not beat the best baseline", style="yellow", soft_wrap=is_pipe)
        elif winner.beats_baselines is False:
            out.print(
                "warning: the best run is not significantly better than every baseline (paired t tests at 97.5 %, "
                "corrected for the choice of the best run)",
                style="yellow",
                soft_wrap=is_pipe,
            )
    if winner.test_value is not None:
        out.print(_test_text(result.table, winner.test_value), markup=False, soft_wrap=is_pipe)
    elif untested := result.table.test_without_value:
        out.print(untested, markup=False, soft_wrap=is_pipe)
    if result.table.order_checks:
        from sequifier.results.order import sentence, worth_of_order

        for worth in worth_of_order(result.table, result.rows):
            out.print(sentence(worth), markup=False, soft_wrap=is_pipe)
    if result.saved is not None and result.saved.saved:
        out.print(f"pruning trained {result.saved.trained:,} of {result.saved.planned:,} epochs")
    out.print()
    if (model := deployed(result.table, ranked)) is not None:
        which = "best model: " if model.run == winner.run else f"best model on disk, of run {model.run}: "
        out.print(f"{which} {root / model.path}", markup=False)
        out.print(f"             {model.text}", markup=False)
    if model is not None and model.path.endswith(".onnx") and Path("configs/infer.yaml").is_file():
        out.print(f"to predict:  {command_line('infer', '--model-path', root / model.path)}", markup=False)
    out.print(f"all results: {root / 'logs' / result.plan.config.hp_search_name / 'results.csv'}", markup=False)
    if winner.first.config_path:
        out.print(f"to retrain:  {command_line('train', '--config-path', winner.first.config_path)}", markup=False)
    again = [row for row in result.rows if row.model_again]
    if again:
        several = f"{len(again)} models are" if len(again) > 1 else "1 model is"
        out.print(f"{several} not on disk; to train one again: {again[0].model_again}", markup=False)


def score_lines(rows: "Sequence[Configuration]") -> list[str]:
    """The mean, deviation and range of the scores of each sampler, the best sampler first."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row.value is not None:
            scores.setdefault(row.first.group, []).append(row.value)
    return [
        f"{sampler}: mean score {fmean(found):.3f}"
        + (f", deviation {stdev(found):.3f}" if len(found) > 1 else "")
        + f", range {min(found):.3f} to {max(found):.3f}, of {counted(len(found), 'configuration')}"
        for sampler, found in scores.items()
    ]


def refused_text(refused: Mapping[str, int]) -> str:
    """The number of proposals that were skipped, and the most frequent reasons."""
    total = sum(refused.values())
    proposals = (
        "1 proposal was not a valid run and was" if total == 1 else f"{total} proposals were not valid runs and were"
    )
    reasons = sorted(refused, key=lambda reason: -refused[reason])
    more = f"; and {len(reasons) - _REASONS} more reasons" if len(reasons) > _REASONS else ""
    return f"{proposals} skipped: {'; '.join(reasons[:_REASONS])}{more}"


def _test_text(table: "Table", value: float) -> str:
    """The metric of the best run on the test split, beside that of the best baseline there."""
    from sequifier.results.certainty import best_baseline_on_test

    found = f"test {'loss' if table.metric == 'val_loss' else table.metric} of the best run: {loss_text(value)}"
    known = best_baseline_on_test(table.test_folder, table.metric, maximize=table.maximize)
    if known is None:
        return found
    return f"{found} (best baseline there: {known[0].removeprefix('baseline: ')}, {loss_text(known[1], like=value)})"
