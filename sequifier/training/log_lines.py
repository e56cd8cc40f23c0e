"""The log lines of a training."""

from collections.abc import Mapping
from typing import Any


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
    """The validation loss, with the metric that ranks beside it; where that is the loss, with the accuracies."""
    beside = f"{metric} {digits(metrics[metric])}"
    if metric == "val_loss" or metric.endswith("_accuracy"):
        found = {key: value for key, value in metrics.items() if key.startswith("val_") and key.endswith("_accuracy")}
        beside = "  ".join(f"accuracy of {key[4:-9]} {100 * value:.1f} %" for key, value in found.items())
    return "  ".join(filter(None, [f"validation loss {digits(metrics['val_loss'])}", beside]))


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
