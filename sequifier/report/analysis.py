"""Everything that is to be said of a search, as numbers: tables in, one `Analysis` out. Nothing here draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from sequifier.report.curves import CurveFacts, Pareto, curve_facts, pareto
from sequifier.report.groups import BestRange, Group, Groups, best_ranges, group_performance, value_performance
from sequifier.report.importance import Importances, importances
from sequifier.report.interactions import Interaction, interactions
from sequifier.report.merge import Comparison, compare_searches, merged
from sequifier.report.overview import OverTuning, Overview, over_tuning, overview
from sequifier.report.recommend import Findings, Recommendation, recommendations
from sequifier.results.ranking import Configuration, SeedNoise, ranked, seed_noise
from sequifier.results.trials import Table, by, finite


@dataclass(frozen=True)
class InGroup:
    """Importance and ranges within one sampler: its parameters are its own."""

    name: str
    importances: Importances
    ranges: tuple[BestRange, ...]


@dataclass(frozen=True)
class Analysis:
    """What a search has found.

    Attributes:
        table: the trials.
        rows: configurations from best to worst, then those without a result.
        values: parameter -> the results by its values.
        in_groups: of sampler searches: importance and ranges within each sampler.
        comparison: of several searches; None for one.
    """

    table: Table
    rows: tuple[Configuration, ...]
    overview: Overview
    groups: Groups
    importances: Importances
    ranges: tuple[BestRange, ...]
    values: Mapping[str, tuple[Group, ...]]
    in_groups: tuple[InGroup, ...]
    interactions: tuple[Interaction, ...]
    curves: CurveFacts
    fronts: tuple[Pareto, ...]
    seeds: SeedNoise
    over_tuning: OverTuning | None
    recommendations: tuple[Recommendation, ...]
    comparison: Comparison | None = None


def analyse(tables: Sequence[Table], *, fanova: bool = False) -> Analysis:
    """Analyse a search, or several together.

    Args:
        tables: one or more; several are merged.
        fanova: compute fANOVA too, which needs scikit-learn and some seconds.

    Raises:
        RunError: several searches whose results do not mean the same, or no scikit-learn.
    """
    table = merged(tables) if len(tables) > 1 else tables[0]
    rows = ranked(table)
    found = Findings(
        table=table,
        rows=rows,
        overview=overview(table, rows),
        groups=group_performance(table),
        importances=(matters := importances(table, fanova=fanova)),
        ranges=best_ranges(table, rows),
        interactions=interactions(table, [each.parameter for each in matters.parameters]),
        curves=curve_facts(table, rows),
        fronts=pareto(table, rows),
        seeds=seed_noise(table, rows),
        over_tuning=over_tuning(table, rows),
    )
    return Analysis(
        table=table,
        rows=tuple(rows),
        overview=found.overview,
        groups=found.groups,
        importances=found.importances,
        ranges=tuple(found.ranges),
        values={name: value_performance(table, name) for name in table.parameters},
        in_groups=tuple(_in_groups(table)) if table.kind == "sampler" else (),
        interactions=tuple(found.interactions),
        curves=found.curves,
        fronts=tuple(found.fronts),
        seeds=found.seeds,
        over_tuning=found.over_tuning,
        recommendations=tuple(recommendations(found)),
        comparison=compare_searches(tables, rows) if len(tables) > 1 else None,
    )


def as_json(analysis: Analysis) -> dict[str, Any]:
    """All numbers as plain values. Floats as they are; NaN and infinity, which JSON has not, as null."""
    found: dict[str, Any] = _plain(analysis)
    table = found.pop("table")
    table.pop("document")
    return {**{key: table.pop(key) for key in ("name", "kind", "metric", "direction")}, **found, "table": table}


def _in_groups(table: Table) -> list[InGroup]:
    result = []
    for name, trials in by(table.trials, lambda trial: trial.group).items():
        names = tuple(
            parameter
            for parameter in table.parameters
            if len({repr(trial.settings.get(parameter)) for trial in trials}) > 1
        )
        own = replace(table, trials=tuple(trials), parameters=names)
        result.append(InGroup(name, importances(own), tuple(best_ranges(own, ranked(own)))))
    return result


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(below) for below in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return finite(value)
    return value
