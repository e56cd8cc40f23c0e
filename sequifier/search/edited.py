"""Whether the file of a run that is to be trained still says what was planned."""

from pathlib import Path

from sequifier.config.identity import identity
from sequifier.results.run_files import read_document, value_at
from sequifier.search.differences import counted_settings
from sequifier.search.out_of_memory import Batch
from sequifier.search.plan import PlannedRun

_BATCH = ("batch_size", "accumulation_steps", "effective_batch_size")
"""Fields of training_spec that a retry rewrites."""


def batch_in(path: Path) -> Batch:
    """The batch that a run file asks for: the planned one, or what was found to fit."""
    return Batch(*(value_at(read_document(path), f"training_spec.{name}", None) for name in _BATCH))


def edited(run: PlannedRun, fingerprint: str) -> str | None:
    """What is wrong with a run file; None where it says what was planned.

    Args:
        run: that is to be trained.
        fingerprint: of the data.
    """
    document = read_document(run.path)
    if not isinstance(document.get("training_spec"), dict):
        return "is no run file any more"
    planned = run.config.training_spec if run.record is None else run.record
    batch = batch_in(run.path)
    differing = [
        f"training_spec.{name} {now} instead of {before}"
        for name in _BATCH[:2]
        if (now := getattr(batch, name)) != (before := getattr(planned, name))
    ]
    if identity(run.config, fingerprint) == run.identity:  # else the file may say the same in other words
        differing += [
            f"{key} {now} instead of {before}"
            for key, (now, before) in counted_settings(document, run.config).items()
            if key.rpartition(".")[2] not in _BATCH
        ]
    return f"says {', '.join(differing)}" if differing else None
