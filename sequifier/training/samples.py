"""A sample that the model in training generates, as text for the log."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import is_known
from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.transforms import LOWEST
from sequifier.config.base import Category, category_text
from sequifier.config.preprocess_fields import CHAR
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, Problem, did_you_mean
from sequifier.generation.generate import Generated, Histories, generate
from sequifier.generation.module import ModulePredictor, probabilities_and_values
from sequifier.generation.samplers import Rules
from sequifier.model.transformer import Transformer

Prompt = str | Sequence[Any] | None
Event = Mapping[str, Any]  # column -> label or value in original units


def sample_text(
    model: Transformer,
    metadata: Metadata,
    config: TrainConfig,
    *,
    prompt: Prompt,
    temperature: float,
    max_length: int,
    seed: int,
) -> str:
    """Return the prompt and its continuation by the model; the model and torch's random generator stay unchanged.

    Args:
        model: its mode is restored.
        metadata: vocabularies and statistics.
        config: resolved; of the same run as the model.
        prompt: see `check_sampling`; None begins with one unknown event, which is not part of the text.
        temperature: of sampling; 0 takes the most likely class.
        max_length: events to generate, unless an END comes before.
        seed: of sampling.

    Returns:
        The joined characters of a text (`read_format: text`); the labels or numbers of one target, separated by spaces;
        events of several targets as `label,number`, separated by spaces.

    Raises:
        ConfigError: as `check_sampling`.
    """
    check_sampling(metadata, config, prompt)
    inputs = config.input_columns or metadata.input_columns
    events = _events(metadata, config, prompt)
    kinds = {target: metadata.kind(target) for target in config.target_columns}
    scales = {target: metadata.scale(target) for target, kind in kinds.items() if kind == "real"}
    rules, ends = Rules(temperature=temperature), metadata.end_ids
    predictor = ModulePredictor(
        model,
        categorical=[column for column in inputs if metadata.kind(column) == "categorical"],
        real=[column for column in inputs if metadata.kind(column) == "real"],
        prediction_length=1,
        outputs=probabilities_and_values(model, {target: target for target in kinds}, scales),
    )
    was_training = model.training
    model.eval()
    try:
        generated, _, _ = generate(
            predictor,
            [
                Generated(target, target, rules, end=ends.get(target))
                if kind == "categorical"
                else Generated(target, target, None, lowest=scales[target].lowest)
                for target, kind in kinds.items()
            ],
            _history(metadata, inputs, events, model.seq_length),
            np.array([max_length]),
            seed=seed,
            batch_size=1,
        )
    finally:
        model.train(was_training)
    decoded = {target: _decoded(metadata, target, values) for target, values in generated.items()}
    new = [
        {target: value for target, value in zip(decoded, values, strict=True) if value is not None}
        for values in zip(*decoded.values(), strict=True)
    ]
    return _as_text(metadata, config, [*events, *new])


def _history(metadata: Metadata, inputs: Sequence[str], events: Sequence[Event], seq_length: int) -> Histories:
    """Encode the last `seq_length` events of the prompt, aligned on the last one."""
    encoded = {column: _encoded(metadata, column, events)[-seq_length:] for column in inputs}
    n_events = len(next(iter(encoded.values())))
    padded = {column: np.pad(values, (seq_length - n_events, 0))[None] for column, values in encoded.items()}
    # columns: (1, seq_length)
    return Histories(padded, np.array([n_events]), np.zeros(1, np.int64), metadata.sequence_columns)


def check_sampling(metadata: Metadata, config: TrainConfig, prompt: Prompt) -> None:
    """Check that the model can continue this prompt.

    Args:
        metadata: vocabularies.
        config: resolved.
        prompt: a string (its characters where the data is text, else labels or numbers separated by spaces, for a model
            with one input column), or a list of labels or numbers (one column), or a list of maps with a label or
            number for each input column.

    Raises:
        ConfigError: an input column is not a target, the prompt has another form, or the data lacks one of its labels.
    """
    inputs = config.input_columns or metadata.input_columns
    key = "training_spec.sampling_prompt"
    problems = [
        Problem(
            "training_spec.sampling_interval_steps",
            f"`{target}` belongs to the whole sequence: it is not part of generated events",
            fix="leave sampling_interval_steps out, or the target",
        )
        for target in config.target_positions
    ]
    problems += [
        Problem(
            "training_spec.sampling_interval_steps",
            f"input column `{column}` is not a target, so generated events cannot be continued",
            fix=f"add `{column}` to target_columns, or leave it out of input_columns",
        )
        for column in inputs
        if column not in (*config.target_columns, *metadata.sequence_columns)
    ]
    try:
        events = _events(metadata, config, prompt)
    except ValueError as error:
        raise ConfigError([*problems, Problem(key, str(error))]) from error
    for column in inputs:
        values = {repr(event[column]): event[column] for event in events}.values()  # each once
        if metadata.kind(column) == "real":
            wrong = [value for value in values if not _is_number(value)]
            problems += [Problem(key, f"{value!r} is not a number (column `{column}` is real)") for value in wrong]
            lowest = LOWEST[transform := metadata.scale(column).transform]
            problems += [
                Problem(key, f"{value!r} is below {lowest:g}, the lowest value of {transform} (column `{column}`)")
                for value in values
                if _is_number(value) and float(value) < lowest
            ]
        else:
            known = dict.fromkeys(map(_key, metadata.raw_categories(column)))
            unknown = [value for value in values if _key(value) not in known]
            problems += [
                Problem(key, f"column `{column}` has no category {value!r}", fix=did_you_mean(str(value), known))
                for value in unknown
            ]
    if problems:
        raise ConfigError(problems)


def _events(metadata: Metadata, config: TrainConfig, prompt: Prompt) -> list[Event]:
    """Return the events of a prompt.

    Raises:
        ValueError: it has another form.
    """
    inputs = config.input_columns or metadata.input_columns
    if not prompt:
        return []
    if isinstance(prompt, str):
        if len(inputs) > 1:
            raise ValueError(f"a string cannot prompt {len(inputs)} input columns; give a list of maps")
        prompt = list(prompt) if _is_text(metadata, inputs) else prompt.split()
    events = []
    for entry in prompt:
        event = entry if isinstance(entry, Mapping) else {inputs[0]: entry}
        if set(event) != set(inputs):
            raise ValueError(f"{entry!r} does not have one entry for each of {', '.join(inputs)}")
        events.append(event)
    return events


def _encoded(metadata: Metadata, column: str, events: Sequence[Event]) -> NDArray[Any]:
    """Return ids or standardised values, (n,); one unknown event (id 0, or the mean) if there are none."""
    if metadata.kind(column) == "categorical":
        ids = metadata.id_maps[column]
        return np.array([ids[_key(event[column])] for event in events] or [0], dtype=np.int64)
    scale = metadata.scale(column)
    values = [scale.standardised(scale.unit * float(event[column])) for event in events]
    return np.array(values or [0], dtype=np.float32)


def _decoded(metadata: Metadata, target: str, values: NDArray[Any]) -> list[Category | float | None]:
    """Return labels, or values in original units; None at an END, where there is none."""
    known = is_known(values).tolist()
    if metadata.kind(target) == "categorical":
        categories = metadata.categories(target)
        return [categories[id - 1] if here else None for id, here in zip(values.tolist(), known, strict=True)]
    original = metadata.scale(target).original(values.astype(np.float64)).tolist()
    return [value if here else None for value, here in zip(original, known, strict=True)]


def _as_text(metadata: Metadata, config: TrainConfig, events: Sequence[Event]) -> str:
    targets = config.target_columns
    is_text = _is_text(metadata, targets)
    # A prompt has input columns only: other targets are unknown there.
    shown = [",".join(_shown(event[target]) for target in targets if target in event) for event in events]
    return ("" if is_text else " ").join(shown)


def _is_text(metadata: Metadata, columns: Sequence[str]) -> bool:
    """Return whether the data is a text: one column of characters."""
    return list(columns) == [CHAR] and all(len(category) == 1 for category in metadata.id_maps.get(CHAR, ["no"]))


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False


def _key(value: Any) -> str:
    return category_text(value)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _key(value)
