"""The page templates, and what every page has. Values are escaped by the templates; no page makes a network request."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from sequifier import __version__
from sequifier.percent import loss_text, percent
from sequifier.printable import command_line, printable
from sequifier.report.numbers import in_percent, number, seconds_text
from sequifier.report.page.charts import Chart
from sequifier.results.settings import Setting, text_of
from sequifier.results.trials import own_number


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        key: its anchor.
        short: its name in the navigation.
        title: its heading.
        content: HTML.
    """

    key: str
    short: str
    title: str
    content: Markup


class DrawnRun(NamedTuple):
    """A learning curve as the script of the page reads it off; attributes as in `charts.Line`."""

    key: str
    label: str
    values: Sequence[float | None]
    training: Sequence[float | None] = ()


def section(key: str, short: str, title: str, template: str, **context: Any) -> list[Section]:
    """Fill a template of `templates/sections`; without a section where it has no content."""
    content = _environment().get_template(f"sections/{template}").render(context).strip()
    return [Section(key, short, title, Markup(content))] if content else []


def fill(
    template: str,
    *,
    title: str,
    sections: Sequence[Section],
    charts: Mapping[str, object],
    runs: Mapping[str, object] | None = None,
    command: str,
    refresh: int | None = None,
    **context: Any,
) -> str:
    """Return a whole page.

    Args:
        template: that extends `base.html`.
        title: of the browser's window.
        sections: in order.
        charts: what the script needs, see `readable`.
        runs: what it shows of single runs, see `run_details`; None on a page without a table of runs.
        command: that wrote the page.
        refresh: seconds after which a browser reads the file again; None: never.
        context: for the header.
    """
    folder = files("sequifier.report.page")
    script = "".join((folder / name).read_text(encoding="utf-8") for name in ("page.js", "runs.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (
        _environment()
        .get_template(template)
        .render(
            context,
            title=title,
            sections=sections,
            charts=charts,
            runs=runs,
            command=command,
            refresh=refresh,
            version=__version__,
            script=Markup(script),
            script_hash=f"sha256-{digest}",
            styles=Markup((folder / "page.css").read_text(encoding="utf-8")),
        )
    )
    return printable(page) + "\n"


def readable(chart: Chart, metric: str, runs: Sequence[DrawnRun]) -> dict[str, object]:
    """What the script needs to read values off a chart of learning curves."""
    lines = [
        {"key": run.key, "name": printable(run.label), "y": [_digits(value) for value in run.values]}
        | ({"t": [_digits(value) for value in run.training]} if run.training else {})
        for run in runs
    ]
    return {"scales": chart.scales, "metric": metric, "lines": lines}


def _digits(value: float | None) -> float | None:
    """To five digits: more than a drawing shows."""
    return None if value is None else float(f"{value:.5g}")


def _sortable(value: Setting) -> str:
    """A value as the script compares it; empty ones stay at the end."""
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else text_of(value)


def _breakable(name: str) -> Markup:
    """A name that a line may break after a dot or an underscore."""
    text = escape(name)
    for mark in "._":
        text = text.replace(mark, Markup(f"{mark}<wbr>"))
    return text


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("sequifier.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    made.globals["command_line"] = command_line
    made.filters |= {
        "baseline": lambda name: name.removeprefix("baseline: "),
        "breakable": _breakable,
        "difference": lambda value: loss_text(value, sign="+"),
        "number": number,
        "own_number": own_number,
        "percent": in_percent,
        "place": lambda place: f"{place:.1f}",
        "seconds": seconds_text,
        "signed_percent": lambda fraction: percent(fraction, signed=True).replace(" ", "\u00a0"),
        "sortable": _sortable,
        "value": text_of,
    }
    return made
