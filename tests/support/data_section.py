"""The section of metadata that describes a data set, for tests that need any metadata."""

from typing import Any

from sequifier.artifacts.metadata import SequifierMetadata


def data_section(columns: list[str], **changes: Any) -> SequifierMetadata:
    """Return the section `sequifier` of metadata: one split of two sequences, unless `changes` differ."""
    values: dict[str, Any] = {
        "columns": columns,
        "sequence_column": "sequenceId",
        "position_column": "itemPosition",
        "sequence_type": "Int64",
        "position_type": "Int64",
        "seq_length": 8,
        "stride_by_split": [8],
        "subsequence_start_mode": "distribute",
        "split_method": "within_sequence",
        "split_ratios": [1.0],
        "context_events": 8,
        "rows": [10],
        "sequences": [2],
        "column_hashes": [{}],
        "fingerprint": "0123456789abcdef",
    }
    return SequifierMetadata.model_validate(values | changes)
