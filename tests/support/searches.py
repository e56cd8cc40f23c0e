"""Small searches and a data set to plan them on."""

from typing import Any

from sequifier.artifacts.metadata import Metadata, SequifierMetadata
from sequifier.config.search import SearchConfig

FINGERPRINT = "0123456789abcdef"


def metadata(fingerprint: str = FINGERPRINT) -> Metadata:
    """Two columns: `kind` with three categories, and the real `length`."""
    return Metadata(
        n_classes={"kind": 4},
        id_maps={"kind": {"a": 1, "b": 2, "c": 3}},
        split_paths=["data/x-split0.parquet", "data/x-split1.parquet"],
        column_types={"kind": "String", "length": "Float64"},
        selected_columns_statistics={"length": {"std": 1.0, "mean": 0.0}},
        sequifier=SequifierMetadata(
            columns=["kind", "length"],
            sequence_column="sequenceId",
            position_column="itemPosition",
            sequence_type="Int64",
            position_type="Int64",
            seq_length=8,
            stride_by_split=[8, 8],
            subsequence_start_mode="distribute",
            split_method="within_sequence",
            split_ratios=[0.8, 0.2],
            context_events=8,
            rows=[80, 20],
            sequences=[4, 4],
            column_hashes=[{}, {}],
            fingerprint=fingerprint,
        ),
    )


def search(*, model: dict[str, Any] | None = None, training: dict[str, Any] | None = None, **root: Any) -> SearchConfig:
    """A grid over the given sections; everything else is small or left out."""
    values: dict[str, Any] = {
        "metadata_config_path": "configs/metadata_configs/x.json",
        "hp_search_name": "demo",
        "search_strategy": "grid",
        "target_columns": ["kind"],
        "model_hyperparameter_sampling": model or {},
        "training_hyperparameter_sampling": training or {},
    }
    return SearchConfig.model_validate(values | root)
