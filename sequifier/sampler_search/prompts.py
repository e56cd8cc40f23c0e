"""Prompts: places in held-out sequences with their true continuations, or texts without.

Shapes: S sequences, P prompts, L seq_length, H events that are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.model_file import ModelFile
from sequifier.config.base import Category, category_text
from sequifier.config.preprocess_fields import CHAR
from sequifier.errors import ConfigError, Problem, did_you_mean
from sequifier.search.strategies import permuted

Array = NDArray[Any]
Rows = NDArray[np.int64]

SHORTEST = 4
"""Smallest horizon to which the default is shortened so that there are n_prompts places."""


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        text: of the history.
        truth_text: of the true continuation; None where it is not known.
        truth: categorical target -> true tokens; id 0 is a category that the model does not know.
        values: real target -> true values, in standard deviations from the mean.
    """

    text: str
    truth_text: str | None = None
    truth: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    values: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Generation:
    """One continuation.

    Attributes:
        prompt: number of the prompt.
        sample: number of the continuation of this prompt.
        text: its text.
        tokens: categorical target -> tokens.
        values: real target -> values, in standard deviations from the mean.
        labels: target -> values in the units of the table, for judge scripts.
    """

    prompt: int
    sample: int
    text: str
    tokens: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    values: Mapping[str, Array] = field(default_factory=dict)
    labels: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Places:
    """Cuts of sequences into history (rows `first` to cut - 1) and true continuation (cut to end - 1), (P,) each."""

    sequence: Rows
    first: Rows
    cut: Rows
    end: Rows


def own_lengths(offsets: Rows, n_context: Rows) -> Rows:
    """Return the number of events per sequence that can be in a true continuation, (S,): its own but the first."""
    own: Rows = offsets[1:] - np.maximum(offsets[:-1] + n_context, offsets[:-1] + 1)
    return np.maximum(own, 0)


def fitting_horizon(offsets: Rows, n_context: Rows, *, wanted: int, n_prompts: int) -> int:
    """Return the largest horizon up to `wanted` with `n_prompts` places; at least `SHORTEST` where possible.

    Returns:
        The horizon; 0 when no sequence has two events.
    """
    own = own_lengths(offsets, n_context)
    longest = int(own.max(initial=0))
    least = min(SHORTEST, longest, wanted)
    for horizon in range(min(wanted, longest), least, -1):
        if int((own // horizon).sum()) >= n_prompts:
            return horizon
    return least


def choose_places(
    offsets: Rows, n_context: Rows, *, prompt_length: int, horizon: int, n_prompts: int, seed: int
) -> Places:
    """Choose places with a whole horizon, without replacement; no event is in two true continuations.

    The first places do not depend on `n_prompts`.

    Args:
        offsets: (S + 1,) rows at which sequences begin and end.
        n_context: (S,) leading rows of earlier splits: history, never truth.
        prompt_length: events of history; fewer where the sequence begins later.
        horizon: H.
        n_prompts: largest number of places.
        seed: of the choice.
    """
    begin, end = offsets[:-1], offsets[1:]
    earliest = np.maximum(begin + n_context, begin + 1)
    # A whole prompt where that leaves a place.
    start = np.maximum(earliest, np.minimum(begin + prompt_length, end - horizon))
    counts = np.maximum(end - start, 0) // horizon
    total = np.cumsum(counts)
    size = int(total[-1]) if len(total) else 0
    numbers = np.array([permuted(i, size, key=f"{seed}:prompts") for i in range(min(n_prompts, size))], np.int64)
    sequence = np.searchsorted(total, numbers, side="right")
    cut = start[sequence] + (numbers - total[sequence] + counts[sequence]) * horizon
    return Places(sequence, np.maximum(cut - prompt_length, begin[sequence]), cut, cut + horizon)


def places_of(
    ids: Sequence[str | int],
    sequence_ids: Array,
    offsets: Rows,
    n_context: Rows,
    *,
    prompt_length: int,
    horizon: int,
) -> Places:
    """Return one place per named sequence, with as many true events as it has, up to the horizon.

    Raises:
        ConfigError: a sequence does not exist, or is too short.
    """
    known = {str(name): index for index, name in enumerate(sequence_ids.tolist())}
    problems, rows = [], []
    for index, name in enumerate(ids):
        key = f"test_prompts[{index}]"
        if str(name) not in known:
            problems.append(Problem(key, f"the data has no sequence {name!r}", fix=did_you_mean(str(name), known)))
            continue
        sequence = known[str(name)]
        begin, end = int(offsets[sequence]), int(offsets[sequence + 1])
        earliest = max(begin + int(n_context[sequence]), begin + 1)
        if earliest >= end:
            problems.append(Problem(key, f"sequence {name!r} has no event of its own after its first event"))
            continue
        cut = max(earliest, min(begin + prompt_length, end - horizon))
        rows.append((sequence, max(cut - prompt_length, begin), cut, min(cut + horizon, end)))
    if problems:
        raise ConfigError(problems)
    columns = np.array(rows, np.int64).T
    return Places(*columns)


def is_text(file: ModelFile) -> bool:
    """Whether a model reads and writes characters."""
    return list(file.architecture.input_columns) == [CHAR] and all(
        isinstance(label, str) and len(label) == 1 for label in file.vocabularies[CHAR]
    )


def encode_text(text: str, file: ModelFile, key: str) -> NDArray[np.int64]:
    """Encode a text as ids of the model's one input column: its characters, or labels between spaces.

    Args:
        text: of a prompt.
        file: the model.
        key: of the prompt, for errors.

    Raises:
        ConfigError: the model reads several columns, or does not know a label.
    """
    inputs = file.architecture.input_columns
    if len(inputs) > 1 or file.architecture.real:
        what = f"the model reads {', '.join(inputs)}: a text cannot be its prompt"
        raise ConfigError([Problem(key, what, fix="name sequences of the data, or leave test_prompts out")])
    ids = {category_text(label): id for id, label in enumerate(file.raw_vocabulary(inputs[0]), start=1)}
    labels = list(text) if is_text(file) else text.split()
    unknown = list(dict.fromkeys(label for label in labels if label not in ids))
    if unknown:
        what = f"the model does not know {', '.join(map(repr, unknown[:5]))} of column `{inputs[0]}`"
        raise ConfigError([Problem(key, what, fix=did_you_mean(unknown[0], ids))])
    if not labels:
        raise ConfigError([Problem(key, "the prompt is empty")])
    return np.array([ids[label] for label in labels], np.int64)


def as_text(labels: Mapping[str, Sequence[Category | float | None]], *, characters: bool) -> str:
    """Return events as text: characters joined, other events separated by spaces and their columns by commas."""
    events = zip(*labels.values(), strict=True)
    return ("" if characters else " ").join(",".join(_shown(value) for value in event) for event in events)


def _shown(value: Category | float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.4g}" if isinstance(value, float) else category_text(value)
