"""Tables of trials -> the analysis of a search."""

from collections.abc import Sequence
from dataclasses import replace

from sequifier.report.analysis import Analysis, InGroup
from sequifier.report.curves import curve_facts, pareto
from sequifier.report.findings import findings
from sequifier.report.groups import best_ranges, group_performance, value_performance
from sequifier.report.importance import importances
from sequifier.report.interactions import interactions
from sequifier.report.merge import compare_searches, merged
from sequifier.report.overview import over_tuning, overview
from sequifier.results.order import worth_of_order
from sequifier.results.ranking import ranked, seed_noise
from sequifier.results.trials import Table, by


def analyse(tables: Sequence[Table], *, fanova: bool = False) -> Analysis:
    """Analyse a search, or several together.

    Args:
        tables: one or more; several are merged.
        fanova: compute fANOVA too, which needs scikit-learn and takes some seconds.

    Raises:
        RunError: the results of several searches cannot be compared, or scikit-learn is missing.
    """
    table = merged(tables) if len(tables) > 1 else tables[0]
    rows = tuple(ranked(table))
    found = importances(table, fanova=fanova)
    analysis = Analysis(
        table=table,
        rows=rows,
        overview=overview(table, rows),
        groups=group_performance(table),
        importances=found,
        ranges=tuple(best_ranges(table, rows)),
        values={name: value_performance(table, name) for name in table.settings},
        in_groups=tuple(_in_groups(table)) if table.kind == "sampler" else (),
        interactions=tuple(interactions(table, [each.parameter for each in found.parameters])),
        curves=curve_facts(table, rows),
        fronts=tuple(pareto(table, rows)),
        seeds=seed_noise(table, rows),
        over_tuning=over_tuning(table, rows),
        order=worth_of_order(table, rows),
        comparison=compare_searches(tables, rows) if len(tables) > 1 else None,
    )
    return replace(analysis, recommendations=tuple(findings(analysis)))


def _in_groups(table: Table) -> list[InGroup]:
    result = []
    for name, trials in by(table.trials, lambda trial: trial.group).items():
        names = tuple(
            setting for setting in table.settings if len({repr(trial.settings.get(setting)) for trial in trials}) > 1
        )
        own = replace(table, trials=tuple(trials), settings=names)
        result.append(InGroup(name, importances(own), tuple(best_ranges(own, ranked(own)))))
    return result
