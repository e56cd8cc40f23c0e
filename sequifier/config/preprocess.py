"""`preprocess.yaml`: from raw events to encoded splits and metadata. Here are the rules between its fields."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import ValidationInfo, field_validator

from sequifier.config.base import list_of_one
from sequifier.config.observation import Observation, Observed
from sequifier.config.preprocess_fields import (
    CHAR,
    SMALLEST_CONTEXT,
    WHOLE_SEQUENCES,
    PreprocessFields,
    RepeatedPositions,
    SplitMethod,
    Transform,
)
from sequifier.config.sequence_table import SequenceTable

RATIO_TOLERANCE = 1e-6


class PreprocessConfig(Observed, PreprocessFields):
    """The table to encode, the types of its columns, and how it is split."""

    @field_validator("merge_output")
    @classmethod
    def _tensors_are_shards(cls, merged: bool, info: ValidationInfo) -> bool:
        if merged and info.data.get("write_format") == "pt":
            raise ValueError("write_format: pt writes a folder of shards for each split; set merge_output: false")
        return merged

    @field_validator(
        "column_names",
        "sequence_column",
        "position_column",
        "repeated_positions",
        "drop_duplicates",
        "selected_columns",
        "sequence_columns",
        "sequence_table",
        "column_types",
        "fill_null",
        "end_event",
        "transforms",
        "time_features",
        "time_zone",
        "time_unit",
        "observation",
        "time_resolution",
        "split_order",
        "split_overlap",
    )
    @classmethod
    def _is_for_tables(cls, value: Any, info: ValidationInfo) -> Any:
        default = cls.model_fields[str(info.field_name)].get_default(call_default_factory=True)
        if info.data.get("read_format") == "text" and value != default:
            raise ValueError(
                f"{value!r} applies to tables only; a text (read_format: text) has the one column {CHAR!r} and no "
                "missing values: leave it out"
            )
        return value

    @field_validator("column_names")
    @classmethod
    def _are_of_csv(cls, names: list[str] | None, info: ValidationInfo) -> list[str] | None:
        if names is not None and (read_format := info.data.get("read_format")) not in (None, "csv"):
            raise ValueError(f"{names} are for CSV files without a header, not for {read_format}: leave them out")
        return names

    @field_validator("repeated_positions")
    @classmethod
    def _numbers_do_not_repeat(cls, repeated: RepeatedPositions, info: ValidationInfo) -> RepeatedPositions:
        if repeated == "keep" and "position_column" in info.data and info.data["position_column"] is None:
            raise ValueError("position_column is null, so events are numbered and no position repeats: leave it out")
        return repeated

    @field_validator("drop_duplicates")
    @classmethod
    def _events_differ(cls, drops: bool, info: ValidationInfo) -> bool:
        if drops and "position_column" in info.data and info.data["position_column"] is None:
            raise ValueError(
                "position_column is null, so identical rows are different events: leave it out, or name the column "
                "that orders the events"
            )
        return drops

    @field_validator("transforms")
    @classmethod
    def _replacements_have_a_logarithm(
        cls, transforms: dict[str, Transform | Literal["none"]], info: ValidationInfo
    ) -> dict[str, Transform | Literal["none"]]:
        for column, fill in (info.data.get("fill_null") or {}).items():
            if transforms.get(column) == "log1p" and isinstance(fill, int | float) and fill < 0:
                raise ValueError(
                    f"{column}: log1p has no negative values, but fill_null.{column} is {fill}; use asinh, or fill in "
                    "another number"
                )
        return transforms

    @field_validator("standardize")
    @classmethod
    def _sequences_have_statistics(cls, standardize: str, info: ValidationInfo) -> str:
        if standardize == "per_sequence" and (method := info.data.get("split_method")) in WHOLE_SEQUENCES:
            raise ValueError(
                f"per_sequence needs a part of each sequence in the first split, but split_method {method} keeps "
                "sequences whole; split within_sequence, by last_events or at a cutoff"
            )
        return standardize

    @field_validator("seq_length")
    @classmethod
    def _fits_in_a_text_sequence(cls, seq_length: int, info: ValidationInfo) -> int:
        longest = info.data.get("text_sequence_length")
        if info.data.get("read_format") == "text" and longest is not None and seq_length >= longest:
            raise ValueError(
                f"{seq_length} is not below text_sequence_length {longest}: no window would be full; "
                "raise text_sequence_length"
            )
        return seq_length

    @field_validator("time_features")
    @classmethod
    def _dates_are_no_keys(cls, features: Any, info: ValidationInfo) -> Any:
        position = info.data.get("position_column")
        if isinstance(features, dict) and (key := info.data.get("sequence_column")) in features:
            raise ValueError(f"{key!r} is the sequence_column; name columns of dates")
        if "until" in (features.get(position, ()) if isinstance(features, dict) else features):
            raise ValueError(
                f"until is the time from an event to another date, so the positions ({position}) have none; name the "
                "column of the other date, for example {due_date: [until]}"
            )
        if isinstance(features, dict) and {"time", position} <= features.keys() and position != "time":
            raise ValueError(f"the columns of 'time' would have the names of those of the positions ({position})")
        for column, some in features.items() if isinstance(features, dict) else ():
            if "since_start" in some and column != position:
                raise ValueError(f"{column!r}: since_start is the time of the events themselves; write since_first")
        for column in info.data.get("selected_columns") or ():
            if isinstance(features, dict) and column in features and column != position:
                raise ValueError(
                    f"{column!r} is in selected_columns too, but dates are no feature themselves; leave it out there"
                )
        return features

    @field_validator("observation")
    @classmethod
    def _observes_times(cls, observation: Observation | None, info: ValidationInfo) -> Observation | None:
        of_position = _features_of_position(info)
        has_start = observation is not None and observation.start is not None
        if "since_start" in of_position and not has_start:
            raise ValueError("time_features has since_start, the time since the start of observation; set start")
        if observation is None:
            return observation
        if "position_column" in info.data and info.data["position_column"] is None:
            raise ValueError("position_column is null, so events have no times that could be observed; name it")
        if observation.start is None and observation.end is None:
            raise ValueError("it has neither start nor end; set one of them, or leave it out")
        if has_start and "since_first" in of_position:
            raise ValueError("with a start, sequences begin there: write since_start instead of since_first")
        if observation.end is not None and "gap" not in of_position:
            raise ValueError("end adds a term to the likelihood of time_gap; add gap to time_features")
        table = info.data.get("sequence_table")
        if table is not None and table.as_of is not None:
            raise ValueError("sequence_table.as_of cuts sequences at its moments; leave one of them out")
        if observation.end is not None and info.data.get("end_event"):
            raise ValueError(
                "end_event says that a sequence is over after its last event, end that it is observed for longer; "
                "leave one of them out"
            )
        for column in observation.columns:
            for name in _fields_with(column, info):
                raise ValueError(f"{column!r} is in {name} too, but it is no feature or key; leave it out there")
        return observation

    @field_validator("time_resolution")
    @classmethod
    def _is_of_gaps(cls, resolution: float | None, info: ValidationInfo) -> float | None:
        of_position = _features_of_position(info)
        if resolution is not None and "gap" not in of_position:
            raise ValueError(f"{resolution:g} is the precision of time_gap; add gap to time_features, or leave it out")
        return resolution

    @field_validator("position_column")
    @classmethod
    def _two_columns(cls, column: str | None, info: ValidationInfo) -> str | None:
        if column is not None and column == info.data.get("sequence_column"):
            raise ValueError(f"{column!r} is the sequence_column; name the column that orders its events")
        return column

    @field_validator("sequence_columns")
    @classmethod
    def _are_no_keys(cls, columns: list[str] | None, info: ValidationInfo) -> list[str] | None:
        for name in ("sequence_column", "position_column"):
            if (key := info.data.get(name)) in (columns or ()):
                raise ValueError(f"{key!r} is the {name}, which is stored in any case; leave it out")
        return columns

    @field_validator("sequence_table")
    @classmethod
    def _has_other_columns(cls, table: SequenceTable | None, info: ValidationInfo) -> SequenceTable | None:
        taken = {
            column: name
            for name in ("sequence_column", "position_column", "selected_columns", "sequence_columns")
            for column in list_of_one(info.data.get(name) or [])
        }
        if table is not None and info.data.get("sequence_column", "") is None:
            raise ValueError("sequence_column is null, so there is no sequence column to join the table by")
        if table is not None and table.as_of is not None and info.data.get("position_column", "") is None:
            raise ValueError("position_column is null, so no event has a moment that as_of could be compared with")
        for column in (table and table.columns) or ():
            if column in taken:
                raise ValueError(
                    f"columns names {column!r}, which is in {taken[column]}; a column comes from one table: leave it "
                    "out there or here"
                )
        return table

    @field_validator("end_event", "time_features")
    @classmethod
    def _sequences_end_where_they_are_over(cls, value: Any, info: ValidationInfo) -> Any:
        table = info.data.get("sequence_table")
        what = "end_event" if value else ""
        if info.field_name == "time_features":
            features = value.values() if isinstance(value, dict) else [value]
            what = "remaining" if any("remaining" in some for some in features) else ""
        if what and table is not None and table.as_of is not None:
            raise ValueError(
                f"{what} is about the end of sequences, but sequence_table.as_of cuts them at its moments, where they "
                "are not over; leave one of them out"
            )
        return value

    @field_validator("end_event")
    @classmethod
    def _ends_are_events(cls, columns: list[str], info: ValidationInfo) -> list[str]:
        table = info.data.get("sequence_table")
        for column in columns:
            if column in (*(info.data.get("sequence_columns") or ()), *((table and table.columns) or ())):
                raise ValueError(f"{column!r} is a column of whole sequences, which has no class for their end")
        return columns

    @field_validator("split_ratios")
    @classmethod
    def _ratios_are_everything(cls, ratios: list[float]) -> list[float]:
        total = math.fsum(ratios)
        if abs(total - 1) > RATIO_TOLERANCE:
            raise ValueError(f"{ratios} sums to {total:g}; the ratios must sum to 1")
        return ratios

    @field_validator("split_method")
    @classmethod
    def _fits_a_text(cls, method: SplitMethod, info: ValidationInfo) -> SplitMethod:
        if info.data.get("read_format") == "text" and method not in ("within_sequence", "between_sequence"):
            raise ValueError(f"{method} applies to tables only; a text is split by within_sequence or between_sequence")
        return method

    @field_validator("split_method")
    @classmethod
    def _keeps_sequences_whole(cls, method: SplitMethod, info: ValidationInfo) -> SplitMethod:
        table = info.data.get("sequence_table")
        if table is not None and table.as_of is not None and method not in WHOLE_SEQUENCES:
            raise ValueError(
                f"{method} cuts sequences, but sequence_table.as_of has made them end at the moments to predict from; "
                "set between_sequence or given"
            )
        return method

    @field_validator("split_method", "split_overlap")
    @classmethod
    def _observes_whole_sequences(cls, value: str, info: ValidationInfo) -> str:
        cuts = value == "cut" if info.field_name == "split_overlap" else value not in WHOLE_SEQUENCES
        if cuts and info.data.get("observation") is not None:
            whole = "keep or drop" if info.field_name == "split_overlap" else "between_sequence or given"
            raise ValueError(
                f"{value} cuts sequences, but observation is about whole ones, from their start to their end; set "
                f"{whole}"
            )
        return value

    @field_validator("split_order", "split_overlap", "split_events", "split_at", "split_column", "validation_fraction")
    @classmethod
    def _is_for_the_method(cls, value: Any, info: ValidationInfo) -> Any:
        name, method = str(info.field_name), info.data.get("split_method")
        if method not in (None, _METHOD_OF[name]) and value != cls.model_fields[name].get_default():
            raise ValueError(f"{value!r} is for split_method: {_METHOD_OF[name]}, not for {method}; leave it out")
        if method == _METHOD_OF[name] and value is None:
            raise ValueError(f"split_method: {method} needs {name}; `sequifier config explain {name}` describes it")
        return value

    @field_validator("split_column")
    @classmethod
    def _is_no_other_column(cls, column: str | None, info: ValidationInfo) -> str | None:
        table = info.data.get("sequence_table")
        if column is not None and column in ((table and table.columns) or ()):
            raise ValueError(f"{column!r} is in sequence_table.columns, but the column of the splits is no feature")
        for name in _fields_with(column, info):
            raise ValueError(f"{column!r} is in {name}, but the column of the splits is no other column; leave it out")
        return column

    @field_validator("stride_by_split")
    @classmethod
    def _one_stride_for_each_split(cls, strides: list[int] | None, info: ValidationInfo) -> list[int] | None:
        name = _SPLITS_OF.get(info.data.get("split_method", ""), "split_ratios")
        splits = info.data.get(name)
        if strides is None or splits is None or name == "split_column":  # its values, not the config, make the splits
            return strides
        n_splits = len(splits) if name == "split_ratios" else 1 + len(splits[:2])  # a third position ends the data
        if len(strides) != n_splits:
            has = (
                f"{name} {splits} has {n_splits}"
                if name == "split_ratios"
                else f"{name} {splits} makes {n_splits} splits"
            )
            raise ValueError(f"{strides} has {len(strides)} entries, {has}; give one per split")
        return strides

    @property
    def sequence_name(self) -> str:
        """Name of sequenceId in messages and metadata."""
        return "sequenceId" if self.sequence_column is None else self.sequence_column

    @property
    def position_name(self) -> str:
        """Name of itemPosition in messages and metadata."""
        return "itemPosition" if self.position_column is None else self.position_column

    def strides(self, n_splits: int) -> list[int]:
        """Return the stride of each split, in events."""
        return self.stride_by_split or [self.seq_length] * n_splits

    @property
    def uses_ratios(self) -> bool:
        """Whether `split_ratios` make the splits."""
        return self.split_method in ("within_sequence", "between_sequence")

    @property
    def stored_context_events(self) -> int | None:
        """`context_events` with its default; None: all earlier events."""
        if self.context_events is None and self.split_method != "last_events":
            return max(self.seq_length, SMALLEST_CONTEXT)
        return self.context_events


_METHOD_OF = {
    "split_order": "between_sequence",
    "split_overlap": "between_sequence",
    "split_events": "last_events",
    "split_at": "cutoff",
    "split_column": "given",
    "validation_fraction": "given",
}
"""Fields of one split_method."""

_SPLITS_OF = {"last_events": "split_events", "cutoff": "split_at", "given": "split_column"}
"""The field that makes the splits, where it is not split_ratios."""


def _features_of_position(info: ValidationInfo) -> Sequence[str]:
    """Return the time features of the events' own times, from the fields that are validated already."""
    features = info.data.get("time_features") or []
    return (features.get(info.data.get("position_column")) or []) if isinstance(features, dict) else features


def _fields_with(column: str | None, info: ValidationInfo) -> Iterator[str]:
    """Yield the fields that name a column as a key or a feature, of those that are validated already."""
    for name in ("sequence_column", "position_column", "selected_columns", "sequence_columns"):
        named = info.data.get(name) or []
        if column is not None and column in ([named] if isinstance(named, str) else named):
            yield name
