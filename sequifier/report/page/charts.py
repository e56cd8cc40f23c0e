"""Numbers -> charts: places, paths and texts that `templates/charts.html` draws as SVG.

SVG of our own, because a chart library would triple the page. A chart is readable without the script of the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sequifier.report.page.scale import Scale, fitted, tick_text

WIDTH, HEIGHT = 720, 340
SMALL_WIDTH, SMALL_HEIGHT = 470, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 74, 14, 40
LABEL_HEIGHT = 14
SERIES = 8
"""Number of colours that tell series apart."""


class Rule(NamedTuple):
    """A straight line: a grid line, an axis, a tick."""

    x1: str
    x2: str
    y1: str
    y2: str


class Text(NamedTuple):
    """A text at a place.

    Attributes:
        kind: its class: tick, name, head, label.
        anchor: start, middle or end; "" for that of the class.
        turned: whether it is written upwards.
        key: as of `Curve`.
    """

    kind: str
    x: str
    y: str
    text: str
    anchor: str = ""
    turned: bool = False
    key: str = ""


class Curve(NamedTuple):
    """A line that belongs to a run.

    Attributes:
        kind: its classes.
        key: marks all that belongs to the run on the page; "" where there is nothing else.
        path: the SVG path.
        hint: shown when the pointer rests on it, also without the script.
    """

    kind: str
    key: str
    path: str
    hint: str


class Dot(NamedTuple):
    """A point that belongs to a run; attributes as `Curve`."""

    kind: str
    key: str
    x: str
    y: str
    radius: float
    hint: str


@dataclass(frozen=True)
class Chart:
    """One chart, in the order in which its parts are painted.

    Attributes:
        title: what it shows, for screen readers.
        width, height: in units of the drawing.
        grid: lines under everything.
        step: path of a step line, such as the best so far.
        axes: lines over the curves.
        scales: what the script needs to read values off the chart.
        note: what the chart does not show.
    """

    title: str
    width: int
    height: int
    grid: Sequence[Rule] = ()
    step: str = ""
    curves: Sequence[Curve] = ()
    dots: Sequence[Dot] = ()
    axes: Sequence[Rule] = ()
    texts: Sequence[Text] = ()
    scales: Mapping[str, object] = field(default_factory=dict)
    note: str = ""


class Line(NamedTuple):
    """One learning curve.

    Attributes:
        key: marks all that belongs to one run on the page.
        label: written at its end; "" for none.
        values: one per epoch, from epoch 1; None where there is none.
        kind: "best", "top" or "rest" of a search, or `s0` to `s7`, a colour; `s0 k-rest` is a thin line.
        is_dashed: a training loss, or a pruned run.
        hint: shown when the pointer rests on it.
    """

    key: str
    label: str
    values: Sequence[float | None]
    kind: str = "rest"
    is_dashed: bool = False
    hint: str = ""


def learning_curves(
    lines: Sequence[Line],
    *,
    title: str,
    metric: str,
    maximize: bool = False,
    log: bool | None = None,
    right: int = RIGHT,
) -> Chart:
    """Draw curves over epochs, a point where there is one value, with the best on top and their names at the ends.

    Args:
        lines: the curves.
        title: of the chart.
        metric: name of the vertical axis.
        maximize: whether higher is better: the scale leaves out outliers on the worse side.
        log: logarithmic vertical axis; None decides by the values.
        right: room for the names.
    """
    known = [value for line in lines for value in line.values if value is not None]
    last = max((len(line.values) for line in lines), default=1)
    x = Scale(1, max(2, last), LEFT, WIDTH - right)
    y, scales = scale_pair(known, HEIGHT - BOTTOM, TOP, log=log, clip=-1 if maximize else 1)
    order = {"rest": 0, "top": 1, "best": 2}
    curves, dots, labels = [], [], []
    for line in sorted(lines, key=lambda line: order.get(line.kind, 1)):
        points = [(epoch, value) for epoch, value in enumerate(line.values, 1) if value is not None]
        if not points:
            continue
        hint = line.hint or line.label
        if len(points) == 1:
            kind = f"{line.kind}{' hollow' if line.is_dashed else ''}"
            dots.append(Dot(kind, line.key, at(x(points[0][0])), at(y(points[0][1])), 3.5, hint))
        else:
            path = path_of([None if v is None else (x(epoch), y(v)) for epoch, v in enumerate(line.values, 1)])
            kind = f"line k-{line.kind}{' dashed' if line.is_dashed else ''}"
            curves.append(Curve(kind, line.key, path, hint))
        if line.label and line.kind != "rest" and not line.is_dashed:
            epoch, value = points[-1]
            labels.append(Text(f"label k-{line.kind}", at(x(epoch) + 6), at(y(value) + 4), line.label, key=line.key))
    cut = sum(any(v is not None and not y.low <= v <= y.high for v in line.values) for line in lines)
    chart = framed(x, y, title=title, x_title="epoch", y_title=metric, whole_x=True, size=(WIDTH, HEIGHT))
    return replace(
        chart,
        curves=curves,
        dots=dots,
        texts=[*chart.texts, *_labels(labels, right // 8)],
        scales={"x": _scale_json(x), **scales},
        note=f"{cut} {'curves extend' if cut != 1 else 'curve extends'} beyond the chart." if cut else "",
    )


class Point(NamedTuple):
    """One configuration in a scatter plot; `kind` is best, front, rest or pruned."""

    key: str
    x: float
    y: float
    kind: str
    hint: str


def scatter(
    points: Sequence[Point],
    *,
    title: str,
    x_title: str,
    y_title: str,
    step: Sequence[tuple[float, float]] = (),
    maximize: bool = False,
    whole_x: bool = False,
) -> Chart:
    """Draw points, and a step line through some of them (a Pareto front, or the best so far)."""
    x = fitted([point.x for point in points], LEFT, SMALL_WIDTH - 16, log=False if whole_x else None)
    y = fitted([point.y for point in points], SMALL_HEIGHT - BOTTOM, TOP, clip=-1 if maximize else 1)
    order = {"rest": 0, "pruned": 0, "front": 1, "best": 2}
    dots = [
        Dot(point.kind, point.key, at(x(point.x)), at(y(point.y)), 5 if point.kind == "best" else 3.5, point.hint)
        for point in sorted(points, key=lambda point: order[point.kind])
    ]
    path = ""
    if step:
        corners = "".join(f"H{at(x(across))}V{at(y(up))}" for across, up in step[1:])
        path = f"M{at(x(step[0][0]))} {at(y(step[0][1]))}{corners}H{at(x.end)}"
    cut = sum(not y.low <= point.y <= y.high for point in points)
    size = (SMALL_WIDTH, SMALL_HEIGHT)
    return replace(
        framed(x, y, title=title, x_title=x_title, y_title=y_title, whole_x=whole_x, size=size),
        step=path,
        dots=dots,
        note=f"{cut} {'points are' if cut != 1 else 'point is'} beyond the chart, drawn at its edge." if cut else "",
    )


def framed(
    x: Scale, y: Scale, *, title: str, x_title: str, y_title: str, whole_x: bool, size: tuple[int, int]
) -> Chart:
    """Return a chart with grid, ticks and names of its axes."""
    left, right, base = x.start, x.end, y.start
    grid, texts = [], []
    for tick in y.ticks(5):
        grid.append(Rule(str(left), str(right), at(y(tick)), at(y(tick))))
        texts.append(Text("tick", str(left - 8), at(y(tick) + 4), tick_text(tick), "end"))
    ticks = x.ticks(7)
    if whole_x:
        whole = dict.fromkeys(float(round(tick)) for tick in ticks)
        ticks = [tick for tick in whole if x.low <= tick <= x.high]
    texts += [Text("tick", at(x(tick)), at(base + 17), tick_text(tick), "middle") for tick in ticks]
    middle = f"{(left + right) / 2:.0f}", f"{(y.start + y.end) / 2:.0f}"
    texts += [
        Text("name", middle[0], f"{base + 34:.0f}", x_title + (" (log)" if x.is_log else ""), "middle"),
        Text("name", "13", middle[1], y_title + (" (log)" if y.is_log else ""), "middle", turned=True),
    ]
    axes = [Rule(str(left), str(right), str(base), str(base))]
    return Chart(title, *size, grid=grid, axes=axes, texts=texts)


def path_of(points: Sequence[tuple[float, float] | None], *, bridge: bool = False) -> str:
    """Return an SVG path, in relative half units to be short.

    Args:
        points: (x, y); None where there is no value.
        bridge: connect the points on both sides of a gap; otherwise the path is interrupted.
    """
    parts = []
    here: tuple[int, int] | None = None
    for point in points:
        if point is None:
            here = here if bridge else None
            continue
        place = (round(point[0] * 2), round(point[1] * 2))
        if here is None:
            parts.append(f"M{_half(place[0])} {_half(place[1])}")
        else:
            across, down = place[0] - here[0], place[1] - here[1]
            parts.append(f"l{_half(across)}{'' if down < 0 else ' '}{_half(down)}")
        here = place
    return "".join(parts)


def _half(value: int) -> str:
    return str(value // 2) if value % 2 == 0 else f"{value / 2:.1f}"


def at(place: float) -> str:
    """Return a place as an SVG attribute."""
    return f"{place:.1f}"


def _labels(labels: Sequence[Text], most: int) -> list[Text]:
    """Names at the ends of curves, moved apart where they would overlap."""
    room = int((HEIGHT - BOTTOM - TOP) // LABEL_HEIGHT)
    ordered = sorted(labels[-room:], key=lambda label: float(label.y))  # the important ones were drawn last
    heights: list[float] = []
    for label in ordered:
        heights.append(max(float(label.y), heights[-1] + LABEL_HEIGHT) if heights else float(label.y))
    lowest = float(HEIGHT - BOTTOM + 4)
    for place in reversed(range(len(heights))):
        heights[place] = lowest = min(heights[place], lowest)
        lowest -= LABEL_HEIGHT
    return [label._replace(y=at(y), text=short(label.text, most)) for label, y in zip(ordered, heights, strict=True)]


def short(text: str, most: int = 16) -> str:
    """Cut a text to at most `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _scale_json(scale: Scale) -> dict[str, object]:
    ticks = [(round(scale(tick), 1), tick_text(tick)) for tick in scale.ticks()]
    ends = {"low": scale.low, "high": scale.high, "start": scale.start, "end": scale.end}
    return {**ends, "log": scale.is_log, "ticks": ticks}


def scale_pair(
    values: Sequence[float], start: float, end: float, *, log: bool | None = None, clip: int = 0
) -> tuple[Scale, dict[str, object]]:
    """Return the scale that fits the values, as `fitted`, and what the script of the page needs of it.

    That is the scale itself, `y`, and `other`: the logarithmic scale of a linear one, and the other way round; null
    where a value is not above 0.
    """
    scale = fitted(values, start, end, log=log, clip=clip)
    other = fitted(values, start, end, log=not scale.is_log)
    return scale, {"y": _scale_json(scale), "other": None if other.is_log == scale.is_log else _scale_json(other)}
