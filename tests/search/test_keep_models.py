"""Whose models stay on disk while a search goes on, and when it has ended."""

import random
from pathlib import Path
from typing import Any

import pytest

from sequifier.artifacts.ledger import Record, State, latest_by_run
from sequifier.results.ranking import in_order
from sequifier.search.keep_models import Surplus
from sequifier.search.make_plan import make_plan
from sequifier.search.plan import Plan
from sequifier.search.repeats import CONFIRMING_SEEDS, to_confirm, with_confirmations, with_repeats
from sequifier.search.table import search_table
from tests.support.searches import FINGERPRINT, metadata, results, search


def planned(root: Path, n_runs: int, records: list[Record] | None = None, **values: Any) -> Plan:
    dropout = [round(0.01 * number, 2) for number in range(n_runs)]
    config = search(training={"dropout": dropout, "epochs": 1}, project_root=str(root), seed=5, **values)
    return with_repeats(make_plan(config, metadata(), records=records or []), records or [])


class Trainer:
    """Writes the models and records of runs without training them, and removes what a search would."""

    def __init__(self, root: Path, n_runs: int, **values: Any) -> None:
        self.root, self.n_runs, self.values = root, n_runs, values
        self.records: list[Record] = []
        (root / "models").mkdir()
        self.start(planned(root, n_runs, **values))

    def start(self, plan: Plan) -> list[Path]:
        """Start the search again; returns the models that were removed."""
        self.plan, self.surplus = plan, Surplus(plan, self.records)
        return self.surplus.remove()

    def train(self, index: int, loss: float | None, state: State = "finished", **metrics: float) -> None:
        run = self.plan.runs[index]
        files = {"record": f"logs/{run.name}"}
        if state in ("finished", "diverged"):
            for what in ("best", "last"):
                files[f"{what}_onnx"] = f"models/{run.name}-{what}.onnx"
                (self.root / files[f"{what}_onnx"]).touch()
        known = {"run": run.number, "name": run.name, "identity": run.identity, "data": FINGERPRINT, "batch_size": 64}
        values = {"state": state, "best_val_loss": loss, "seed": run.config.seed, "files": files}
        self.records.append(Record.model_validate(known | values | {"metrics": metrics}))
        self.surplus.add(self.records[-1])
        self.surplus.remove()

    def models(self) -> list[int]:
        """Numbers of the runs whose models are on disk, each with both of its files."""
        names = [path.name for path in (self.root / "models").iterdir()]
        numbers = sorted({int(name.split("-")[2]) for name in names})
        assert len(names) == 2 * len(numbers)
        return numbers


def test_all_models_stay_unless_asked_otherwise(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, 3)
    for number, loss in enumerate([3.0, 2.0, 1.0]):
        trainer.train(number, loss)
    assert trainer.models() == [0, 1, 2]


@pytest.mark.parametrize(("keep", "limit"), [("best", 1), (1, 1), (3, 3)])
def test_at_any_moment_the_models_of_the_best_runs_are_there(tmp_path: Path, keep: str | int, limit: int) -> None:
    trainer = Trainer(tmp_path, 12, keep_models=keep)
    losses = random.Random(0).sample(range(1, 100), 12)
    for number, loss in enumerate(losses):
        trainer.train(number, loss)
        best = sorted(range(number + 1), key=losses.__getitem__)[:limit]
        assert trainer.models() == sorted(best)


def test_a_metric_to_maximise_keeps_the_largest(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, 2, keep_models="best", metric="val_kind_accuracy", direction="maximize")
    for number, accuracy in enumerate([0.75, 0.5]):
        trainer.train(number, 1.0, val_kind_accuracy=accuracy)
    assert trainer.models() == [0]


def test_a_run_without_a_model_takes_nobodys_place(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, 5, keep_models="best")
    trainer.train(0, 0.5, "pruned")
    trainer.train(1, 2.0)
    trainer.train(2, None, "failed")
    trainer.train(3, 1.0, "diverged")
    trainer.train(4, 3.0)
    assert trainer.models() == [3]


def test_a_start_that_was_killed_between_record_and_removal_is_made_good_and_changes_no_row(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, 3, keep_models="best")
    for number, loss in enumerate([3.0, 2.0, 1.0]):
        trainer.train(number, loss)
    rows = results(trainer.plan, trainer.records)
    for name in ("demo-run-0-best", "demo-run-0-last", "demo-run-1-last"):
        (tmp_path / "models" / f"{name}.onnx").touch()
    assert len(trainer.start(trainer.plan)) == 3
    assert trainer.models() == [2]
    assert trainer.start(trainer.plan) == []
    assert results(trainer.plan, trainer.records) == rows
    assert [(row.run, bool(row.model_path), bool(row.model_again)) for row in rows] == [
        (2, True, False),
        (1, False, True),
        (0, False, True),
    ]


def test_with_repeats_a_model_waits_for_the_last_seed_of_its_configuration(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, 3, keep_models="best", repeats=2)
    for number, loss in enumerate([1.0, 2.0, 3.0]):
        trainer.train(number, loss)
    assert trainer.models() == [0, 1, 2], "each may still have the best mean"
    trainer.train(3, 9.0)
    assert trainer.models() == [0, 1, 2], "the model of a configuration is that of its first seed"
    trainer.train(4, 2.0)
    assert trainer.models() == [1, 2], "5.0 against 2.0"
    trainer.train(5, 0.5)
    assert trainer.models() == [2]
    assert results(trainer.plan, trainer.records)[0].model_path == "models/demo-run-2-best.onnx"


def test_what_is_to_be_confirmed_keeps_its_model_until_it_is(tmp_path: Path) -> None:
    values: dict[str, Any] = {"keep_models": "best", "confirm_top": 2}
    trainer = Trainer(tmp_path, 4, **values)
    for number, loss in enumerate([1.0, 4.0, 2.0, 3.0]):
        trainer.train(number, loss)
    assert trainer.models() == [0, 2, 3], "two to be confirmed, and the best of the others"
    trainer.start(with_confirmations(planned(tmp_path, 4, trainer.records, **values), trainer.records))
    assert [run.config.seed for run in trainer.plan.runs[4:]] == [6, 6, 7, 7]
    for number, loss in zip((4, 5, 6), (9.0, 2.0, 9.0), strict=True):
        trainer.train(number, loss)
        assert 2 in trainer.models()
    trainer.train(7, 2.0)
    assert trainer.models() == [2]
    assert results(trainer.plan, trainer.records)[0].model_path == "models/demo-run-2-best.onnx"


def test_a_run_that_left_the_search_competes_like_the_others(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, 3, keep_models="best")
    for number, loss in enumerate([3.0, 2.0, 1.0]):
        trainer.train(number, loss)
    assert trainer.start(planned(tmp_path, 2, trainer.records, keep_models="best")) == []
    assert trainer.models() == [2]


def by_the_whole_table(plan: Plan, records: list[Record]) -> set[int]:
    """The runs whose models are kept, from the ranked table of all runs, by the rule at the top of the module."""
    latest = latest_by_run(records)
    is_over = {number for number, record in latest.items() if record.state not in ("running", "interrupted")}
    confirmed = {*to_confirm(plan, records)}
    gone = {run.record.run for run in plan.earlier} - {run.number for run in plan.runs}
    kept, decided = set(), []
    for row in in_order(search_table(plan, records, to_rank_alone=True)):
        seeds = plan.config.repeats + (CONFIRMING_SEEDS if confirmed & {*row.numbers} else 0)
        if not gone & {*row.numbers} and (len(row.numbers) < seeds or not is_over.issuperset(row.numbers)):
            kept.add(row.run)
        elif row.value is not None and len(latest[row.run].files) > 1:
            decided.append(row.run)
    limit = plan.config.keep_models
    return kept | {*decided[: 1 if isinstance(limit, str) else limit]}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "values",
    [
        {"keep_models": "best"},
        {"keep_models": 3, "confirm_top": 2},
        {"keep_models": "best", "repeats": 2, "confirm_top": 1},
        {"keep_models": 2, "repeats": 3},
    ],
)
def test_record_by_record_the_models_stay_that_the_whole_table_says(
    tmp_path: Path, seed: int, values: dict[str, Any]
) -> None:
    draw, trainer = random.Random(seed), Trainer(tmp_path, 6, **values)
    on_disk: set[int] = set()
    states: list[State] = ["running", "interrupted", "finished", "finished", "finished", "pruned", "diverged", "failed"]

    def compare() -> None:
        nonlocal on_disk
        on_disk &= by_the_whole_table(trainer.plan, trainer.records)
        assert trainer.models() == sorted(on_disk)

    for n_runs, confirms in ((6, False), (5, False), (5, True)):  # with one run less, and with confirmations
        plan = planned(tmp_path, n_runs, trainer.records, **values)
        trainer.start(with_confirmations(plan, trainer.records) if confirms else plan)
        compare()
        is_over = {record.run for record in trainer.records if record.state not in ("running", "interrupted")}
        waiting = [index for index, run in enumerate(trainer.plan.runs) if run.number not in is_over]
        while waiting and (confirms or draw.random() > 0.03):
            index, state = draw.choice(waiting), draw.choice(states)
            loss = None if state in ("running", "failed") else float(draw.randint(1, 5))  # some are equal
            trainer.train(index, loss, state)
            if state not in ("running", "interrupted"):
                waiting.remove(index)
            if state in ("finished", "diverged"):
                on_disk.add(trainer.records[-1].run)
            compare()
