"""Findings on single settings: which of them matter, where their best values are, and which interact."""

from collections.abc import Iterator

from sequifier.report.analysis import Analysis, Finding
from sequifier.report.groups import BestRange
from sequifier.report.importance import Importance, Importances
from sequifier.report.numbers import in_percent, number
from sequifier.results.settings import text_of

CLEARLY = 0.05
"""p-value and fraction above which an interaction is reported."""

ENOUGH_TRIALS = 20
"""Trials below which no setting is called unimportant."""

SMALL_SHARE = 0.1


def setting_findings(found: Analysis) -> Iterator[Finding]:
    """Return the findings on settings, the most useful first."""
    yield from _important(found)
    yield from _ranges(found)
    yield from _interactions(found)


def unimportant(found: Importances) -> list[Importance]:
    """Return the settings that certainly matter little; none where there are too few trials."""
    if found.n_trials < ENOUGH_TRIALS:
        return []
    return [each for each in found.parameters[1:] if each.high < SMALL_SHARE]


def _important(found: Analysis) -> Iterator[Finding]:
    known, n_trials = found.importances.parameters, found.importances.n_trials
    if len(known) < 2:
        return
    first = known[0]
    name = _named(first)
    interval = f"95 % interval {in_percent(first.low)} to {in_percent(first.high)}"
    figures = {"share": first.share, "low": first.low, "high": first.high, "n_trials": n_trials}
    if first.low < CLEARLY:
        text = (
            f"{n_trials} runs do not show which setting matters most: {name} ranks first with "
            f"{in_percent(first.share)} of the importance ({interval}). More runs would narrow the interval."
        )
        yield Finding("important", text, figures)
        return
    is_sure = first.low > max(other.high for other in known[1:])
    others = "clearly more than any other setting" if is_sure else "though the intervals of other settings overlap"
    text = f"{name} matters most: {in_percent(first.share)} of the importance ({interval}), {others}."
    yield Finding("important", text, figures)
    if small := unimportant(found.importances):
        names = ", ".join(each.parameter for each in small)
        several = len(small) > 1
        yield Finding(
            "important",
            f"{names} {'matter' if several else 'matters'} little (at most "
            f"{in_percent(max(each.high for each in small))} of the importance): fix {'them' if several else 'it'} at "
            f"the best {'values' if several else 'value'} and search the other settings.",
            {each.parameter: each.high for each in small},
        )


def _ranges(found: Analysis) -> Iterator[Finding]:
    share = {each.parameter: each.share for each in found.importances.parameters}
    names = {each.parameter: _named(each) for each in found.importances.parameters}
    for each in sorted(found.ranges, key=lambda each: -share.get(each.parameter, 0.0)):
        figures = {"low": each.low, "high": each.high, "tried_low": each.tried_low, "tried_high": each.tried_high}
        if each.n_top < 2 or share.get(each.parameter, 0.0) < 1 / (2 * max(1, len(share))):
            continue
        low, high = text_of(each.low), text_of(each.high)
        name = names.get(each.parameter, each.parameter)
        best = f"{name} {low}" if low == high else f"{name} between {low} and {high}"
        if each.at_low or each.at_high:
            end, side = (each.tried_low, "below") if each.at_low else (each.tried_high, "above")
            yield Finding(
                "range",
                f"The best quarter has {best}, at the {'lower' if each.at_low else 'upper'} end of the searched "
                f"values: search {side} {text_of(end)} too.",
                figures,
            )
        elif each.is_numeric and (each.low, each.high) != (each.tried_low, each.tried_high):
            yield Finding(
                "range",
                f"The best quarter has {best} (searched: {text_of(each.tried_low)} to {text_of(each.tried_high)}): "
                "search there.",
                figures,
            )
        elif not each.is_numeric and each.n_top >= 3 and (only := _only(each)):
            value, (among_top, among_all) = only
            yield Finding(
                "range",
                f"The whole best quarter has {each.parameter} {value}, compared with {in_percent(among_all)} of all "
                "configurations: keep it.",
                {"among_top": among_top, "among_all": among_all},
            )


def _named(setting: Importance) -> str:
    """A setting, with those that always change together with it: what it does may be their effect."""
    return setting.parameter + (f" (with {', '.join(setting.linked)})" if setting.linked else "")


def _only(found: BestRange) -> tuple[str, tuple[float, float]] | None:
    """The one value of the best quarter and its fractions, where other values were tried often enough."""
    value, shares = max(found.shares.items(), key=lambda item: item[1][0], default=("", (0.0, 0.0)))
    return (value, shares) if shares[0] == 1.0 and shares[1] <= 0.75 else None


def _interactions(found: Analysis) -> Iterator[Finding]:
    for each in found.interactions[:2]:
        # The strongest of many pairs is by chance stronger than any one of them.
        if each.p_value * max(1, len(found.interactions)) <= CLEARLY * 2 and each.share >= CLEARLY:
            one, other = each.parameters
            best = min(each.cells, key=lambda cell: found.table.sign * cell[2])
            yield Finding(
                "interaction",
                f"{one} and {other} interact: their combinations explain {in_percent(each.share)} more of the ranking "
                f"than their separate effects (best mean {number(best[2])} with {one} {best[0]} and {other} "
                f"{best[1]}). Search them together.",
                {"share": each.share, "p_value": each.p_value},
            )
