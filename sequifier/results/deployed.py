"""The model of a search to deploy: its file, what it predicts, and what it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sequifier.artifacts.metadata import read_metadata
from sequifier.errors import SequifierError
from sequifier.percent import counted
from sequifier.results.ranking import Configuration
from sequifier.results.trials import Table


def report_path(root: Path, run: str) -> Path:
    """Return the page about what the model of a run does well, which `export RUN --report` writes."""
    return root / "models" / f"{run}-report.html"


@dataclass(frozen=True)
class Deployed:
    """The best model on disk.

    Attributes:
        run: number of its run.
        name: of its run.
        path: of the file, below project_root.
        best_epoch: the epoch of its weights.
        epochs: epochs that its run trained.
        targets: the columns that it predicts.
        data: name of the data set.
        events, sequences: of the training split; None where its metadata are gone, or describe other data by now.
    """

    run: int
    name: str
    path: str
    best_epoch: int | None
    epochs: int
    targets: tuple[str, ...]
    data: str
    events: int | None = None
    sequences: int | None = None

    @property
    def text(self) -> str:
        """What is known besides the file: `epoch 2 of 3; predicts item; trained on 900 events of ...`."""
        parts = [] if self.best_epoch is None else [f"epoch {self.best_epoch} of {self.epochs}"]
        if self.targets:
            parts.append(f"predicts {', '.join(self.targets)}")
        if self.events is not None and self.sequences is not None:
            counts = f"{counted(self.events, 'event')} of {counted(self.sequences, 'sequence')}"
            parts.append(f"trained on {counts} ({self.data})")
        return "; ".join(parts)


def deployed(table: Table, rows: Sequence[Configuration]) -> Deployed | None:
    """Return the best model that is on disk; None where there is none."""
    best = next((row for row in rows if row.rank is not None and row.model_path), None)
    if best is None:
        return None
    path = Path(str(table.document.get("metadata_config_path", "")))
    events = sequences = None
    root = table.folder.parents[1:2]  # several searches together have no folder
    try:
        metadata = read_metadata(root[0] / path) if root else None
    except SequifierError:
        metadata = None  # they are gone, or of another version
    if metadata is not None and metadata.fingerprint == table.data:
        events, sequences = metadata.sequifier.n_events[0], metadata.sequifier.sequences[0]
    trial = best.first
    return Deployed(
        trial.number,
        trial.name,
        best.model_path,
        trial.best_epoch,
        len(trial.curve),
        tuple(table.targets),
        path.stem,
        events,
        sequences,
    )
