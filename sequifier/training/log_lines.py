"""The log lines of a training."""

from collections.abc import Mapping
from typing import Any

_SHOWN = ("accuracy", "crps", "mae")
"""The metric that is shown of a target: the first of these that it has."""


def digits(loss: float) -> str:
    """A loss with five significant digits, as log lines show it; files have all of them."""
    return f"{loss:#.5g}".removesuffix(".")


def epoch_line(entry: Mapping[str, Any], metric: str) -> str:
    """The results of an epoch.

    Args:
        entry: of the history, with `epochs` and `is_best`.
        metric: the metric that ranks.
    """
    spent = entry["seconds"]["training"] + entry["seconds"]["validation"]
    return f"epoch {entry['epoch']}/{entry['epochs']}  {_results(entry, metric)}  {spent:.1f} s{_best(entry)}"


def evaluation_line(entry: Mapping[str, Any], metric: str) -> str:
    """The results of an evaluation within an epoch, see `epoch_line`."""
    when = f"epoch {entry['epoch']:.2f}/{entry['epochs']} step {entry['step']}"
    return f"{when}  {_results(entry, metric)}{_best(entry)}"


def validation_text(metrics: Mapping[str, Any], metric: str) -> str:
    """The validation loss, the metric that ranks, and one metric of each other target."""
    parts, shown = [f"validation loss {digits(metrics['val_loss'])}"], _shown_kinds(metrics)
    if metric != "val_loss" and metric not in {f"val_{target}_{kind}" for target, kind in shown.items()}:
        parts.append(f"{metric} {digits(metrics[metric])}")
        shown.pop(max((target for target in shown if metric.startswith(f"val_{target}_")), key=len, default=""), None)
    for target, kind in shown.items():
        value = metrics[f"val_{target}_{kind}"]
        parts.append(f"{kind} of {target} " + (f"{100 * value:.1f} %" if kind == "accuracy" else digits(value)))
    return "  ".join(parts)


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
        f"{fields['windows_per_second']:.0f} windows/s"
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


def _results(entry: Mapping[str, Any], metric: str) -> str:
    validation = validation_text(entry, metric)
    return f"train loss {digits(entry['train_loss'])}  {validation}  learning rate {entry['learning_rate']:.3g}"


def _best(entry: Mapping[str, Any]) -> str:
    return "  best so far" if entry["is_best"] else ""
