"""The numbers of a model -> one page, which needs neither a network nor JavaScript, and a JSON file."""

import json
from collections.abc import Iterator
from pathlib import Path

from sequifier.artifacts.atomic import write_text
from sequifier.model_report.charts import LIMIT, calibration_chart, drawn_groups, step_charts
from sequifier.model_report.found import Bin, ModelReport, OfTarget
from sequifier.percent import percent
from sequifier.report.numbers import number
from sequifier.report.page.forecast_charts import forecast_section
from sequifier.report.page.frame import Section, fill, section
from sequifier.results.plain import plain

CALIBRATED = 0.02
"""Mean difference of confidence and accuracy, or difference of the observed and the expected coverage of an interval,
below which probabilities are called usable."""


def write_files(found: ModelReport, path: Path, *, command: str) -> list[Path]:
    """Write the page, and its numbers as JSON beside it; returns the paths.

    Raises:
        RunError: a file cannot be written.
    """
    numbers = path.with_suffix(".json")
    write_text(numbers, json.dumps(plain(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(path, page(found, command=command))
    return [path, numbers]


def page(found: ModelReport, *, command: str) -> str:
    """Return the page."""
    targets = found.targets
    tables = [
        (target, [(each, drawn_groups(each, target.main)) for each in target.groupings])
        for target in targets
        if target.groupings
    ]
    return fill(
        "model.html",
        title=f"What {found.run} does well",
        sections=[
            *section("findings", "Findings", "Findings", "model_findings.html", findings=findings(found)),
            *section("metrics", "Metrics", "Metrics beside the baselines", "model_metrics.html", targets=targets),
            *_steps(found),
            *forecast_section([("", found.forecasts)]),
            *section("groups", "Groups", "Where it is good, and where it is not", "model_groups.html", targets=tables),
            *_calibration(found),
            *section("worst", "Worst", "The worst sequences", "model_worst.html", targets=targets),
            *section("order", "Order", "How much it uses the order", "model_order.html", targets=targets),
        ],
        charts={},
        command=command,
        report=found,
        errors_by=_UNITS.get(found.errors_by, found.errors_by),
    )


_UNITS = {"blocks": "contiguous blocks of targets"}


def _steps(found: ModelReport) -> list[Section]:
    drawn = [
        (target, charts, drawn_groups(target.steps.model, target.main))
        for target in found.targets
        if target.steps is not None and (charts := step_charts(target)) is not None
    ]
    return section("steps", "Steps", "Step by step", "model_steps.html", targets=drawn) if drawn else []


def _calibration(found: ModelReport) -> list[Section]:
    drawn = []
    for target in found.targets:
        if target.bins:
            is_class = target.coverage is None
            names = ("confidence", "accuracy") if is_class else ("quantile", "true values up to it")
            chart = calibration_chart(target.bins, expected=names[0], observed=names[1])
            drawn.append((target, chart, is_class))
    return section("calibration", "Calibration", "Calibration", "model_calibration.html", targets=drawn)


def findings(found: ModelReport) -> list[str]:
    """Return what follows from the numbers, in sentences that compare two of them."""
    return [line for target in found.targets for line in _of_target(target)]


def _of_target(target: OfTarget) -> Iterator[str]:
    value = target.overall.metrics[target.main]
    error = f" ± {number(target.overall.error)}" if target.overall.error else ""
    sign = -1 if target.maximize else 1
    known = {name: values[target.main] for name, values in target.baselines.items() if target.main in values}
    line = f"{target.name}: {target.main} is {number(value)}{error} over {target.overall.n:,} targets"
    if target.n_unknown:
        line += f" ({target.n_unknown:,} others of an unknown class, misses in the run's metrics, are left out)"
    if known:
        best = min(known, key=lambda name: sign * known[name])
        line += f", compared with {number(known[best])} of the best baseline ({best})"
    yield f"{line}."
    only = "only " if target.maximize else ""
    for grouping, group in target.weak():
        yield (
            f"{target.name}: {target.main} is {only}{number(group.metrics[target.main])} ± {number(group.error)} for "
            f"{grouping.by} {group.name} ({group.n:,} targets), compared with {number(value)} over all."
        )
    yield from _by_step(target)
    if target.coverage is not None:
        yield _of_intervals(target.name, target.coverage)
    elif target.bins:
        surplus = sum(each.n * (each.expected - each.observed) for each in target.bins) / target.overall.n
        points = f"on average, its confidence is {percent(surplus)} {'above' if surplus > 0 else 'below'} its accuracy"
        if abs(surplus) < CALIBRATED:
            yield f"{target.name}: the probabilities can be used as they are: {points}."
        else:
            yield f"{target.name}: the probabilities are too {'high' if surplus > 0 else 'low'}: {points}."
    for each in target.shuffled:
        which = "all events of a history are" if each.events == "all" else "all events but the last one are"
        is_sure = each.error is not None and each.worse > LIMIT * each.error
        yield (
            f"{target.name}: where {which} in random order, {target.main} is {number(each.value)} instead of "
            f"{number(each.ordered)}: " + ("the model uses their order." if is_sure else "no certain difference.")
        )


def _by_step(target: OfTarget) -> Iterator[str]:
    """Compare the first step with the last one, and each with the best baseline at this step."""
    if target.steps is None:
        return
    groups = [group for group in target.steps.model.groups if target.main in group.metrics]
    if len(groups) < 2:
        return
    first, last = groups[0], groups[-1]
    line = (
        f"{target.name}: {target.main} is {number(first.metrics[target.main])} at step {first.name} and "
        f"{number(last.metrics[target.main])} at step {last.name}"
    )
    sign = -1 if target.maximize else 1
    n_better = n_compared = 0
    for group in groups:
        place = int(group.name) - 1
        known = [values[place] for values in target.steps.baselines.values()]
        best = min((sign * value for value in known if value is not None), default=None)
        if best is not None:
            n_compared += 1
            n_better += sign * group.metrics[target.main] < best
    if n_compared:
        where = {0: "no step", n_compared: "each step"}.get(n_better, f"{n_better} of {n_compared} steps")
        line += f"; it is better than every baseline at {where}"
    yield f"{line}."


def _of_intervals(name: str, found: Bin) -> str:
    error = f" ± {percent(found.error)}" if found.error else ""
    text = f"{name}: the 80 % intervals have {percent(found.observed)}{error} of the true values"
    difference = found.observed - found.expected
    if abs(difference) < CALIBRATED:
        return f"{text}: they can be used as they are."
    return f"{text}: they are too {'narrow' if difference < 0 else 'wide'}."
