"""A project folder in which a test writes a table, preprocesses it and reads the results."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sequifier.artifacts.metadata import Metadata, read_metadata
from sequifier.config.preprocess import PreprocessConfig
from sequifier.preprocess.pipeline import preprocess


@dataclass
class Project:
    """`run(...)` preprocesses; `metadata`, `lines` and `split(i)` are of the last run."""

    root: Path
    lines: list[str] = field(default_factory=list)
    metadata_path: Path = Path()

    def write(self, frame: pl.DataFrame, name: str = "events.parquet") -> Path:
        path = self.root / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
        return path

    def write_text(self, text: str, name: str = "events.csv") -> Path:
        path = self.root / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, path: Path, *, memory_bytes: int = 1 << 30, **fields: Any) -> Metadata:
        if "read_format" not in fields:
            fields["read_format"] = "parquet" if path.suffix == ".parquet" else "csv"
        values = {"project_root": str(self.root), "data_path": str(path), "seq_length": 4} | fields
        self.lines = []
        config = PreprocessConfig.model_validate(values)
        self.metadata_path = preprocess(config, log=self.lines.append, memory_bytes=memory_bytes)
        return self.metadata

    @property
    def metadata(self) -> Metadata:
        return read_metadata(self.metadata_path)

    def split(self, number: int) -> pl.DataFrame:
        path = self.root / self.metadata.split_paths[number]
        return pl.read_parquet(path)

    def files(self) -> set[str]:
        """Return all files of the project except the raw data, hidden files included."""
        everything = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)) for path in everything if "raw" not in path.parts}
