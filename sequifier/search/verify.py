"""`train --verify`: whether a run of a search, trained again, has the validation loss in the ledger."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sequifier.artifacts.ledger import Record
from sequifier.config.resolve import DataSchema
from sequifier.config.train import TrainConfig
from sequifier.errors import RunError
from sequifier.results.environment import FACTS
from sequifier.search.stored_run import changes, record_of


@dataclass(frozen=True)
class Verified:
    """The result of a verification.

    Attributes:
        is_same: whether the loss is the stored one to the last digit.
        line: the result in words.
    """

    is_same: bool
    line: str


def stored(config: TrainConfig) -> Record:
    """The result of this run in the ledger of its search.

    Raises:
        RunError: there is none that a new training can be compared with.
    """
    record = record_of(config)
    if record is None:
        raise RunError(
            f"no ledger has a run named `{config.model_name}`: there is nothing to verify",
            where=str(config.root / "logs"),
            fix="give the run file of a search: --config-path configs/hp_search/NAME-run-0.yaml",
        )
    if record.state != "finished" or record.best_val_loss is None:
        raise RunError(
            f"`{record.name}` is {record.state}: only a finished run can be verified",
            fix="verify another run, or end the search first",
        )
    return record


def check_same(config: TrainConfig, data: DataSchema, record: Record) -> None:
    """Check that a run is still the one in the ledger: training another one would show nothing.

    Args:
        config: resolved.
        data: metadata of its data set.
        record: of the run.

    Raises:
        RunError: its config or its data changed.
    """
    found = changes(config, data, record)
    if not found:
        return
    details = f" ({'; '.join(found)})" if any(found) else ""
    what = [
        name for name, holds in (("data", record.data != data.fingerprint), ("config", _has_settings(found))) if holds
    ]
    raise RunError(
        f"not the same run: {' and '.join(what)} changed{details}; nothing was trained",
        where=f"{record.name} in the ledger of its search",
        fix="verify the run file as the search wrote it, on the data of the search",
    )


def compared(record: Record, loss: float | None, facts: Mapping[str, Any]) -> Verified:
    """Compare the stored loss with the new one, to the last digit, and name what changed in the environment.

    Args:
        record: of the run.
        loss: of the new training; None where it ended without a finite one.
        facts: of the new training: device, versions, ...
    """
    assert record.best_val_loss is not None
    if loss == record.best_val_loss:
        return Verified(True, f"same: validation loss {loss!r}, as in the ledger")
    environment = list(_environment(record, facts))
    if environment:
        why = f"environment changed: {'; '.join(environment)}"
    else:
        why = "data, config and environment are the same as far as the ledger shows"
    if loss is None:
        return Verified(False, f"no finite validation loss, in the ledger {record.best_val_loss!r}; {why}")
    off = loss - record.best_val_loss
    relative = f" (relative {abs(off / record.best_val_loss):.2g})" if record.best_val_loss else ""
    return Verified(
        False,
        f"differs by {off:+.3g}{relative}: validation loss {loss!r}, in the ledger {record.best_val_loss!r}; {why}",
    )


def _environment(record: Record, facts: Mapping[str, Any]) -> Iterator[str]:
    for name in (*FACTS, "device_index"):  # one of two equal GPUs may be faulty
        before, now = getattr(record, name), facts.get(name)
        if before is not None and before != now:
            yield f"{name} {before} -> {now}"


def _has_settings(found: list[str]) -> bool:
    return any(not line.startswith("data ") for line in found)
