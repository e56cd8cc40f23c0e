"""Whether the file of a run that is to be trained is still as planned."""

from pathlib import Path

from sequifier.config.fields import COUNTED
from sequifier.config.identity import identity
from sequifier.results.run_files import read_document
from sequifier.results.settings import field_of, value_at, values_of
from sequifier.search.out_of_memory import Batch
from sequifier.search.plan import PlannedRun

_BATCH = ("batch_size", "accumulation_steps", "effective_batch_size")
"""Fields of training_spec that a retry rewrites."""


def batch_in(path: Path) -> Batch:
    """The batch in a run file: the planned one, or the one that was found to fit."""
    return Batch(*(value_at(read_document(path), f"training_spec.{name}", None) for name in _BATCH))


def edited(run: PlannedRun, fingerprint: str) -> str | None:
    """What is wrong with a run file; None where it is as planned.

    Args:
        run: the run to train.
        fingerprint: fingerprint of the data.
    """
    document = read_document(run.path)
    if not isinstance(document.get("training_spec"), dict):
        return "is not a run file any more"
    planned = run.config.training_spec if run.record is None else run.record
    batch = batch_in(run.path)
    differing = [
        f"training_spec.{name} {now} instead of {before}"
        for name in _BATCH[:2]
        if (now := getattr(batch, name)) != (before := getattr(planned, name))
    ]
    if identity(run.config, fingerprint) == run.identity:  # else the file may spell the same run differently
        differing += [
            f"{key} {now} instead of {before}"
            for key, before in values_of(run.config, COUNTED).items()
            if (now := value_at(document, key, before)) != before and field_of(key) not in _BATCH
        ]
    return f"says {', '.join(differing)}" if differing else None
