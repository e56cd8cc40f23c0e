"""The numbers of a model -> one page, which needs neither a network nor JavaScript."""

from collections.abc import Iterator
from pathlib import Path

from sequifier.artifacts.atomic import write_text
from sequifier.model_report.measure import ModelReport, OfTarget
from sequifier.report.numbers import number
from sequifier.report.page.frame import fill, section

LIMIT = 1.96
"""Standard errors from a value to the ends of its 95 % interval."""

CALIBRATED = 0.02
"""Mean difference of confidence and accuracy below which probabilities are called usable."""


def write_page(found: ModelReport, path: Path, *, command: str) -> Path:
    """Write the page.

    Raises:
        RunError: the file cannot be written.
    """
    write_text(path, page(found, command=command))
    return path


def page(found: ModelReport, *, command: str) -> str:
    """Return the page."""
    targets = found.targets
    return fill(
        "model.html",
        title=f"What {found.run} does well",
        sections=[
            *section("findings", "Findings", "Findings", "model_findings.html", findings=findings(found)),
            *section("metrics", "Metrics", "Metrics beside the baselines", "model_metrics.html", targets=targets),
            *section("groups", "Groups", "Where it is good, and where it is not", "model_groups.html", targets=targets),
            *section("calibration", "Calibration", "Calibration", "model_calibration.html", targets=targets),
            *section("worst", "Worst", "The worst sequences", "model_worst.html", targets=targets),
            *section("order", "Order", "How much it uses the order", "model_order.html", targets=targets),
        ],
        charts={},
        command=command,
        report=found,
    )


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
    for grouping, group in target.weak():
        yield (
            f"{target.name}: {target.main} is only {number(group.metrics[target.main])} ± {number(group.error)} for "
            f"{grouping.by} {group.name} ({group.n:,} targets), compared with {number(value)} over all."
        )
    if target.bins:
        surplus = sum(each.n * (each.confidence - each.accuracy) for each in target.bins) / target.overall.n
        points = f"on average, its confidence is {abs(surplus):.1%} {'above' if surplus > 0 else 'below'} its accuracy"
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
