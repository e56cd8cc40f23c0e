"""A model with random weights for a data set, exported twice: for encoded and for raw values."""

from pathlib import Path

from sequifier.artifacts.metadata import Metadata
from sequifier.artifacts.model_file import model_properties
from sequifier.config.architecture import Architecture
from sequifier.export.end_to_end import export_end_to_end
from sequifier.export.onnx import export_onnx
from sequifier.export.raw_columns import raw_columns
from tests.support.shapes import lively


def export_both(folder: Path, shape: Architecture, metadata: Metadata, *, seed: int = 0) -> tuple[Path, Path]:
    """Export the model; returns the file that takes encoded values, and the one that takes raw ones."""
    about = metadata.sequifier
    properties = model_properties(
        shape,
        vocabularies={name: metadata.categories(name) for name in metadata.categorical_columns},
        statistics=metadata.selected_columns_statistics,
        data=about.model_dump(exclude={"column_hashes", "reading"}),
        config={"metadata_config_path": "configs/metadata_configs/old.json"},
        metrics={},
        reading=about.reading,
    )
    plain, raw, model = folder / "plain.onnx", folder / "raw.onnx", lively(shape)
    columns = raw_columns(shape, metadata)
    export_onnx(plain, shape, model, properties=properties, seed=seed)
    export_end_to_end(raw, shape, model, columns, properties=properties, seed=seed, times=about)
    return plain, raw
