"""Learning curves of any runs, or of whole searches, on one page."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.reading import json_lines
from sequifier.config.catalogue.metric_names import HIGHER_IS_BETTER
from sequifier.errors import RunError, did_you_mean
from sequifier.experiment.record import METRICS
from sequifier.report.numbers import number
from sequifier.report.page.charts import SERIES, Line, learning_curves
from sequifier.report.page.frame import Page, section
from sequifier.report.page.render import READOUT, curve_values
from sequifier.results.find import find_search
from sequifier.results.training import read_curves
from sequifier.results.trials import Trial, finite

FOLDER = Path("outputs")
MOST = 300
WITH_TRAINING = 8
"""Runs whose training loss is drawn too; of more, it would hide the curves."""


def visualize(
    names: Sequence[str], *, metric: str = "val_loss", log_scale: bool = False, path: Path | None = None
) -> Path:
    """Draw learning curves; returns the page's path.

    Args:
        names: of runs below logs/, paths of their records, or searches, which stand for all their runs.
        metric: of metrics.jsonl.
        log_scale: draw it on a logarithmic scale.
        path: of the page; None: outputs/curves-[names].html.

    Raises:
        RunError: there is no such run, none has the metric, or the page cannot be written.
    """
    runs = [run for name in names for run in _runs(name, metric)]
    runs = list({run.record: run for run in runs}.values())
    known = [run for run in runs if any(value is not None for value in run.curve)]
    if not known:
        raise RunError(
            f"no run has `{metric}` after an epoch",
            where=", ".join(names),
            fix=did_you_mean(metric, sorted({name for run in runs for name in run.metrics})) if runs else "",
        )
    if log_scale and any(value is not None and value <= 0 for run in known for value in run.curve):
        raise RunError(
            f"`{metric}` has values of 0 or less, which a logarithmic scale cannot show", fix="leave out --log-scale"
        )
    maximize = metric.endswith(tuple(f"_{name}" for name in HIGHER_IS_BETTER))
    sign = -1 if maximize else 1
    known.sort(key=lambda run: min(sign * value for value in run.curve if value is not None))
    path = path or FOLDER / f"curves-{'-'.join(Path(name).name for name in names)[:80]}.html"
    write_text(path, _page(known, names, metric, log_scale=log_scale, maximize=maximize))
    return path


def _runs(name: str, metric: str) -> list[Trial]:
    """The runs that a name stands for."""
    for folder in (Path("logs") / name, Path(name)):
        record = (folder if (folder / METRICS).is_file() else folder / "latest").resolve()
        if (record / METRICS).is_file():
            return [_run(record.parent.name, record, metric)]
    try:
        folder = find_search(name)
    except RunError as error:
        runs = sorted(path.parent.name for path in Path("logs").glob("*/latest"))
        raise RunError(
            f"there is no run or search `{name}`",
            where=str(Path("logs").absolute()),
            fix=did_you_mean(name, runs) if runs else error.fix,
        ) from error
    records = [(path.parent.name, path.resolve()) for path in Path("logs").glob(f"{folder.name}-run-*/latest")]
    return [_run(own, record, metric) for own, record in sorted(records)]


def _run(name: str, record: Path, metric: str) -> Trial:
    curve, train = read_curves(record, metric)
    return Trial("", 0, name, "", curve=curve, train_curve=train, record=record, metrics=_last(record))


def _last(record: Path) -> dict[str, float]:
    """The metrics of the first whole line: which there are."""
    values = next(json_lines(record / METRICS), {})
    return {name: value for name, value in values.items() if finite(value) is not None}


def _page(runs: Sequence[Trial], names: Sequence[str], metric: str, *, log_scale: bool, maximize: bool) -> str:
    shown = list(runs[:MOST])
    sign = -1 if maximize else 1
    with_training = metric == "val_loss" and len(shown) <= WITH_TRAINING
    lines = []
    for place, run in enumerate(shown):
        kind = f"s{place}" if place < SERIES else "rest"
        lines.append(Line(f"r{place}", run.name, run.curve, kind, title=_said(run, metric, sign)))
        if with_training:
            lines.append(Line(f"r{place}", f"{run.name}, training", run.train_curve, kind, is_dashed=True))
    title = f"Learning curves of {', '.join(names)}"
    drawn = learning_curves(
        lines,
        title=f"{metric} after each epoch of {len(shown)} runs",
        metric=metric,
        maximize=maximize,
        log=log_scale,
        right=150,
    )
    page = Page(title)
    more = f" The best {len(shown)} of {len(runs)} are drawn." if len(runs) > len(shown) else ""
    dashed = " Dashed is the training loss." if with_training else ""
    several = "runs" if len(runs) != 1 else "run"
    page.header(
        f"<h1>{escape(', '.join(names))}</h1></div><p class='about'>{escape(metric)} after each epoch of {len(runs)} "
        f"{several}, on the validation split.{dashed}{more} {drawn.note}</p>"
    )
    page.chart(
        "curves",
        drawn.scales,
        metric,
        [(f"r{place}", run.name, run.curve, run.train_curve) for place, run in enumerate(shown)],
    )
    chart = (
        '<figure class="curves" data-chart="curves"><div class="plot" tabindex="0" role="group" '
        f'aria-label="Learning curves; the arrow keys walk through runs and epochs">{drawn.svg}</div>'
        f"{READOUT}</figure>"
    )
    rows = [replace(run, number=place) for place, run in enumerate(shown)]
    table = _table(rows, metric, sign)
    page.add("curves", "Curves", section("curves", "Curves", chart))
    page.add(
        "runs", "Runs", section("runs", "Runs", table + curve_values(rows[:10], metric, name=lambda run: run.name))
    )
    page.footer(f"sequifier visualize-training {','.join(names)}{' --log-scale' if log_scale else ''}")
    return page.html()


def _table(runs: Sequence[Trial], metric: str, sign: int) -> str:
    body = []
    for place, run in enumerate(runs):
        epoch, best = _best(run, sign)
        last = next((value for value in reversed(run.curve) if value is not None), None)
        train = next((value for value in reversed(run.train_curve) if value is not None), None)
        kind = f"k-s{place}" if place < SERIES else ""
        numbers = "".join(
            f'<td class="n" data-v="{"" if value is None else repr(value)}">{number(value)}</td>'
            for value in (best, epoch, last, train, len(run.curve))
        )
        body.append(
            f'<tr data-key="r{place}"><th scope="row"><span class="swatch {kind}"></span>{escape(run.name)}</th>'
            f"{numbers}</tr>"
        )
    heads = "".join(
        f'<th scope="col" class="n">{escape(head)}</th>'
        for head in (f"best {metric}", "in epoch", "last", "last training loss", "epochs")
    )
    return (
        "<div class='scroll tall' tabindex='0' role='region' aria-label='Runs'><table class='sortable'><thead><tr>"
        f"<th scope='col'>run</th>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _best(run: Trial, sign: int) -> tuple[int, float]:
    value, epoch = min((sign * value, epoch) for epoch, value in enumerate(run.curve, 1) if value is not None)
    return epoch, sign * value


def _said(run: Trial, metric: str, sign: int) -> str:
    epoch, value = _best(run, sign)
    return f"{run.name}: best {metric} {number(value)} in epoch {epoch}"
