"""Findings: what follows from the numbers, in sentences that compare two numbers and say what to do."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from sequifier.percent import percent
from sequifier.report.analysis import Analysis, Finding
from sequifier.report.numbers import in_percent, number
from sequifier.report.setting_findings import setting_findings
from sequifier.results.deployed import deployed
from sequifier.results.order import sentence
from sequifier.results.ranking import Configuration
from sequifier.results.settings import text_of
from sequifier.results.student import half_width
from sequifier.results.trials import run_label

WASTED_SHARE = 0.1
SMALLER = 0.7
"""Fraction of the cost of the best below which another configuration is recommended."""


def findings(found: Analysis) -> list[Finding]:
    """Return the findings, the most useful first."""
    if found.overview.best is None:
        return [*_without_result(found)]
    return [
        *_winner(found),
        *_model(found),
        *_order(found),
        *_doubt(found),
        *_cheaper(found),
        *_groups(found),
        *setting_findings(found),
        *_curves(found),
        *_seeds(found),
        *_over_tuning(found),
        *_failures(found),
    ]


def _without_result(found: Analysis) -> Iterator[Finding]:
    states = found.overview.states
    if found.table.is_running or states.keys() <= {"planned", "running", "interrupted"}:
        yield Finding("next", "No run has a result yet.", states)
        return
    yield Finding("next", "No run has a result: every run that ended has failed.", states)
    yield from _failures(found)


def _winner(found: Analysis) -> Iterator[Finding]:
    best, overview, table = found.rows[0], found.overview, found.table
    assert best.value is not None
    settings = ", ".join(f"{key} {text_of(value)}" for key, value in best.settings.items())
    yield Finding(
        "winner",
        f"{_capital(run_label(table, best.first))} is best: {table.metric} {number(best.value)}{_error(best)}"
        + (f", with {settings}." if settings else "."),
        {"run": best.first.number, table.metric: best.value, "standard_error": best.standard_error},
    )
    if overview.baseline is None or overview.skill is None:
        return
    figures = {"skill": overview.skill, "baseline": overview.baseline}
    baseline = f"the best baseline ({overview.baseline_name}, {number(overview.baseline)})"
    if overview.skill <= 0:
        text = f"It is {percent(overview.skill)} worse than {baseline}: use the baseline, or search other settings."
        yield Finding("winner", text, figures)
        return
    text = f"It beats {baseline} by {percent(overview.skill)}"
    if overview.beats_baseline is False:
        text += (
            ", which is not significant (paired t test at 97.5 %, corrected for the choice of the best run): evaluate "
            "on more data before you rely on it"
        )
    yield Finding("winner", f"{text}.", figures)


def _model(found: Analysis) -> Iterator[Finding]:
    model = deployed(found.table, found.rows)
    if model is not None:
        which = (
            "The model to deploy" if model.run == found.rows[0].run else f"The best model on disk, of run {model.run},"
        )
        yield Finding("model", f"{which} is {model.path}: {model.text}.", asdict(model))


def _order(found: Analysis) -> Iterator[Finding]:
    for each in found.order:
        advice = ""
        if each.is_significant is False:
            advice = (
                " Counts of the events in a history would do as well as their order."
                if each.shuffled == "all"
                else " The last event, and which events were before it, are enough."
            )
        figures = {"shuffled": each.shuffled, "run": each.run, "worth": each.worth, "error": each.error}
        yield Finding("order", f"{sentence(each)}{advice}", figures)


def _doubt(found: Analysis) -> Iterator[Finding]:
    compared = [row for row in found.rows if row.is_indistinguishable is not None]
    same = [row for row in compared if row.is_indistinguishable]
    if not same:
        return
    several = "configurations are" if len(same) > 1 else "configuration is"
    advice = ": choose by size or speed" if found.table.kind == "training" else ""
    yield Finding(
        "doubt",
        f"{len(same)} other {several} statistically indistinguishable from the best "
        f"({_listed([run_label(found.table, row.first) for row in same])}){advice}.",
        {"indistinguishable": len(same), "compared": len(compared)},
    )


def _cheaper(found: Analysis) -> Iterator[Finding]:
    best = found.rows[0]
    # A pruned run took less time because it was cut, and left no model.
    same = [row for row in found.rows[1:] if row.is_indistinguishable and row.first.is_complete]
    if found.table.kind != "training":
        return
    for cost in ("n_parameters", "seconds"):
        own = getattr(best, cost)
        known = [row for row in same if getattr(row, cost) is not None]
        if own is None or not known:
            continue
        least = min(known, key=lambda row: getattr(row, cost))
        less = getattr(least, cost)
        if less > SMALLER * own:
            continue
        factor, run = f"{own / less:.1f}", _capital(run_label(found.table, least.first))
        text = (
            f"{run} has {factor} times fewer parameters than the best ({less:,} instead of {own:,})"
            if cost == "n_parameters"
            else f"{run} trains {factor} times faster than the best ({less:.1f} s instead of {own:.1f} s)"
        )
        yield Finding(
            "smaller",
            f"{text} and is statistically indistinguishable from it: prefer it.",
            {"run": least.first.number, cost: less, f"best_{cost}": own},
        )


def _groups(found: Analysis) -> Iterator[Finding]:
    groups, table = found.groups, found.table
    if len(groups.groups) < 2 or groups.groups[0].best is None:
        return
    first = groups.groups[0]
    yield Finding(
        "group",
        f"The best {groups.name} is {first.name}: best {table.metric} {number(first.best)}, median "
        f"{number(first.median)} over {first.count} {'runs' if first.count != 1 else 'run'}.",
        {"name": first.name, "best": first.best, "median": first.median, "count": first.count},
    )
    for group in groups.groups:
        if group.paired_difference is None or group.paired_error is None or group.n_pairs < 3:
            continue
        gain = -table.sign * group.paired_difference
        is_sure = abs(group.paired_difference) > (half_width(group.paired_error, group.n_pairs - 1) or 0.0)
        verdict = ("better than" if gain > 0 else "worse than") if is_sure else "not significantly different from"
        yield Finding(
            "group",
            f"With all other settings equal, {group.name} is {verdict} {groups.reference}: difference "
            f"{group.paired_difference:+.3g} ± {group.paired_error:.2g} (standard error, {group.n_pairs} pairs).",
            {"difference": group.paired_difference, "error": group.paired_error, "pairs": group.n_pairs},
        )


def _curves(found: Analysis) -> Iterator[Finding]:
    facts = found.curves
    if facts.stopped_too_early:
        runs, their = _of_best(facts.n_still_learning, facts.n_trials)
        yield Finding(
            "curves",
            f"{runs} stopped while still improving: {their} last epoch is {their} best. Train for more epochs "
            "(search-analysis --next doubles them).",
            {"still_learning": facts.n_still_learning, "curves": facts.n_trials, "epochs": facts.max_epochs},
        )
    elif facts.n_trials and facts.n_overfit >= max(1, facts.n_trials / 2):
        runs, their = _of_best(facts.n_overfit, facts.n_trials)
        yield Finding(
            "curves",
            f"{runs} got worse after {their} best epoch (median: after {in_percent(facts.median_best_epoch or 0.0)} of "
            "the epochs): use fewer epochs, early_stopping_epochs or more dropout.",
            {"overfit": facts.n_overfit, "curves": facts.n_trials, "median_best_epoch": facts.median_best_epoch},
        )


def _of_best(n: int, n_best: int) -> tuple[str, str]:
    """`3 of the best 4 runs`, `their`."""
    if n_best == 1:
        return "The best run", "its"
    which = str(n) if n < n_best else "Both" if n == 2 else "All"
    return f"{which} of the best {n_best} runs", "their" if n > 1 else "its"


def _seeds(found: Analysis) -> Iterator[Finding]:
    seeds = found.seeds
    figures = {"deviation": seeds.deviation, "gap": seeds.gap, "between": seeds.between}
    if seeds.deviation is None:
        if found.table.kind == "training" and any(row.is_indistinguishable for row in found.rows):
            yield Finding(
                "seeds",
                "The effect of the training seed is not known: set confirm_top: 3 to train the best configurations "
                "with further seeds.",
                figures,
            )
    elif seeds.gap is not None:
        verdict = "which is more" if seeds.gap >= seeds.deviation else "which is less, so their order is uncertain"
        yield Finding(
            "seeds",
            f"The training seed alone changes a result by {seeds.deviation:.2g} (standard deviation over "
            f"{seeds.n_configurations} configurations). The best leads the second by {seeds.gap:.2g}, {verdict}.",
            figures,
        )


def _over_tuning(found: Analysis) -> Iterator[Finding]:
    test = found.over_tuning
    if test is None:
        if untested := found.table.test_without_value:
            yield Finding("over-tuning", untested, {"test": None})
        return
    verdict = {
        True: " The difference is significant (t test, 95 %): part of its lead is over-tuning, or the splits differ.",
        False: " The difference is not significant (t test, 95 %): no sign of over-tuning.",
        None: "",
    }[test.is_over_tuned]
    winner = next(trial for trial in found.table.trials if trial.number == test.run)
    yield Finding(
        "over-tuning",
        f"On the test split, which no choice was based on, {run_label(found.table, winner)} has {number(test.test)}, "
        f"{abs(test.gap):.3g} {'worse' if test.gap > 0 else 'better'} than on the validation split.{verdict}",
        {
            "validation": test.validation,
            "test": test.test,
            "gap": test.gap,
            "error": test.error,
            "is_over_tuned": test.is_over_tuned,
        },
    )


def _failures(found: Analysis) -> Iterator[Finding]:
    budget = found.overview.budget
    failed = [trial for trial in found.table.trials if trial.has_failed]
    if failed:
        kinds = ", ".join(f"{count} {state}" for state, count in Counter(trial.state for trial in failed).items())
        first = failed[0].error.partition("; to reproduce")[0]
        yield Finding(
            "failures",
            f"{len(failed)} of {len(found.table.trials)} runs ended without a result ({kinds})"
            + (f"; {run_label(found.table, failed[0])}: {first}" if first else "")
            + ".",
            {"failed": len(failed), "seconds": budget.wasted},
        )
    lost = budget.wasted + budget.retried
    if budget.total and lost / budget.total > WASTED_SHARE:
        yield Finding(
            "failures",
            f"{in_percent(lost / budget.total)} of the time was spent on attempts without a result: use smaller "
            "batches or narrower ranges.",
            {"wasted": budget.wasted, "retried": budget.retried, "total": budget.total},
        )


def _error(row: Configuration) -> str:
    """The standard error, and the 95 % interval that follows from it."""
    if row.standard_error is None or row.value is None:
        return ""
    half = half_width(row.standard_error, row.degrees)
    by = " by blocks" if row.standard_error_by == "blocks" else ""
    interval = "" if half is None else f", 95 % interval {number(row.value - half)} to {number(row.value + half)}"
    return f" ± {number(row.standard_error)} (standard error{by}{interval})"


def _capital(text: str) -> str:
    """`Run 4`; names of runs stay as they are."""
    return f"R{text[1:]}" if text.startswith("run ") else text


def _listed(labels: Sequence[str]) -> str:
    """`runs 4, 5 and 2 more`."""
    shown = ", ".join([labels[0], *(label.removeprefix("run ") for label in labels[1:6])])
    if len(labels) > 1 and shown.startswith("run "):
        shown = f"runs{shown[3:]}"
    return shown + (f" and {len(labels) - 6} more" if len(labels) > 6 else "")
