"""`prediction_horizon`: which data and settings a forecast of several steps at once does not fit."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from sequifier.config.base import ColumnType
from sequifier.config.observation import Observation
from sequifier.config.train import TrainConfig
from sequifier.errors import Problem

MOST_OUTPUTS = 8192
"""Largest number of logits of a categorical target at all steps: their loss is computed without chunks."""


class _Splits(Protocol):
    @property
    def rows(self) -> list[int]: ...

    @property
    def sequences(self) -> list[int]: ...

    @property
    def end_event(self) -> list[str]: ...

    @property
    def observation(self) -> Observation | None: ...


class Forecast(Protocol):
    """What a horizon needs of the metadata."""

    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def split_paths(self) -> Sequence[str]: ...

    @property
    def sequence_columns(self) -> Sequence[str]: ...

    @property
    def sequifier(self) -> _Splits: ...

    @property
    def n_classes(self) -> Mapping[str, int]: ...

    def kind(self, column: str) -> ColumnType: ...


def origins_input(room: int) -> dict[str, str]:
    """What comparable runs have in common: which events are predicted from in validation; empty where all are.

    Args:
        room: number of events that must follow them.
    """
    return {} if room == 1 else {"origins": f"{room} later events"}


def horizon_problem(horizon: int, most: int, split: str) -> Problem:
    """Return the problem of a horizon of more than the `most` steps that a split has."""
    return Problem(
        "prediction_horizon",
        f"{horizon:,} leaves the {split} split without a target: at most {most:,} events follow an event there",
        fix=f"at most {most:,}, or more events in that split" if most else "a larger split",
    )


def horizon_problems(config: TrainConfig, data: Forecast) -> Iterator[Problem]:
    """Yield why a run with a horizon of several steps cannot be trained; nothing without one."""
    horizon, spec = config.prediction_horizon, config.training_spec
    key, needed = "prediction_horizon", spec.evaluation_horizon or horizon
    if needed == 1:
        return
    ours, leave_out = data.sequifier, "prediction_horizon: 1"
    splits = (("training", config.training_data_path, horizon), ("validation", config.validation_data_path, needed))
    for (name, path, steps), known, rows, sequences in zip(
        splits, data.split_paths, ours.rows, ours.sequences, strict=False
    ):
        # The longest sequence has at most the rows that the others leave. The first event of the data is no target.
        most = rows - sequences + (name == "validation")
        if path in (None, known) and most < steps:
            one = "1 sequence" if sequences == 1 else f"{sequences:,} sequences"
            yield Problem(
                key if steps == horizon else "training_spec.evaluation_horizon",
                f"{steps:,} steps are more than any sequence of the {name} split has ({rows:,} events in {one})",
                fix=f"at most {most:,}, or a larger split" if most > 1 else "a larger split",
            )
    if ours.end_event:
        yield Problem(
            key,
            f"the data have an END of each sequence (end_event: {', '.join(ours.end_event)}), after which nothing can "
            "be predicted",
            fix=f"preprocess without end_event, or {leave_out}",
        )
    if ours.observation is not None:
        yield Problem(
            key,
            "the data say from when and until when events are observed (observation), which is about the next event",
            fix=f"preprocess without observation, or {leave_out}",
        )
    targets = [target for target in config.target_columns if target in data.columns]
    for target in (labels := [target for target in targets if target in data.sequence_columns]):
        yield Problem(
            key if horizon > 1 else "training_spec.evaluation_horizon",
            f"`{target}` belongs to the whole sequence: it has no value for each of the next {needed:,} events",
            fix=f"{leave_out}, or train `{target}` in a run of its own",
        )
    if horizon == 1:
        return
    for target in (target for target in targets if target not in labels):
        if data.kind(target) == "categorical":
            n_outputs = (data.n_classes[target] - 1) * horizon
            if n_outputs > MOST_OUTPUTS:
                yield Problem(
                    key,
                    f"{horizon:,} steps of the {data.n_classes[target] - 1:,} classes of `{target}` are {n_outputs:,} "
                    f"outputs; at most {MOST_OUTPUTS:,} are supported",
                    fix="fewer steps, or fewer classes: max_categories of the preprocess config",
                )
    for place, unfit, reason in (
        ("model_spec.tie_weights", config.model_spec.tie_weights, "an embedding decodes one step, not several"),
        ("ranking", config.ranking, "only the next event is ranked"),
        (
            "training_spec.softmax",
            [target for target, asked in spec.softmax.items() if asked != "full"],
            "sampled classes are for the next event only",
        ),
    ):
        for target in unfit:
            yield Problem(
                f"{place}.{target}" if place != "model_spec.tie_weights" else place,
                f"`{target}` is predicted {horizon:,} steps ahead (prediction_horizon); {reason}",
                fix=f"leave it out, or {leave_out}",
            )
