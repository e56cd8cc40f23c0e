"""Numbers -> SVG, as text. Colours and type are the page's; every drawing is readable without its script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from sequifier.report.page.scale import Scale, fitted, tick_text

WIDTH, HEIGHT = 720, 340
SMALL_WIDTH, SMALL_HEIGHT = 470, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 74, 14, 40
LABEL_HEIGHT = 14
SERIES = 8
"""Colours of series that are told apart by colour."""


@dataclass(frozen=True)
class Line:
    """One learning curve.

    Attributes:
        key: marks everything that belongs to one run, in the page.
        label: what is written at its end; "" for nothing.
        values: after each epoch, from epoch 1; None where there is none.
        kind: "best", "top" or "rest" of a search, or the number of a colour.
        is_dashed: a training loss, or a run that was cut.
        title: shown when the pointer rests on it, also without the script.
    """

    key: str
    label: str
    values: Sequence[float | None]
    kind: str = "rest"
    is_dashed: bool = False
    title: str = ""


@dataclass(frozen=True)
class Drawn:
    """A drawing, and what a script needs to know of its scales."""

    svg: str
    scales: Mapping[str, object] = field(default_factory=dict)
    note: str = ""


def learning_curves(
    lines: Sequence[Line],
    *,
    title: str,
    metric: str,
    maximize: bool = False,
    log: bool | None = None,
    right: int = RIGHT,
) -> Drawn:
    """Curves over epochs, the important ones on top, the ends of the best named, in `right` units of room."""
    known = [value for line in lines for value in line.values if value is not None]
    last = max((len(line.values) for line in lines), default=1)
    x = Scale(1, max(2, last), LEFT, WIDTH - right)
    y = fitted(known, HEIGHT - BOTTOM, TOP, log=log, clip=-1 if maximize else 1)
    parts = [_frame(x, y, x_title="epoch", y_title=metric, whole_x=True)]
    order = {"rest": 0, "top": 1, "best": 2}
    in_order = sorted(lines, key=lambda line: order.get(line.kind, 1))
    labels: list[tuple[float, float, str, str]] = []
    for line in in_order:
        path = _path(
            [(x(epoch), y(value)) if value is not None else None for epoch, value in enumerate(line.values, 1)]
        )
        if not path:
            continue
        style = f"line k-{line.kind}{' dashed' if line.is_dashed else ''}"
        hint = f"<title>{escape(line.title or line.label)}</title>"
        parts.append(f'<path class="{style}" data-key="{escape(line.key)}" d="{path}">{hint}</path>')
        if line.label and line.kind != "rest" and not line.is_dashed:
            epoch = max(place for place, value in enumerate(line.values, 1) if value is not None)
            value = line.values[epoch - 1]
            assert value is not None
            labels.append((x(epoch), y(value), line.label, line.kind))
    parts += _labels(labels, right // 8)
    cut = sum(any(v is not None and (v > y.high or v < y.low) for v in line.values) for line in lines)
    note = f"{cut} {'curves reach' if cut != 1 else 'curve reaches'} beyond the drawing." if cut else ""
    scales = {"x": _scale_json(x), "y": _scale_json(y), "width": WIDTH, "height": HEIGHT}
    return Drawn(_svg("".join(parts), title, WIDTH, HEIGHT), scales, note)


@dataclass(frozen=True)
class Point:
    """One configuration in a scatter plot."""

    key: str
    x: float
    y: float
    kind: str  # "best", "front", "rest", "pruned"
    title: str


def scatter(
    points: Sequence[Point],
    *,
    title: str,
    x_title: str,
    y_title: str,
    line: Sequence[tuple[float, float]] = (),
    maximize: bool = False,
    whole_x: bool = False,
    log_x: bool | None = None,
) -> Drawn:
    """Points, and a step line through some of them (a front, or the best so far)."""
    x = fitted([point.x for point in points], LEFT, SMALL_WIDTH - 16, log=False if whole_x else log_x)
    y = fitted([point.y for point in points], SMALL_HEIGHT - BOTTOM, TOP, clip=-1 if maximize else 1)
    parts = [_frame(x, y, x_title=x_title, y_title=y_title, whole_x=whole_x)]
    if line:
        steps = [f"M{x(line[0][0]):.1f} {y(line[0][1]):.1f}"]
        steps += [f"H{x(a):.1f}V{y(b):.1f}" for a, b in line[1:]]
        parts.append(f'<path class="step" d="{"".join(steps)}H{x.end:.1f}"/>')
    order = {"rest": 0, "pruned": 0, "front": 1, "best": 2}
    for point in sorted(points, key=lambda point: order[point.kind]):
        radius = 5 if point.kind == "best" else 3.5
        parts.append(
            f'<circle class="dot d-{point.kind}" data-key="{escape(point.key)}" cx="{x(point.x):.1f}" '
            f'cy="{y(point.y):.1f}" r="{radius}"><title>{escape(point.title)}</title></circle>'
        )
    cut = sum(not y.low <= point.y <= y.high for point in points)
    note = f"{cut} {'points lie' if cut != 1 else 'point lies'} beyond the drawing, at its edge." if cut else ""
    return Drawn(_svg("".join(parts), title, SMALL_WIDTH, SMALL_HEIGHT), note=note)


@dataclass(frozen=True)
class Axis:
    """One upright axis: places of texts, or a scale of numbers."""

    name: str
    values: Sequence[object]


def parallel_coordinates(
    axes: Sequence[Axis], keys: Sequence[str], kinds: Sequence[str], titles: Sequence[str], *, title: str
) -> Drawn:
    """A line for each trial through its values, the best on top; None is a gap.

    Args:
        axes: the last one is the result.
        keys: of the trials.
        kinds: "best", "top", "rest" or "pruned" of each.
        titles: shown when the pointer rests on a line.
        title: of the drawing.
    """
    width = max(WIDTH, 96 * len(axes))
    top, bottom = 40, HEIGHT - 24
    step = (width - 150) / max(1, len(axes) - 1)
    places: list[list[float | None]] = []
    parts = []
    for column, axis in enumerate(axes):
        at = 70 + column * step
        place, ticks = _axis_places(axis.values, bottom, top)
        places.append(place)
        lines = _wrapped(axis.name)
        heads = "".join(
            f'<text class="head" x="{at:.1f}" y="{30 - 13 * (len(lines) - 1 - row)}">{escape(text)}</text>'
            for row, text in enumerate(lines)
        )
        parts.append(f'{heads}<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}"/>')
        is_last = column == len(axes) - 1 and column > 0
        anchor, shift = ("start", 7) if is_last else ("end", -7)
        parts += [
            f'<line class="axis" x1="{at - 3:.1f}" x2="{at + 3:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick halo" text-anchor="{anchor}" x="{at + shift:.1f}" y="{y + 4:.1f}">'
            f"{escape(_short(text))}</text>"
            for y, text in ticks
        ]
    order = {"pruned": 0, "rest": 0, "top": 1, "best": 2}
    drawn = []
    for row in sorted(range(len(keys)), key=lambda row: order[kinds[row]]):
        path = _path(
            [None if (y := column[row]) is None else (70 + c * step, y) for c, column in enumerate(places)],
            bridge=True,
        )
        if path:
            drawn.append(
                f'<path class="line k-{kinds[row]}" data-key="{escape(keys[row])}" d="{path}">'
                f"<title>{escape(titles[row])}</title></path>"
            )
    return Drawn(_svg("".join([*drawn, *parts]), title, width, HEIGHT))


def bar(share: float, low: float, high: float) -> str:
    """A bar of 0 to 1 with the interval of it, as wide as its place."""
    return (
        '<svg class="bar" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="fill" x="0" y="2" width="{max(0.4, 100 * share):.1f}" height="10"/>'
        f'<path class="whisker" d="M{100 * low:.1f} 7H{100 * high:.1f}M{100 * low:.1f} 4V10M{100 * high:.1f} 4V10"/>'
        "</svg>"
    )


def span(low: float, high: float, mark: float | None, *, outer: tuple[float, float] | None = None) -> str:
    """A part of a track, and a mark on it; all from 0 to 1."""
    whole = outer or (0.0, 1.0)
    width = max(1.0, 100 * (high - low))
    start = min(100 * low, 99.0)
    return (
        '<svg class="span" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="track" d="M{100 * whole[0]:.1f} 7H{100 * whole[1]:.1f}"/>'
        f'<rect class="fill" x="{start:.1f}" y="3" width="{width:.1f}" height="8"/>'
        + (f'<path class="mark" d="M{min(max(100 * mark, 0.5), 99.5):.1f} 0V14"/>' if mark is not None else "")
        + "</svg>"
    )


def columns(shares: Sequence[tuple[float, float]]) -> str:
    """For each value a column: what the best have filled, what all have as an outline; from 0 to 1."""
    wide = 100 / max(1, len(shares))
    most = max((value for pair in shares for value in pair), default=1.0) or 1.0
    drawn = []
    for place, (top, whole) in enumerate(shares):
        left, width = place * wide + 0.15 * wide, 0.7 * wide
        for kind, value in (("fill", top), ("outline", whole)):
            height = 20 * value / most
            drawn.append(
                f'<rect class="{kind}" x="{left:.1f}" y="{21 - height:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
            )
    return (
        '<svg class="columns" viewBox="0 0 100 22" preserveAspectRatio="none" aria-hidden="true">'
        f'{"".join(drawn)}<path class="track" d="M0 21.5H100"/></svg>'
    )


def stacked(parts: Sequence[tuple[str, float]]) -> str:
    """One bar of several parts, by name of their class."""
    total = sum(value for _, value in parts) or 1.0
    at, drawn = 0.0, []
    for name, value in parts:
        width = 100 * value / total
        drawn.append(f'<rect class="b-{name}" x="{at:.2f}" y="0" width="{width:.2f}" height="14"/>')
        at += width
    return (
        f'<svg class="stack" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">{"".join(drawn)}</svg>'
    )


def _frame(x: Scale, y: Scale, *, x_title: str, y_title: str, whole_x: bool) -> str:
    """Grid, ticks and titles."""
    left, right, base = x.start, x.end, y.start
    parts = []
    for tick in y.ticks(5):
        at = y(tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{left - 8}" y="{at + 4:.1f}">{tick_text(tick)}</text>')
    ticks = x.ticks(7)
    if whole_x:
        ticks = list(dict.fromkeys(float(round(tick)) for tick in ticks))
        ticks = [tick for tick in ticks if x.low <= tick <= x.high]
    for tick in ticks:
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x(tick):.1f}" y="{base + 17:.1f}">{tick_text(tick)}</text>'
        )
    parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{base}" y2="{base}"/>')
    scale = " (log)" if y.is_log else ""
    across = " (log)" if x.is_log else ""
    parts.append(
        f'<text class="name" text-anchor="middle" x="{(left + right) / 2:.0f}" y="{base + 34:.0f}">'
        f"{escape(x_title)}{across}</text>"
    )
    middle = (y.start + y.end) / 2
    parts.append(
        f'<text class="name" text-anchor="middle" transform="translate(13 {middle:.0f}) rotate(-90)">'
        f"{escape(y_title)}{scale}</text>"
    )
    return "".join(parts)


def _path(points: Sequence[tuple[float, float] | None], *, bridge: bool = False) -> str:
    """A path in half units, relative and so short; a missing point begins a new part, with `bridge` it does not."""
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


def _labels(labels: Sequence[tuple[float, float, str, str]], most: int) -> list[str]:
    """Names at the ends of curves, moved apart where they would overlap."""
    room = int((HEIGHT - BOTTOM - TOP) // LABEL_HEIGHT)
    ordered = sorted(labels[-room:], key=lambda label: label[1])  # the important ones were drawn last
    heights: list[float] = []
    for _, y, _, _ in ordered:
        heights.append(max(y, heights[-1] + LABEL_HEIGHT) if heights else y)
    lowest = float(HEIGHT - BOTTOM)
    for place in reversed(range(len(heights))):
        heights[place] = lowest = min(heights[place], lowest)
        lowest -= LABEL_HEIGHT
    return [
        f'<text class="label k-{kind}" x="{x + 6:.1f}" y="{y + 4:.1f}">{escape(_short(text, most))}</text>'
        for (x, _, text, kind), y in zip(ordered, heights, strict=True)
    ]


def _axis_places(
    values: Sequence[object], bottom: float, top: float
) -> tuple[list[float | None], list[tuple[float, str]]]:
    """The place of each value on an axis, and what is written at it."""
    known = [value for value in values if value is not None]
    numbers = [value for value in known if isinstance(value, int | float) and not isinstance(value, bool)]
    different = list(dict.fromkeys(map(repr, known)))
    if len(numbers) == len(known) and known:
        scale = fitted([float(value) for value in numbers], bottom, top, pad=0.0)
        few = len(different) <= 8
        ticks = sorted(set(numbers)) if few else scale.ticks(5)
        if len(set(numbers)) == 1:
            ticks = numbers[:1]
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


def _short(text: str, most: int = 16) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _wrapped(name: str) -> list[str]:
    """A name in at most two lines, broken at a dot or an underscore."""
    if len(name) <= 13:
        return [name]
    middle = len(name) / 2
    breaks = [place + 1 for place, char in enumerate(name) if char in "._" and 0 < place < len(name) - 1]
    if not breaks:
        return [_short(name)]
    at = min(breaks, key=lambda place: abs(place - middle))
    return [_short(name[:at]), _short(name[at:])]


def _scale_json(scale: Scale) -> dict[str, object]:
    return {"low": scale.low, "high": scale.high, "start": scale.start, "end": scale.end, "log": scale.is_log}


def _svg(content: str, title: str, width: float, height: float) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {width:.0f} {height}" role="img" aria-label="{escape(title)}">{content}</svg>'
    )
