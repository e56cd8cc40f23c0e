"""A record names the cell that its run came from, in whatever form the run file has its values."""

from pathlib import Path
from typing import Any

from sequifier.artifacts.ledger import Record
from sequifier.search.build_space import build_space
from sequifier.search.expand import Expanded, Expander
from sequifier.search.known_cells import KnownCells
from sequifier.search.make_plan import make_plan
from sequifier.search.proposals import Proposer
from sequifier.search.space import Cell
from tests.support.searches import FINGERPRINT, metadata, search

ADAMW = {"name": "AdamW", "weight_decay": {"low": 1e-5, "high": 1e-1, "log": True}}
REWRITTEN: dict[str, Any] = {
    "search_strategy": "bayesian",
    "n_samples": 14,
    "model": {"n_head": 4, "attention_type": ["gqa", "mqa"], "n_kv_heads": [3, 2], "rope_theta": [2e4, 5e5]},
    "training": {
        "scheduler": [{"name": "CosineAnnealingLR", "T_max": "auto"}],
        "optimizer": ["adamw", ADAMW],
        "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    },
    "input_columns": [None, ["kind"]],
    "seq_length": [None, 4],
}


class CountingExpander(Expander):
    n_expanded = 0

    def expand(self, cell: Cell) -> Expanded:
        self.n_expanded += 1
        return super().expand(cell)


def proposed(**values: Any) -> list[Record]:
    """The records of a search, each run with a result before the next is proposed. No run file is written."""
    proposer, records = Proposer(make_plan(search(**values), metadata()), metadata()), list[Record]()
    while (run := proposer.next(records)) is not None:
        records.append(run.new_record(FINGERPRINT, "finished", best_val_loss=1 / (run.number + 1)))
    return records


def test_each_record_is_one_lookup_without_its_run_file() -> None:
    records = proposed(**REWRITTEN)
    assert len(records) == 14
    config = search(**REWRITTEN)
    space = build_space(config)
    expander = CountingExpander(config, space, metadata(), seed=1010)
    cells = KnownCells(space, expander)
    for number, record in enumerate(records, start=1):
        found = cells.find(record)
        assert found is not None
        written = {**(record.settings or {}), **record.proposed}
        assert {key: found[1].settings[key] for key in found[1].settings} == record.settings
        assert {**found[1].settings, **found[1].proposed} == written, "the cell that was proposed, not one like it"
        assert expander.n_expanded == number


def test_a_cell_is_found_after_the_space_was_edited(tmp_path: Path) -> None:
    records = proposed(**REWRITTEN)
    wider = {**REWRITTEN, "model": {**REWRITTEN["model"], "rope_theta": [1e3, 5e5, 2e4], "num_layers": [1, 3]}}
    plan = make_plan(search(**wider, project_root=str(tmp_path)), metadata(), records=records)
    with_three_layers = [record.run for record in records if record.setting("model_spec.num_layers") == 3]
    assert [run.number for run in plan.runs] == with_three_layers == list(range(14))


def test_a_record_without_settings_has_no_cell() -> None:
    config = search(**REWRITTEN)
    space = build_space(config)
    cells = KnownCells(space, Expander(config, space, metadata(), seed=1010))
    old = proposed(**REWRITTEN)[0].model_copy(update={"settings": None})
    assert cells.find(old) is None
