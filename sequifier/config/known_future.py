"""`known_future`: which columns may be read at the steps to come of a horizon."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from sequifier.config.train import TrainConfig
from sequifier.errors import Problem, did_you_mean


class _Columns(Protocol):
    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def sequence_columns(self) -> Sequence[str]: ...


def known_future_problems(config: TrainConfig, inputs: Sequence[str], data: _Columns) -> Iterator[Problem]:
    """Yield what the columns of `known_future` lack.

    Args:
        config: of the run.
        inputs: its input columns.
        data: of the run.
    """
    for column in config.known_future:
        message, fix = "", "leave it out"
        if column not in data.columns:
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
