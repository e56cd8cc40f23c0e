"""Reading a ledger again: whether each start, proposal and promotion follows from the records that were known then."""

from collections.abc import Sequence
from pathlib import Path

from sequifier.artifacts.ledger import Ledger, Record, read_ledger
from sequifier.config.search import SearchConfig
from sequifier.search.agenda import Agenda, Task, is_paused
from sequifier.search.planner import Planner


def replayed(config: SearchConfig, scratch: Path, *, n_slots: int = 1) -> list[tuple[Record, Task | None]]:
    """Each start that the ledger of a search holds, and what is decided on the first `known` records.

    Args:
        config: of a search without repeats and confirmations.
        scratch: an empty folder.
        n_slots: number of runs that it trained at the same time.
    """
    folder = config.root / "logs" / config.hp_search_name
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    records = read_ledger(folder)
    found: list[tuple[Record, Task | None]] = []
    for index, record in enumerate(records):
        if record.state != "running" or _is_begun(records[:index], record.run):
            continue
        assert record.known is not None
        assert record.known <= index
        assert all(later.run != record.run for later in records[record.known : index])
        found.append((record, _decided(config, scratch / str(index), lines[: record.known], n_slots)))
    return found


def _decided(config: SearchConfig, folder: Path, lines: Sequence[bytes], n_slots: int) -> Task | None:
    folder.mkdir(parents=True)
    (folder / "ledger.jsonl").write_bytes(b"".join(lines))
    with Ledger.open(folder) as ledger:
        planner = Planner(config)
        plan = planner.plan(ledger.records)
        agenda = Agenda(
            plan,
            ledger,
            retry_failed=False,
            propose=lambda: planner.propose(plan, ledger.records),
            n_slots=n_slots,
        )
        begun = [number for number in ledger.latest() if _is_begun(ledger.records, number)]
        assert [task.run.number for _ in begun if (task := agenda.next())] == begun
        return agenda.next()


def _is_begun(records: Sequence[Record], run: int) -> bool:
    """Whether a run is in training, or was when its search ended."""
    last = next((record for record in reversed(records) if record.run == run), None)
    return last is not None and (last.state == "running" or (last.state == "interrupted" and not is_paused(last)))
