"""What follows from the numbers, in plain sentences, each with the figures behind it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sequifier.report.curves import CurveFacts, Pareto
from sequifier.report.groups import BestRange, Groups, text_of
from sequifier.report.importance import Importance, Importances
from sequifier.report.interactions import Interaction
from sequifier.report.overview import OverTuning, Overview
from sequifier.results.ranking import Configuration, SeedNoise
from sequifier.results.student import half_width
from sequifier.results.trials import Table, run_label
from sequifier.shares import percent

CLEARLY = 0.05
"""p-value and share above which an interaction is worth a sentence."""

ENOUGH_TRIALS = 20
"""Below which nothing is called unimportant."""

SMALL_SHARE = 0.1
WASTED_SHARE = 0.1


@dataclass(frozen=True)
class Recommendation:
    """One sentence.

    Attributes:
        kind: what it is about: winner, doubt, smaller, important, range, curves, seeds, over-tuning, failures, next.
        text: the sentence, or two.
        figures: the numbers that it stands on, by name.
    """

    kind: str
    text: str
    figures: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """Everything that sentences are made of."""

    table: Table
    rows: Sequence[Configuration]
    overview: Overview
    groups: Groups
    importances: Importances
    ranges: Sequence[BestRange]
    interactions: Sequence[Interaction]
    curves: CurveFacts
    fronts: Sequence[Pareto]
    seeds: SeedNoise
    over_tuning: OverTuning | None


def recommendations(found: Findings) -> list[Recommendation]:
    """The sentences, the most useful first."""
    if found.overview.best is None:
        return [*_without_result(found)]
    return [
        *_winner(found),
        *_doubt(found),
        *_cheaper(found),
        *_groups(found),
        *_important(found),
        *_ranges(found),
        *_interactions(found),
        *_curves(found),
        *_seeds(found),
        *_over_tuning(found),
        *_failures(found),
    ]


def unimportant(found: Importances) -> list[Importance]:
    """Parameters that matter little for sure, where there are enough trials to say so."""
    if found.n_trials < ENOUGH_TRIALS:
        return []
    return [each for each in found.parameters[1:] if each.high < SMALL_SHARE]


def _without_result(found: Findings) -> Iterator[Recommendation]:
    states = found.overview.states
    if found.table.is_running or states.keys() <= {"planned", "running", "interrupted"}:
        yield Recommendation("next", "No run has a result yet.", states)
        return
    yield Recommendation("next", "No run has a result: every one that ended has failed.", states)
    yield from _failures(found)


def _winner(found: Findings) -> Iterator[Recommendation]:
    best, overview, table = found.rows[0], found.overview, found.table
    assert best.value is not None
    name = f"{table.metric} {_plain(best.value)}{_error(best)}"
    figures = {"run": best.first.number, table.metric: best.value, "standard_error": best.standard_error}
    settings = ", ".join(f"{key} {text_of(value)}" for key, value in best.parameters.items())
    yield Recommendation(
        "winner",
        f"{_capital(run_label(table, best.first))} is the best: {name}{f' with {settings}' if settings else ''}.",
        figures,
    )
    if overview.baseline is None or overview.skill is None:
        return
    better = f"{percent(overview.skill)} {'better' if overview.skill >= 0 else 'worse'} than"
    line = f"That is {better} the best baseline ({overview.baseline_name}, {_plain(overview.baseline)})"
    if overview.beats_baseline is False and overview.skill > 0:
        line += ", which is not significant (paired t test at 97.5 %, corrected for the choice of the best run)"
    yield Recommendation("winner", line + ".", {"skill": overview.skill, "baseline": overview.baseline})


def _doubt(found: Findings) -> Iterator[Recommendation]:
    told = [row for row in found.rows if row.is_indistinguishable is not None]
    same = [row for row in told if row.is_indistinguishable]
    if not same:
        return
    runs = _listed([run_label(found.table, row.first) for row in same])
    several = "configurations are" if len(same) > 1 else "configuration is"
    yield Recommendation(
        "doubt",
        f"{len(same)} other {several} statistically indistinguishable from the best ({runs}).",
        {"indistinguishable": len(same), "compared": len(told)},
    )


def _cheaper(found: Findings) -> Iterator[Recommendation]:
    best = found.rows[0]
    same = [row for row in found.rows[1:] if row.is_indistinguishable]
    if found.table.kind != "training":
        return
    for cost, word in (("n_parameters", "smaller"), ("seconds", "faster to train")):
        own = getattr(best, cost)
        known = [row for row in same if getattr(row, cost) is not None]
        if own is None or not known:
            continue
        least = min(known, key=lambda row: getattr(row, cost))
        less = getattr(least, cost)
        if less <= 0.7 * own:
            unit = "parameters" if cost == "n_parameters" else "s"
            yield Recommendation(
                "smaller",
                f"{_capital(run_label(found.table, least.first))} is {own / less:.1f} times {word} ({_count(less)} "
                f"against {_count(own)} {unit}) and statistically indistinguishable from the best.",
                {"run": least.first.number, cost: less, f"best_{cost}": own},
            )


def _groups(found: Findings) -> Iterator[Recommendation]:
    groups, table = found.groups, found.table
    if not groups.groups or groups.groups[0].best is None:
        return
    first = groups.groups[0]
    yield Recommendation(
        "group",
        f"The best {groups.name} is {first.name}: {_plain(first.best)} at best, {_plain(first.median)} the median "
        f"of {first.count} {'runs' if first.count != 1 else 'run'}.",
        {"name": first.name, "best": first.best, "median": first.median, "count": first.count},
    )
    for group in groups.groups:
        if group.paired_difference is None or group.paired_error is None or group.n_pairs < 3:
            continue
        gain = -table.sign * group.paired_difference
        sure = abs(group.paired_difference) > (half_width(group.paired_error, group.n_pairs - 1) or 0.0)
        verdict = ("better" if gain > 0 else "worse") if sure else "not significantly different"
        yield Recommendation(
            "group",
            f"With everything else the same, {group.name} is {verdict}: {group.paired_difference:+.3g} ± "
            f"{group.paired_error:.2g} against {groups.reference}, over {group.n_pairs} pairs.",
            {"difference": group.paired_difference, "error": group.paired_error, "pairs": group.n_pairs},
        )


def _important(found: Findings) -> Iterator[Recommendation]:
    known = found.importances.parameters
    if len(known) < 2:
        return
    first = known[0]
    sure = first.low > max(other.high for other in known[1:])
    linked = f" (with {', '.join(first.linked)})" if first.linked else ""
    figures = {
        "share": first.share,
        "low": first.low,
        "high": first.high,
        "n_trials": found.importances.n_trials,
    }
    if first.low < CLEARLY:
        yield Recommendation(
            "important",
            f"{found.importances.n_trials} runs do not show which parameter matters most: the importance of "
            f"{first.parameter}{linked}, ranked first, has a 95 % interval of {_percent(first.low)} to "
            f"{_percent(first.high)}.",
            figures,
        )
        return
    yield Recommendation(
        "important",
        f"{first.parameter}{linked} matters most: {_percent(first.share)} of the importance (95 % interval "
        f"{_percent(first.low)} to {_percent(first.high)})"
        + (", clearly more than any other." if sure else ", though the intervals of others overlap with it."),
        figures,
    )
    small = unimportant(found.importances)
    if small:
        names = ", ".join(each.parameter for each in small)
        most = max(each.high for each in small)
        yield Recommendation(
            "important",
            f"{names} {'matter' if len(small) > 1 else 'matters'} little (at most {_percent(most)}): keep the best "
            f"{'values' if len(small) > 1 else 'value'} and search the others.",
            {each.parameter: each.high for each in small},
        )


def _ranges(found: Findings) -> Iterator[Recommendation]:
    share = {each.parameter: each.share for each in found.importances.parameters}
    for each in sorted(found.ranges, key=lambda each: -share.get(each.parameter, 0.0)):
        figures = {"low": each.low, "high": each.high, "tried_low": each.tried_low, "tried_high": each.tried_high}
        if each.n_top < 2 or share.get(each.parameter, 0.0) < 1 / (2 * max(1, len(share))):
            continue
        if each.at_low or each.at_high:
            end, side = (each.tried_low, "below") if each.at_low else (each.tried_high, "above")
            yield Recommendation(
                "range",
                f"The best quarter has {each.parameter} between {_plain(each.low)} and {_plain(each.high)}, at the end "
                f"of what was tried: values {side} {_plain(end)} may be better still.",
                figures,
            )
        elif each.is_numeric and (each.low, each.high) != (each.tried_low, each.tried_high):
            yield Recommendation(
                "range",
                f"The best quarter has {each.parameter} between {_plain(each.low)} and {_plain(each.high)}, of "
                f"{_plain(each.tried_low)} to {_plain(each.tried_high)} tried.",
                figures,
            )
        elif not each.is_numeric and each.n_top >= 3 and (only := _only(each)):
            value, (among_top, among_all) = only
            yield Recommendation(
                "range",
                f"All of the best quarter have {each.parameter} {value}, as {_percent(among_all)} of all have.",
                {"among_top": among_top, "among_all": among_all},
            )


def _only(found: BestRange) -> tuple[str, tuple[float, float]] | None:
    """The one value that the best quarter has, and the shares, where others were tried often enough."""
    value, shares = max(found.shares.items(), key=lambda item: item[1][0], default=("", (0.0, 0.0)))
    return (value, shares) if shares[0] == 1.0 and shares[1] <= 0.75 else None


def _interactions(found: Findings) -> Iterator[Recommendation]:
    for each in found.interactions[:2]:
        # The strongest of many pairs is by chance stronger than any one of them.
        if each.p_value * max(1, len(found.interactions)) <= CLEARLY * 2 and each.share >= CLEARLY:
            one, other = each.parameters
            best = min(each.cells, key=lambda cell: found.table.sign * cell[2])
            yield Recommendation(
                "interaction",
                f"{one} and {other} depend on each other: together they explain {_percent(each.share)} more of the "
                f"ranks than their effects added up (best mean {_plain(best[2])} at {best[0]} with {best[1]}). "
                "Search them together.",
                {"share": each.share, "p_value": each.p_value},
            )


def _curves(found: Findings) -> Iterator[Recommendation]:
    facts = found.curves
    if facts.n_trials and facts.n_still_learning >= max(1, facts.n_trials / 2):
        yield Recommendation(
            "curves",
            f"{facts.n_still_learning} of the {facts.n_trials} best curves were at their best in the last epoch: "
            "more epochs may help.",
            {"still_learning": facts.n_still_learning, "curves": facts.n_trials, "epochs": facts.max_epochs},
        )
    elif facts.n_trials and facts.n_overfit >= max(1, facts.n_trials / 2):
        at = f", in the middle after {_percent(facts.median_best_epoch or 0.0)} of their epochs"
        yield Recommendation(
            "curves",
            f"{facts.n_overfit} of the {facts.n_trials} best curves got worse again after their best epoch{at}: fewer "
            "epochs, early_stopping_epochs or more dropout would save time.",
            {"overfit": facts.n_overfit, "curves": facts.n_trials, "median_best_epoch": facts.median_best_epoch},
        )


def _seeds(found: Findings) -> Iterator[Recommendation]:
    seeds = found.seeds
    figures = {"deviation": seeds.deviation, "gap": seeds.gap, "between": seeds.between}
    if seeds.deviation is None:
        if found.table.kind == "training" and any(row.is_indistinguishable for row in found.rows):
            yield Recommendation(
                "seeds",
                "How much the training seed changes is not known: confirm_top: 3 trains the best again with further "
                "seeds.",
                figures,
            )
    elif seeds.gap is not None:
        verdict = "less" if seeds.gap < seeds.deviation else "more"
        yield Recommendation(
            "seeds",
            f"The training seed alone moves a result by {seeds.deviation:.2g} (standard deviation, "
            f"{seeds.n_configurations} configurations); the best is ahead of the second by {seeds.gap:.2g}, {verdict} "
            "than that.",
            figures,
        )


def _over_tuning(found: Findings) -> Iterator[Recommendation]:
    told = found.over_tuning
    if told is None:
        return
    worse = f"{abs(told.gap):.3g} {'worse' if told.gap > 0 else 'better'} than on the validation split"
    verdict = ""
    if told.is_over_tuned is not None:
        verdict = (
            ": significant (t test, 95 %), so part of its lead is over-tuning or the splits differ"
            if told.is_over_tuned
            else ", not significant (t test, 95 %): no sign of over-tuning"
        )
    winner = next(trial for trial in found.table.trials if trial.number == told.run)
    yield Recommendation(
        "over-tuning",
        f"On the test split, which chose nothing, {run_label(found.table, winner)} has {_plain(told.test)}, "
        f"{worse}{verdict}.",
        {
            "validation": told.validation,
            "test": told.test,
            "gap": told.gap,
            "error": told.error,
            "is_over_tuned": told.is_over_tuned,
        },
    )


def _failures(found: Findings) -> Iterator[Recommendation]:
    budget = found.overview.budget
    failed = [trial for trial in found.table.trials if trial.has_failed]
    if failed:
        counts = Counter(trial.state for trial in failed)
        kinds = ", ".join(f"{count} {state}" for state, count in counts.items())
        first = failed[0].error.partition("; to reproduce")[0]
        yield Recommendation(
            "failures",
            f"{len(failed)} of {len(found.table.trials)} runs ended without a result ({kinds})"
            + (f"; {run_label(found.table, failed[0])}: {first}" if first else "")
            + ".",
            {"failed": len(failed), "seconds": budget.wasted},
        )
    lost = budget.wasted + budget.retried
    if budget.total and lost / budget.total > WASTED_SHARE:
        yield Recommendation(
            "failures",
            f"{_percent(lost / budget.total)} of the time went into attempts without a result: smaller batches or "
            "narrower extremes would save it.",
            {"wasted": budget.wasted, "retried": budget.retried, "total": budget.total},
        )


def _plain(value: float | None) -> str:
    """A number in at most five digits, as a person writes it."""
    if value is None:
        return "?"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e6):
        return f"{int(value):,}"
    return f"{value:.4f}" if 0.01 <= abs(value) < 1000 else f"{value:.4g}"


def _error(row: Configuration) -> str:
    """The standard error, and the 95 % interval that follows from it."""
    if row.standard_error is None or row.value is None:
        return ""
    half = half_width(row.standard_error, row.degrees)
    by = " by blocks" if row.standard_error_by == "blocks" else ""
    interval = "" if half is None else f", 95 % interval {_plain(row.value - half)} to {_plain(row.value + half)}"
    return f" ± {row.standard_error:.4f} (se{by}{interval})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _count(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.1f}"


def _capital(text: str) -> str:
    """`Run 4`; names of runs stay as they are."""
    return f"R{text[1:]}" if text.startswith("run ") else text


def _listed(labels: Sequence[str]) -> str:
    """`run 4, 5 and 2 more`."""
    shown = ", ".join([labels[0], *(label.removeprefix("run ") for label in labels[1:6])])
    return shown + (f" and {len(labels) - 6} more" if len(labels) > 6 else "")
