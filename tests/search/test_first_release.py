"""Ledgers that an early release wrote: they open, resume and report the same numbers.

`data/first_release` holds a bayesian search (`tpe`) and a grid with two seeds (`grid`) of the shop in the tests, run
by the code of commit 7fe1665: ledgers, run files, records, metadata, configs and the results.csv of that release.
"""

import csv
import shutil
from pathlib import Path

import pytest

from sequifier.artifacts.ledger import LEDGER_FILE, Ledger, Record, read_ledger
from sequifier.artifacts.metadata import Metadata, read_metadata
from sequifier.config.loading.load import load
from sequifier.config.search import SearchConfig
from sequifier.results.ranking import ranked
from sequifier.results.read import read_search
from sequifier.results.trials import Table
from sequifier.search.make_plan import make_plan
from sequifier.search.plan import Plan
from sequifier.search.proposals import Proposer
from sequifier.search.repeats import with_repeats
from sequifier.search.table import complete_ledger, search_table

STORED = Path(__file__).parent / "data" / "first_release"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(STORED, root)
    monkeypatch.chdir(root)
    return root


def config_of(name: str) -> SearchConfig:
    return load(SearchConfig, Path("configs") / f"{name}.yaml").config


def data() -> Metadata:
    return read_metadata(Path("configs/metadata_configs/shop.json"))


def planned(name: str, records: list[Record]) -> Plan:
    return with_repeats(make_plan(config_of(name), data(), records=records), records)


def stored_rows(name: str) -> list[dict[str, str]]:
    with Path(f"logs/{name}/results.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["run"]]


def numbers(table: Table) -> list[tuple[object, ...]]:
    return [(row.run, row.numbers, row.value, row.first.best_epoch, row.n_parameters) for row in ranked(table)]


@pytest.mark.parametrize("name", ["tpe", "grid"])
def test_it_opens_and_reports_the_numbers_of_its_release(project: Path, name: str) -> None:
    before = (project / "logs" / name / LEDGER_FILE).read_bytes()
    table = read_search(name)
    found = [
        (str(row.run), " ".join(map(str, row.numbers)), repr(row.best_val_loss), str(row.n_parameters))
        for row in ranked(table)
    ]
    expected = [(row["run"], row["runs"], row["best_val_loss"], row["parameters"]) for row in stored_rows(name)]
    assert found == expected
    assert (project / "logs" / name / LEDGER_FILE).read_bytes() == before, "a reader writes nothing"


@pytest.mark.parametrize("name", ["tpe", "grid"])
def test_it_resumes_with_nothing_left_to_train(project: Path, name: str) -> None:
    records = read_ledger(project / "logs" / name)
    plan = planned(name, records)
    assert (plan.new, plan.difference().gone, plan.n_to_propose) == ((), (), 0)
    assert [run.record.identity if run.record else "" for run in plan.runs] == [run.identity for run in plan.runs]
    assert numbers(search_table(plan, records)) == numbers(read_search(name))


@pytest.mark.parametrize("n_known", [11, 12])
def test_tpe_proposes_the_configuration_that_its_release_proposed(project: Path, n_known: int) -> None:
    records = read_ledger(project / "logs" / "tpe")
    known = [record for record in records if record.run < n_known]
    proposed = Proposer(planned("tpe", known), data()).next(known)
    following = next(record for record in records if record.run == n_known)
    assert proposed is not None
    assert (proposed.number, proposed.identity) == (n_known, following.identity)


@pytest.mark.parametrize("name", ["tpe", "grid"])
def test_the_next_search_appends_one_completed_record_for_each_run(project: Path, name: str) -> None:
    folder = project / "logs" / name
    before = numbers(read_search(name))
    spent = sum(trial.seconds or 0.0 for trial in read_search(name).trials)
    with Ledger.open(folder) as ledger:
        n_records, n_runs = len(ledger.records), len(ledger.latest())
        complete_ledger(planned(name, ledger.records), ledger)
        assert len(ledger.records) == n_records + n_runs
        complete_ledger(planned(name, ledger.records), ledger)
        assert len(ledger.records) == n_records + n_runs, "once"
        completed = ledger.latest().values()
    shutil.rmtree(project / "configs" / "hp_search")
    shutil.rmtree(project / "logs" / f"{name}-run-0", ignore_errors=True)
    assert numbers(read_search(name)) == before, "the ledger alone says what its runs are"
    assert sum(trial.seconds or 0.0 for trial in read_search(name).trials) == pytest.approx(spent)
    assert {tuple(record.columns or ()) for record in completed} == {("item",)}
    searched = set(planned(name, list(completed)).searched)
    assert all(record.settings is not None and set(record.settings) == searched for record in completed)


def test_what_a_run_was_is_null_where_its_file_is_gone_or_edited(project: Path) -> None:
    (project / "configs/hp_search/grid-run-0.yaml").unlink()
    edited = project / "configs/hp_search/grid-run-1.yaml"
    edited.write_text(edited.read_text().replace("dropout: 0.0", "dropout: 0.5"))
    trials = read_search("grid").trials
    known = [bool(trial.settings) for trial in trials]
    assert known[:3] == [False, False, True]
    assert [trial.n_parameters is None for trial in trials[:3]] == [True, True, False]
    assert all(trial.value is not None for trial in trials)
