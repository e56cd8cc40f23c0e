"""A generated sample of the model in training, as text for the log."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.metadata import Category, Metadata, category_text
from sequifier.config.preprocess import CHAR
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
    """The prompt and what the model generates after it. The model and torch's random generator stay as they were.

    Args:
        model: is put into eval mode meanwhile.
        metadata: vocabularies and statistics.
        config: resolved; its columns are those of the model.
        prompt: see `check_sampling`; None begins with one unknown event, which is not shown.
        temperature: of the draws; 0 takes the most likely class.
        max_length: events to generate.
        seed: of the draws.

    Returns:
        Characters of a text (`read_format: text`) joined; the labels or numbers of one target with spaces between them;
        events of several targets as `label,number` with spaces between them.

    Raises:
        ConfigError: as `check_sampling`.
    """
    check_sampling(metadata, config, prompt)
    inputs = config.input_columns or metadata.columns
    events = _events(metadata, config, prompt)
    encoded = {column: _encoded(metadata, column, events)[-model.seq_length :] for column in inputs}
    n_events = len(next(iter(encoded.values())))
    kinds = {target: metadata.kind(target) for target in config.target_columns}
    rules = Rules(temperature=temperature)
    was_training = model.training
    model.eval()
    try:
        generated, _ = generate(
            ModulePredictor(
                model,
                categorical=[column for column in inputs if metadata.kind(column) == "categorical"],
                real=[column for column in inputs if metadata.kind(column) == "real"],
                prediction_length=1,
                outputs=probabilities_and_values(model, {target: target for target in kinds}),
            ),
            [Generated(target, target, rules if kind == "categorical" else None) for target, kind in kinds.items()],
            Histories(
                {
                    column: np.pad(values, (model.seq_length - n_events, 0))[None]  # (1, seq_length)
                    for column, values in encoded.items()
                },
                np.array([n_events]),
                np.zeros(1, np.int64),
            ),
            np.array([max_length]),
            seed=seed,
            batch_size=1,
        )
    finally:
        model.train(was_training)
    decoded = {target: _decoded(metadata, target, values) for target, values in generated.items()}
    new = [dict(zip(decoded, values, strict=True)) for values in zip(*decoded.values(), strict=True)]
    return _as_text(metadata, config, [*events, *new])


def check_sampling(metadata: Metadata, config: TrainConfig, prompt: Prompt) -> None:
    """Whether the model can generate, beginning with this prompt.

    Args:
        metadata: vocabularies.
        config: resolved.
        prompt: a text (of its characters where the data is text, else of labels or numbers between spaces, for a model
            that reads one column), or a list of labels or numbers (one column), or of maps with a label or number for
            each input column.

    Raises:
        ConfigError: an input is not predicted, the prompt has another form, or a label that the data does not have.
    """
    inputs = config.input_columns or metadata.columns
    key = "training_spec.sampling_prompt"
    problems = [
        Problem(
            "training_spec.sampling_interval_steps",
            f"input column `{column}` is no target, so a sample cannot go on from what was generated",
            fix=f"add `{column}` to target_columns, or leave it out of input_columns",
        )
        for column in inputs
        if column not in config.target_columns
    ]
    try:
        events = _events(metadata, config, prompt)
    except ValueError as error:
        raise ConfigError([*problems, Problem(key, str(error))]) from error
    for column in inputs:
        values = {repr(event[column]): event[column] for event in events}.values()  # each once
        if metadata.kind(column) == "real":
            wrong = [value for value in values if not _is_number(value)]
            problems += [Problem(key, f"{value!r} is no number for the real column `{column}`") for value in wrong]
        else:
            known = metadata.id_maps[column]
            unknown = [value for value in values if _key(value) not in known]
            problems += [
                Problem(key, f"column `{column}` has no category {value!r}", fix=did_you_mean(str(value), known))
                for value in unknown
            ]
    if problems:
        raise ConfigError(problems)


def _events(metadata: Metadata, config: TrainConfig, prompt: Prompt) -> list[Event]:
    """The events of a prompt.

    Raises:
        ValueError: it has another form.
    """
    inputs = config.input_columns or metadata.columns
    if not prompt:
        return []
    if isinstance(prompt, str):
        if len(inputs) > 1:
            raise ValueError(f"a text is no prompt for {len(inputs)} input columns; give a list of maps")
        prompt = list(prompt) if _is_text(metadata, inputs) else prompt.split()
    events = []
    for entry in prompt:
        event = entry if isinstance(entry, Mapping) else {inputs[0]: entry}
        if set(event) != set(inputs):
            raise ValueError(f"{entry!r} does not have one entry for each of {', '.join(inputs)}")
        events.append(event)
    return events


def _encoded(metadata: Metadata, column: str, events: Sequence[Event]) -> NDArray[Any]:
    """(n,) ids or standardised values; one unknown event, or the mean, where there are no events."""
    if metadata.kind(column) == "categorical":
        ids = metadata.id_maps[column]
        return np.array([ids[_key(event[column])] for event in events] or [0], dtype=np.int64)
    mean, std = (metadata.selected_columns_statistics[column][name] for name in ("mean", "std"))
    return np.array([(float(event[column]) - mean) / std for event in events] or [0], dtype=np.float32)


def _decoded(metadata: Metadata, target: str, values: NDArray[Any]) -> list[Category | float]:
    if metadata.kind(target) == "categorical":
        categories = metadata.categories(target)
        return [categories[id - 1] for id in values.tolist()]
    statistics = metadata.selected_columns_statistics[target]
    return [value * statistics["std"] + statistics["mean"] for value in values.tolist()]


def _as_text(metadata: Metadata, config: TrainConfig, events: Sequence[Event]) -> str:
    targets = config.target_columns
    is_text = _is_text(metadata, targets)
    # A prompt has the inputs alone; targets that are no inputs are not known there.
    shown = [",".join(_shown(event[target]) for target in targets if target in event) for event in events]
    return ("" if is_text else " ").join(shown)


def _is_text(metadata: Metadata, columns: Sequence[str]) -> bool:
    """Whether the data is a text: one column of characters."""
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
