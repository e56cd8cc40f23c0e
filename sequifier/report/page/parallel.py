"""Parallel coordinates: one vertical axis per setting, one line per configuration."""

from collections.abc import Sequence
from typing import NamedTuple

from sequifier.report.page.charts import HEIGHT, LABEL_HEIGHT, WIDTH, Chart, Curve, Rule, Text, at, path_of, short
from sequifier.report.page.scale import fitted, tick_text


class Axis(NamedTuple):
    """One vertical axis of parallel coordinates: a scale of numbers, or places of texts; None is a gap."""

    name: str
    values: Sequence[object]


class Trace(NamedTuple):
    """One configuration in parallel coordinates; `kind` is best, top, rest or pruned."""

    key: str
    kind: str
    hint: str


def parallel_coordinates(axes: Sequence[Axis], traces: Sequence[Trace], *, title: str) -> Chart:
    """Draw a line for each configuration through its settings to its result, the best on top.

    Args:
        axes: one value per trace each; the last axis is the result.
        traces: the configurations.
        title: of the chart.
    """
    width = max(WIDTH, 96 * len(axes))
    top, bottom = 40, HEIGHT - 24
    step = (width - 150) / max(1, len(axes) - 1)
    columns: list[list[float | None]] = []
    rules, texts = [], []
    for number, axis in enumerate(axes):
        across = 70 + number * step
        places, ticks = _axis_places(axis.values, bottom, top)
        columns.append(places)
        words = _wrapped(axis.name)
        texts += [
            Text("head", at(across), str(30 - 13 * (len(words) - 1 - row)), word) for row, word in enumerate(words)
        ]
        rules.append(Rule(at(across), at(across), str(top), str(bottom)))
        is_last = 0 < number == len(axes) - 1
        anchor, shift = ("start", 7) if is_last else ("end", -7)
        for y, text in ticks:
            rules.append(Rule(at(across - 3), at(across + 3), at(y), at(y)))
            texts.append(Text("tick halo", at(across + shift), at(y + 4), short(text), anchor))
    order = {"pruned": 0, "rest": 0, "top": 1, "best": 2}
    curves = []
    for row, trace in sorted(enumerate(traces), key=lambda item: order[item[1].kind]):
        points = [
            None if (at_row := column[row]) is None else (70 + place * step, at_row)
            for place, column in enumerate(columns)
        ]
        if path := path_of(points, bridge=True):
            curves.append(Curve(f"line k-{trace.kind}", trace.key, path, trace.hint))
    return Chart(title, width, HEIGHT, curves=curves, axes=rules, texts=texts)


def _axis_places(
    values: Sequence[object], bottom: float, top: float
) -> tuple[list[float | None], list[tuple[float, str]]]:
    """The place of each value on an axis, and its ticks."""
    known = [value for value in values if value is not None]
    numbers = [value for value in known if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(known) and known:
        scale = fitted([float(value) for value in numbers], bottom, top, pad=0.0)
        different = sorted(set(numbers))
        ticks = different if len(different) <= 8 else scale.ticks(5)
        named = [(scale(float(tick)), tick_text(float(tick))) for tick in ticks]
        return [scale(float(v)) if isinstance(v, int | float) else None for v in values], _apart(named)
    ordered = sorted(dict.fromkeys(map(str, known)))
    step = (bottom - top) / max(1, len(ordered) - 1)
    place = {text: bottom - row * step if len(ordered) > 1 else (bottom + top) / 2 for row, text in enumerate(ordered)}
    return [None if value is None else place[str(value)] for value in values], [(y, text) for text, y in place.items()]


def _apart(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Ticks that do not overlap."""
    kept: list[tuple[float, str]] = []
    for tick in ticks:
        if all(abs(tick[0] - other[0]) >= LABEL_HEIGHT - 1 for other in kept):
            kept.append(tick)
    return kept


def _wrapped(name: str) -> list[str]:
    """A name in at most two lines, broken at a dot or an underscore."""
    if len(name) <= 13:
        return [name]
    middle = len(name) / 2
    breaks = [place + 1 for place, char in enumerate(name) if char in "._" and 0 < place < len(name) - 1]
    if not breaks:
        return [short(name)]
    at = min(breaks, key=lambda place: abs(place - middle))
    return [short(name[:at]), short(name[at:])]
