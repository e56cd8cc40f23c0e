"""What a training says, in lines."""

from collections.abc import Mapping
from typing import Any


def epoch_line(entry: Mapping[str, Any]) -> str:
    """The results of an epoch."""
    spent = entry["seconds"]["training"] + entry["seconds"]["validation"]
    return f"epoch {entry['epoch']}/{entry['epochs']}  {_results(entry)}  {spent:.1f} s{_best(entry)}"


def evaluation_line(entry: Mapping[str, Any]) -> str:
    """The results of an evaluation within an epoch."""
    return f"epoch {entry['epoch']:.2f}/{entry['epochs']} step {entry['step']}  {_results(entry)}{_best(entry)}"


def step_line(fields: Mapping[str, Any]) -> str:
    """The state of the training after a step."""
    return (
        f"epoch {fields['epoch']} step {fields['step']}/{fields['steps']}  train loss {fields['train_loss']:.4f}  "
        f"{fields['windows_per_second']:.0f} windows/s"
    )


def share_lines(shares: Mapping[str, Mapping[str, float]]) -> list[str]:
    """For each target the classes predicted most often: target -> class -> share."""
    return [
        f"  {target} is predicted as "
        + ", ".join(f"{_class(name)} {100 * share:.1f} %" for name, share in found.items())
        for target, found in shares.items()
    ]


def with_class_names(entry: Mapping[str, Any], id_maps: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """An entry of the history as it is shown: with the names of classes instead of their ids."""
    if "class_shares" not in entry:
        return dict(entry)
    names = {target: list(id_maps[target]) for target in entry["class_shares"]}
    shares = {
        target: {names[target][int(class_id) - 1]: share for class_id, share in found}
        for target, found in entry["class_shares"].items()
    }
    return {**entry, "class_shares": shares}


def accuracies(metrics: Mapping[str, Any]) -> str:
    """The accuracy of each categorical target, in few characters."""
    found = {key: value for key, value in metrics.items() if key.startswith("val_") and key.endswith("_accuracy")}
    return "".join(f"  {key[4:-9]} {100 * value:.1f} % right" for key, value in found.items())


def printable(text: str) -> str:
    """A text with what a terminal would take as a command written out: only line breaks and tabs are left."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def _class(name: str) -> str:
    """A class, in quotes where it could not be seen."""
    return name if name.isprintable() and name == name.strip() != "" else repr(name)


def _results(entry: Mapping[str, Any]) -> str:
    return (
        f"train loss {entry['train_loss']:.4f}  validation loss {entry['val_loss']:.4f}{accuracies(entry)}  "
        f"learning rate {entry['learning_rate']:.3g}"
    )


def _best(entry: Mapping[str, Any]) -> str:
    return "  best so far" if entry["is_best"] else ""
