"""`known_future`: which columns may be read at the steps to come of a horizon."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from sequifier.config.train import TrainConfig
from sequifier.errors import Problem, did_you_mean

ALL_OF_CALENDAR = "calendar"
"""Stands for all input columns that are parts of the calendar of the positions, unless a column has this name."""


class _Columns(Protocol):
    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def calendar_columns(self) -> Sequence[str]: ...

    @property
    def sequence_columns(self) -> Sequence[str]: ...


def with_calendar(config: TrainConfig, inputs: Sequence[str], data: _Columns) -> list[str]:
    """Return the columns of `known_future`, with the columns of the calendar in place of the word `calendar`.

    Args:
        config: of the run.
        inputs: its input columns.
        data: of the run.
    """
    known = config.known_future
    if ALL_OF_CALENDAR not in known or ALL_OF_CALENDAR in data.columns:
        return known
    found = {name for name in data.calendar_columns if name in inputs and name not in config.target_columns}
    return sorted({*known} - {ALL_OF_CALENDAR} | found) if found else known  # without any, the word is a problem


def known_future_problems(config: TrainConfig, inputs: Sequence[str], data: _Columns) -> Iterator[Problem]:
    """Yield what the columns of `known_future` lack.

    Args:
        config: of the run, after `with_calendar`.
        inputs: its input columns.
        data: of the run.
    """
    for column in config.known_future:
        message, fix = "", "leave it out"
        if column == ALL_OF_CALENDAR and column not in data.columns:
            message = f"no input column is a part of the calendar, for which `{column}` stands"
            there = ", ".join(name for name in data.calendar_columns if name not in config.target_columns)
            fix = f"add {there} to input_columns" if there else "preprocess with time_features: [hour, weekday]"
        elif column not in data.columns:
            message, fix = f"column `{column}` is not in the preprocessed data", did_you_mean(column, data.columns)
        elif column in config.target_columns:
            message = f"`{column}` is a target: its values to come are what the model predicts"
        elif column in data.sequence_columns:
            message = f"`{column}` has one value in a whole sequence, which the window shows already"
        elif column not in inputs:
            message = f"`{column}` is not an input column: the model must see its past to know what its future means"
            fix = f"add `{column}` to input_columns, or leave it out"
        if message:
            yield Problem("known_future", message, fix=fix)
