"""Targets of many classes: the fields with which they train fast, and from little data."""

from collections.abc import Sequence

from sequifier.config.dump import inline
from sequifier.project.column_choice import Choice
from sequifier.project.split_choice import CATALOGUE

SAMPLED_FROM = 8_192
"""Number of classes from which the loss of a step is computed over a sample of them."""

N_SAMPLED = 2_000


def tied(targets: Sequence[Choice], inputs: Sequence[str]) -> list[str]:
    """Return the target whose output weights are its input vectors: then a rare class has one vector to learn.

    Args:
        targets: the use of each target.
        inputs: the columns that models read. Of several, a joint layer would be needed.
    """
    return [c.column for c in targets if [c.column] == list(inputs) and c.n_categories >= CATALOGUE]


def sampled(targets: Sequence[Choice]) -> list[str]:
    """Return the targets whose loss takes a sample of the classes."""
    return [c.column for c in targets if c.use == "categorical" and c.n_categories >= SAMPLED_FROM]


def classes_of_loss(targets: Sequence[Choice]) -> int:
    """Return the number of model outputs in the loss of a step, over all targets."""
    of_sample = sampled(targets)
    return sum(N_SAMPLED if c.column in of_sample else c.n_categories for c in targets)


def softmax_text(targets: Sequence[Choice]) -> str:
    """Return the entry of the section about training; empty where there is none."""
    names = sampled(targets)
    if not names:
        return ""
    asked = inline({name: {"sampled": N_SAMPLED, "by": "popularity"} for name in names})
    why = f"A step compares the true class with a sample of {N_SAMPLED:,} others; validation compares it with all."
    return f"  # {why}\n  softmax: {asked}\n"


def tied_text(names: Sequence[str]) -> str:
    """Return the entry of the section about the model in a search; empty where there is none."""
    return f"  # One table of vectors for input and output.\n  tie_weights: {inline(list(names))}\n" if names else ""
