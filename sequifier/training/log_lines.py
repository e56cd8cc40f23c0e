"""The log lines of a training."""

from collections.abc import Mapping
from typing import Any

_SHOWN = ("accuracy", "crps", "mae")
"""The metric that is shown of a target: the first of these that it has."""

_WIDTH = 100
_GAP = "  "


def digits(loss: float) -> str:
    """A loss with five significant digits, as log lines show it; files have all of them."""
    return f"{loss:#.5g}".removesuffix(".")


def epoch_lines(entry: Mapping[str, Any], metric: str) -> list[str]:
    """The results of an epoch.

    Args:
        entry: of the history, with `epochs` and `is_best`.
        metric: the metric that ranks.
    """
    spent = entry["seconds"]["training"] + entry["seconds"]["validation"]
    return _results(f"epoch {entry['epoch']}/{entry['epochs']}", entry, metric, [f"{spent:.1f} s"])


def evaluation_lines(entry: Mapping[str, Any], metric: str) -> list[str]:
    """The results of an evaluation within an epoch, see `epoch_lines`."""
    return _results(f"epoch {entry['epoch']:.2f}/{entry['epochs']} step {entry['step']}", entry, metric, [])


def baseline_lines(name: str, scores: Mapping[str, Any], metric: str) -> list[str]:
    """The results of the best baseline."""
    return _fitted([f"best baseline: {name}", _loss(scores)], _metrics(scores, metric), [])


def _results(when: str, entry: Mapping[str, Any], metric: str, seconds: list[str]) -> list[str]:
    before = [when, f"train loss {digits(entry['train_loss'])}", _loss(entry)]
    return _fitted(before, _metrics(entry, metric), [*seconds, *(["best so far"] if entry["is_best"] else [])])


def _fitted(before: list[str], metrics: list[str], after: list[str]) -> list[str]:
    """One line, or where it would be too long the metrics in lines of their own below it."""
    line = _GAP.join([*before, *metrics, *after])
    if len(line) <= _WIDTH or not metrics:
        return [line]
    lines = [_GAP.join([*before, *after])]
    below = ""
    for part in metrics:
        if below and len(below) + len(_GAP + part) > _WIDTH:
            lines.append(below)
            below = ""
        below += _GAP + part
    return [*lines, below]


def _loss(metrics: Mapping[str, Any]) -> str:
    return f"validation loss {digits(metrics['val_loss'])}"


def _metrics(metrics: Mapping[str, Any], metric: str) -> list[str]:
    """The metric that ranks, and one metric of each other target."""
    parts, shown = [], _shown_kinds(metrics)
    if metric != "val_loss" and metric not in {f"val_{target}_{kind}" for target, kind in shown.items()}:
        parts.append(f"{metric} {digits(metrics[metric])}")
        shown.pop(max((target for target in shown if metric.startswith(f"val_{target}_")), key=len, default=""), None)
    for target, kind in shown.items():
        value = metrics[f"val_{target}_{kind}"]
        parts.append(f"{kind} of {target} " + (f"{100 * value:.1f} %" if kind == "accuracy" else digits(value)))
    return parts


def _shown_kinds(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Target -> the kind of its metric that is shown."""
    found: dict[str, str] = {}
    for name in metrics:
        target, _, kind = name.removeprefix("val_").rpartition("_")
        if kind in _SHOWN and name.startswith("val_"):
            found[target] = min(found.get(target, kind), kind, key=_SHOWN.index)
    return found


def step_line(fields: Mapping[str, Any]) -> str:
    """The mean loss of an epoch after one of its steps."""
    return (
        f"epoch {fields['epoch']} step {fields['step']}/{fields['steps']}  train loss {digits(fields['train_loss'])}  "
        f"learning rate {fields['learning_rate']:.3g}  {fields['windows_per_second']:.0f} windows/s"
    )


def share_lines(shares: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A line for each target: the classes predicted most often, with the fraction of predictions.

    Args:
        shares: target -> class -> fraction.
    """
    return [
        f"  {target} is predicted as "
        + ", ".join(f"{_class(name)} {100 * share:.1f} %" for name, share in found.items())
        for target, found in shares.items()
    ]


def with_class_names(entry: Mapping[str, Any], id_maps: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """An entry of the history with the names of classes instead of their ids."""
    if "class_shares" not in entry:
        return dict(entry)
    names = {target: list(id_maps[target]) for target in entry["class_shares"]}
    shares = {
        target: {names[target][int(class_id) - 1]: share for class_id, share in found}
        for target, found in entry["class_shares"].items()
    }
    return {**entry, "class_shares": shares}


def _class(name: str) -> str:
    """A class; white space and what cannot be printed in quotes."""
    return name if name.isprintable() and name == name.strip() != "" else repr(name)
