"""Learning curves of any runs, or of whole searches, on one page, with some of their forecasts."""

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from sequifier.artifacts.atomic import write_text
from sequifier.artifacts.forecasts import Forecast, read_forecasts
from sequifier.artifacts.read_file import json_lines
from sequifier.config.catalogue.metric_names import higher_is_better
from sequifier.errors import RunError, did_you_mean
from sequifier.experiment.record import METRICS
from sequifier.printable import command_line
from sequifier.report.numbers import number
from sequifier.report.page.charts import SERIES, Line, learning_curves
from sequifier.report.page.forecast_charts import forecast_section
from sequifier.report.page.frame import DrawnRun, fill, readable, section
from sequifier.report.page.tables import curve_values
from sequifier.results.find import find_search
from sequifier.results.training import TRAINING_LOSS, read_curves
from sequifier.results.trials import Trial, finite

FOLDER = Path("outputs")
MOST = 300
WITH_TRAINING = 8
"""Runs whose training losses are drawn too; those of more runs would hide the curves."""
WITH_FORECASTS = 4
"""Runs whose forecasts are drawn."""


def visualize(
    names: Sequence[str],
    *,
    metric: str = "val_loss",
    log_scale: bool = False,
    forecasts: bool = False,
    path: Path | None = None,
) -> Path:
    """Draw learning curves; returns the page's path.

    Args:
        names: runs below logs/, paths of their records, or searches, which stand for all their runs.
        metric: of metrics.jsonl.
        log_scale: use a logarithmic scale.
        forecasts: draw forecasts of the best runs too.
        path: of the page; None: outputs/curves-[names].html.

    Raises:
        RunError: a run does not exist, no run has the metric, or forecasts where they are asked for, or the page cannot
            be written.
        DataError: the forecasts of a run are damaged.
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
    maximize = higher_is_better(metric)
    sign = -1 if maximize else 1
    known.sort(key=lambda run: min(sign * value for value in run.curve if value is not None))
    drawn = _forecasts(known, names) if forecasts else []
    path = path or FOLDER / f"curves-{'-'.join(Path(name).name for name in names)[:80]}.html"
    write_text(path, _page(known, names, metric, drawn, log_scale=log_scale, maximize=maximize))
    return path


def _forecasts(runs: Sequence[Trial], names: Sequence[str]) -> list[tuple[str, list[Forecast]]]:
    """Return the forecasts of the best runs that have some: (name, forecasts)."""
    found = ((run.name, read_forecasts(run.record)) for run in runs if run.record is not None)
    drawn = list(islice(((name, forecasts) for name, forecasts in found if forecasts), WITH_FORECASTS))
    if not drawn:
        raise RunError(
            "no run has forecasts to draw",
            where=", ".join(names),
            fix="train with prediction_horizon above 1, or leave out --forecasts",
        )
    return drawn


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
    logs, of_search = folder.parent, re.compile(re.escape(folder.name) + r"-run-(\d+)")  # not NAME-run-3-verify
    numbers = sorted(int(match[1]) for path in logs.iterdir() if (match := of_search.fullmatch(path.name)))
    records = [logs / f"{folder.name}-run-{number}" / "latest" for number in numbers]
    return [_run(record.parent.name, record.resolve(), metric) for record in records if record.exists()]


def _run(name: str, record: Path, metric: str) -> Trial:
    curves = read_curves(record, metric)
    curve, train = curves.get(metric, ()), curves.get(TRAINING_LOSS, ())
    return Trial("", 0, name, "", curve=curve, train_curve=train, record=record, metrics=_first(record))


def _first(record: Path) -> dict[str, float]:
    """The metrics of the first whole line: which there are."""
    values = next(json_lines(record / METRICS), {})
    return {name: value for name, value in values.items() if finite(value) is not None}


def _page(
    runs: Sequence[Trial],
    names: Sequence[str],
    metric: str,
    forecasts: Sequence[tuple[str, Sequence[Forecast]]],
    *,
    log_scale: bool,
    maximize: bool,
) -> str:
    shown = list(runs[:MOST])
    sign = -1 if maximize else 1
    has_training = metric == "val_loss" and len(shown) <= WITH_TRAINING
    lines, rows = [], []
    for place, run in enumerate(shown):
        key, colour = f"r{place}", f"s{place}" if place < SERIES else ""
        epoch, best = _best(run, sign)
        hint = f"{run.name}: best {metric} {number(best)} in epoch {epoch}"
        lines.append(Line(key, run.name, run.curve, colour or "rest", hint=hint))
        if has_training:
            lines.append(Line(key, f"{run.name}, training", run.train_curve, colour, is_dashed=True))
        numbers = (best, epoch, _last(run.curve), _last(run.train_curve), len(run.curve))
        rows.append({"key": key, "colour": colour, "name": run.name, "numbers": numbers})
    chart = learning_curves(
        lines,
        title=f"{metric} after each epoch of {len(shown)} runs",
        metric=metric,
        maximize=maximize,
        log=log_scale,
        right=150,
    )
    drawn = [DrawnRun(f"r{place}", run.name, run.curve, run.train_curve) for place, run in enumerate(shown)]
    values = curve_values([(run.name, run) for run in shown[:10]])
    return fill(
        "learning_curves.html",
        title=f"Learning curves of {', '.join(names)}",
        sections=[
            *section("curves", "Curves", "Curves", "curve_chart.html", chart=chart),
            *section("runs", "Runs", "Runs", "curve_table.html", rows=rows, values=values, metric=metric),
            *forecast_section(forecasts),
        ],
        charts={"curves": readable(chart, metric, drawn)},
        command=command_line(
            "visualize-training",
            ",".join(names),
            *["--log-scale"] * log_scale,
            *["--forecasts"] * bool(forecasts),
        ),
        names=names,
        metric=metric,
        n_runs=len(runs),
        n_shown=len(shown),
        has_training=has_training,
        note=chart.note,
    )


def _best(run: Trial, sign: int) -> tuple[int, float]:
    value, epoch = min((sign * value, epoch) for epoch, value in enumerate(run.curve, 1) if value is not None)
    return epoch, sign * value


def _last(curve: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(curve) if value is not None), None)
