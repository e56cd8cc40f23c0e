"""The analysis of a search as numbers. Terminal, JSON and page are made from it alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sequifier.report.curves import CurveFacts, Pareto
from sequifier.report.groups import BestRange, Group, Groups
from sequifier.report.importance import Importances
from sequifier.report.interactions import Interaction
from sequifier.report.merge import Comparison
from sequifier.report.overview import OverTuning, Overview
from sequifier.results.order import WorthOfOrder
from sequifier.results.plain import plain
from sequifier.results.ranking import Configuration, SeedNoise, with_baselines
from sequifier.results.trials import Table


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        kind: winner, model, order, doubt, smaller, group, important, range, interaction, curves, seeds, over-tuning,
            failures, next.
        text: one sentence, or two.
        figures: the numbers behind it, by name.
    """

    kind: str
    text: str
    figures: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class InGroup:
    """Importance and ranges within one sampler, whose parameters other samplers do not have."""

    name: str
    importances: Importances
    ranges: tuple[BestRange, ...]


@dataclass(frozen=True)
class Analysis:
    """The analysis of a search, or of several together.

    Attributes:
        table: the trials.
        rows: configurations from best to worst, then those without a result.
        values: setting -> the results by its values.
        in_groups: importance and ranges within each sampler; empty for training searches.
        order: what the order of events is worth, as order_check measured it; empty without.
        recommendations: the findings, the most useful first.
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
    order: tuple[WorthOfOrder, ...] = ()
    recommendations: tuple[Finding, ...] = ()
    comparison: Comparison | None = None


def as_json(analysis: Analysis) -> dict[str, Any]:
    """Return all numbers as plain values; NaN and infinity, which JSON does not have, as null."""
    found: dict[str, Any] = plain(analysis)
    table = found.pop("table")
    table.pop("document")
    table["parameters"] = table.pop("settings")
    found["baselines"] = plain(with_baselines((), analysis.table))
    return {**{key: table.pop(key) for key in ("name", "kind", "metric", "direction")}, **found, "table": table}
