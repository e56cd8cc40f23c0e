"""The ranked table of a search, and what to do with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from sequifier.cli.output import console
from sequifier.percent import percent

if TYPE_CHECKING:
    from sequifier.search.results import Row
    from sequifier.search.session import SearchResult

_REASONS = 3
_SHOWN = 30
"""Rows on a terminal; results.csv has them all."""

_WIDTH = 1000
"""Of the table at most: a terminal that is narrower wraps the line, which reads better than cut numbers."""


def print_results(result: "SearchResult") -> None:
    """Print the table on stdout, best first, with the baselines in their places."""
    print_rows(result.rows, result.plan.config.metric)


def print_rows(rows: "Sequence[Row]", metric: str) -> None:
    """Print rows of a ranked table on stdout.

    Args:
        rows: best first.
        metric: what ranks them.
    """
    from sequifier import api

    out = console()
    out.width = _WIDTH
    keys = dict.fromkeys(key for row in rows for key in row.changed)
    values = {key: {row.changed[key] for row in rows if key in row.changed} for key in keys}
    changed = [key for key in keys if len(values[key]) > 1]  # proposals do not know what later ones will vary
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for head in ("rank", "run", *changed):
        table.add_column(_head(head), no_wrap=True, vertical="bottom")
    has_models = any(row.parameters is not None for row in rows)  # a search over samplers trains none
    for head in (metric, "± se", *(("skill", "parameters") if has_models else ()), "seconds"):
        table.add_column(_head(head), justify="right", no_wrap=True, vertical="bottom")
    table.add_column("", no_wrap=True)
    for row in rows[:_SHOWN]:
        of_model = (
            "" if row.skill is None else percent(row.skill, signed=True),
            "" if row.parameters is None else f"{row.parameters:,}",
        )
        table.add_row(
            "" if row.rank is None else str(row.rank),
            "-" if row.run is None else str(row.run),
            *(Text(row.changed.get(key, "")) for key in changed),  # `[kind]` is no markup
            _number(row.metric, 4),
            "-" if row.standard_error is None and row.metric is not None else _number(row.standard_error, 4),
            *(of_model if has_models else ()),
            _number(row.seconds, 1),
            _remark(row),
            style="dim" if row.run is None else "bold" if row.rank == 1 else "",
        )
    out.print()
    out.print(table)
    if len(rows) > _SHOWN:
        out.print(f"... {len(rows) - _SHOWN} more rows in results.csv")
    for line in api.verdict(rows):
        out.print(line, soft_wrap=True)


def print_next(result: "SearchResult", config_path: Path) -> None:
    """Print where the results are, whether the winner beats the baselines, and the next commands."""
    out = console(soft_wrap=True)
    for row in result.rows:
        if row.error and row.state != "pruned":
            out.print(f"run {row.run} {row.state}: {row.error}", markup=False)
    if result.difference is not None:
        out.print(f"warning: {result.difference}", style="yellow", markup=False)
    if result.refused:
        out.print(refused_text(result.refused), markup=False)
    ranked = [row for row in result.rows if row.rank is not None]
    if ranked:
        _print_winner(result, ranked)
    failed = [row for row in result.rows if row.state in ("failed", "oom")]
    if failed:
        out.print(
            f"{len(failed)} failed: sequifier hyperparameter-search --config-path {config_path} --retry-failed",
            markup=False,
        )


def _print_winner(result: "SearchResult", ranked: "Sequence[Row]") -> None:
    """Print whether the winner beats the baselines, where its files are, and how to make them again."""
    out = console(soft_wrap=True)
    root, name = result.plan.config.root, result.plan.config.hp_search_name
    baselines = [row for row in result.rows if row.run is None and row.metric is not None]
    winner = ranked[0]
    kept = next((row for row in ranked if row.model_path), None)
    maximize = result.plan.config.direction == "maximize"
    if baselines and winner.metric is not None:
        best = (max if maximize else min)(row.metric for row in baselines if row.metric is not None)
        lead = winner.metric - best if maximize else best - winner.metric
        if lead <= 0:
            out.print("warning: the best run is not better than the best baseline", style="yellow")
        elif winner.beats_baselines is False:
            out.print(
                "warning: the best run is not significantly better than every baseline (paired t tests at 97.5 %, "
                "corrected for the choice of the best run)",
                style="yellow",
            )
    if winner.test_metric is not None:
        out.print(f"the best run on the test split, scored once: {winner.test_metric:.4f}")
    if result.saved is not None and result.saved.saved:
        out.print(f"pruning trained {result.saved.trained:,} of {result.saved.planned:,} epochs")
    out.print()
    if kept is not None:
        which = "best model: " if kept is winner else f"best model on disk, of run {kept.run}: "
        out.print(f"{which} {root / kept.model_path}", markup=False)
    out.print(f"all results: {root / 'logs' / name / 'results.csv'}", markup=False)
    out.print(f"run it again: sequifier train --config-path {winner.run_file}", markup=False)
    again = [row for row in result.rows if row.model_again]
    if again:
        several = f"{len(again)} models are" if len(again) > 1 else "1 model is"
        out.print(f"{several} not on disk; to make one again: {again[0].model_again}", markup=False)


def refused_text(refused: Mapping[str, int]) -> str:
    """How many proposals were passed over, and the commonest reasons."""
    total = sum(refused.values())
    proposals = (
        "1 proposal was no valid run and was" if total == 1 else f"{total} proposals were no valid runs and were"
    )
    reasons = sorted(refused, key=lambda reason: -refused[reason])
    more = f"; and {len(reasons) - _REASONS} more reasons" if len(reasons) > _REASONS else ""
    return f"{proposals} passed over: {'; '.join(reasons[:_REASONS])}{more}"


def _head(name: str) -> str:
    """A column's name with its words below each other: values are narrower than names."""
    return name.replace("_", "\n")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _remark(row: "Row") -> str:
    if row.run is None:
        return f" {row.name}"
    remarks = [] if row.state == "finished" else [row.state]
    if row.n_seeds > 1:
        remarks.append(f"{row.n_seeds} seeds")
    if row.model_again:
        remarks.append("model not kept")
    if row.batch_changed:
        remarks.append("batch changed")
    if row.masks_changed:
        remarks.append("other dropout masks")
    if row.indistinguishable:
        remarks.append("indistinguishable")
    return " " + ", ".join(remarks)
