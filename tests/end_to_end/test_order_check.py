"""`order_check`: a search that also measures what the order of events is worth, on data where that is known."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sequifier.artifacts.ledger import latest_order_checks, read_ledger
from sequifier.artifacts.sequence_losses import ONE_MODEL, Units, read_unit_sums
from tests.support.command_line import run_here, sequifier
from tests.support.runs import latest
from tests.support.shop import TINY_SEARCH, config_writer, merged, preprocess_shop, shop_rows, write_shop

SEARCH = "configs/hyperparameter_search.yaml"


def start(*words: str) -> str:
    """Search; returns the progress, then the results."""
    done = sequifier("hyperparameter-search", "--config-path", SEARCH, *words)
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


Analyse = Callable[[], Any]


@pytest.fixture
def analysis(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Analyse:
    """Returns what `search-analysis --json` prints."""

    def analyse() -> Any:
        done = run_here(monkeypatch, capfd, "search-analysis", "tune", "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    return analyse


def paired(one: Units, other: Units) -> tuple[float, float]:
    """Mean difference over targets and its standard error over sequences, by its definition."""
    total = (other.total - one.total).sum() / one.count.sum()
    residual = other.total - one.total - total * one.count
    n = int((one.count > 0).sum())
    return float(total), float((n / (n - 1) * (residual**2).sum()) ** 0.5 / one.count.sum())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_shop(tmp_path / "data" / "shop.csv", shop_rows())
    preprocess_shop(tmp_path, split_ratios=[0.6, 0.2, 0.2])
    monkeypatch.chdir(tmp_path)
    config_writer(tmp_path, TINY_SEARCH | {"order_check": True}, "hyperparameter_search.yaml")()
    return tmp_path


def test_the_best_configuration_is_trained_twice_more_on_shuffled_histories(
    project: Path, analysis: Analyse, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    printed = start()
    assert [line.split()[0] for line in printed.splitlines() if line.startswith("[")] == ["[1/2]", "[2/2]"] * 2
    records, checks = latest(project), latest_order_checks(read_ledger(project / "logs/tune"))
    assert ([*records], [*checks]) == ([0, 1], [2, 3])
    found = analysis()
    assert [row["first"]["number"] for row in found["rows"]] in ([0, 1], [1, 0]), "checks have no rank"
    best = found["rows"][0]["first"]["number"]
    winner = yaml.safe_load(Path(f"configs/hp_search/tune-run-{best}.yaml").read_text())
    for record, shuffle in zip(checks.values(), ("all", "before_last"), strict=True):
        assert (record.state, record.order_of, record.seed) == ("finished", best, records[best].seed)
        assert record.n_targets == records[best].n_targets
        config = yaml.safe_load(Path(f"configs/hp_search/{record.name}.yaml").read_text())
        assert config["training_spec"].pop("shuffle_history") == shuffle
        assert winner["training_spec"].pop("shuffle_history", "none") in ("none", "all")
        different = {key for key in winner if winner[key] != config[key]}
        assert different <= {"model_name", "export_generative_model", "export_onnx", "training_spec"}
        winner["training_spec"]["shuffle_history"] = "none"
    assert [path.name for path in (project / "models").glob("*-run-[23]-*")] == [], "their models are of no use"

    for each, (number, record) in zip(found["order"], checks.items(), strict=True):
        assert (each["of"], each["run"], each["split"]) == (best, number, "test")
        assert each["shuffled"] == record.fixed["training_spec.shuffle_history"]
        in_order = read_unit_sums(project / "logs/tune/test_losses.npz")[ONE_MODEL]["val_loss"]
        shuffled = read_unit_sums(project / f"logs/tune/order_losses-run-{number}.npz")[ONE_MODEL]["val_loss"]
        worth, error = paired(in_order, shuffled)
        assert each["worth"] == pytest.approx(worth, rel=1e-9)
        assert each["error"] == pytest.approx(error, rel=1e-9)
        assert each["in_order"] == pytest.approx(found["table"]["test"]["metrics"]["val_loss"], rel=1e-9)
        assert f"{each['worth']:.3g} ± {each['error']:.2g}" in printed
    assert [each["kind"] for each in found["recommendations"]].count("order") == 2
    assert found["order"][0]["worth"] > 0, "the next item follows from the last one"

    before = (project / "logs/tune/ledger.jsonl").read_text()
    start()
    assert (project / "logs/tune/ledger.jsonl").read_text() == before, "nothing is trained again"
    verified = run_here(monkeypatch, capfd, "train", "--config-path", "configs/hp_search/tune-run-2.yaml", "--verify")
    assert verified.code == 0, verified.err
    assert verified.out.startswith("same:")


@pytest.mark.slow
def test_a_search_can_be_checked_later_and_extended_afterwards(project: Path, analysis: Analyse) -> None:
    start("-D", "order_check=false")
    assert latest_order_checks(read_ledger(project / "logs/tune")) == {}
    assert analysis()["order"] == []
    start()
    assert [*latest_order_checks(read_ledger(project / "logs/tune"))] == [2, 3]
    wider = "model_hyperparameter_sampling.dim_model=[8, 16, 32]"
    start("-D", wider, "-D", "model_hyperparameter_sampling.n_head=[2, 4, 4]")
    assert [*latest(project)] == [0, 1, 4], "numbers of checks are not given to other runs"
    best = analysis()["rows"][0]["first"]["number"]
    of = [record.order_of for record in latest_order_checks(read_ledger(project / "logs/tune")).values()]
    assert of[-2:] == [best, best] and len(of) == (4 if best == 4 else 2)


def test_without_a_test_split_the_validation_split_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, analysis: Analyse
) -> None:
    write_shop(tmp_path / "data" / "shop.csv", shop_rows())
    preprocess_shop(tmp_path, split_ratios=[0.8, 0.2])
    monkeypatch.chdir(tmp_path)
    config_writer(tmp_path, TINY_SEARCH | {"order_check": True}, "hyperparameter_search.yaml")()
    start()
    found = analysis()
    checks = latest_order_checks(read_ledger(tmp_path / "logs/tune"))
    for each, record in zip(found["order"], checks.values(), strict=True):
        assert each["split"] == "validation"
        assert each["in_random_order"] == record.best_val_loss
        own = read_unit_sums(tmp_path / latest(tmp_path)[each["of"]].files["sequence_losses"])
        other = read_unit_sums(tmp_path / record.files["sequence_losses"])
        worth, error = paired(own[ONE_MODEL]["val_loss"], other[ONE_MODEL]["val_loss"])
        assert (each["worth"], each["error"]) == (pytest.approx(worth, rel=1e-9), pytest.approx(error, rel=1e-9))
        assert not [path for path in record.files.values() if path.startswith("models/")], "nothing is exported"


def test_an_order_check_of_shuffled_histories_is_refused(project: Path) -> None:
    done = sequifier(
        *("hyperparameter-search", "--config-path", SEARCH, "--dry-run"),
        *("-D", "training_hyperparameter_sampling.shuffle_history=all"),
    )
    assert done.returncode == 1
    assert "order_check" in done.stderr and "shuffle_history is all" in done.stderr


def planted(kind: str, n_sequences: int = 500) -> list[tuple[str, int, str, float]]:
    """Sequences of 6 items.

    Args:
        kind: what the next item follows from. `bag`: how often each item occurred before; `last`: the last item;
            `order`: the last but one.
        n_sequences: number of sequences.
    """
    draw = random.Random(0)
    rows = []
    for sequence in range(n_sequences):
        favourite, items = draw.randrange(6), [draw.randrange(6), draw.randrange(6)]
        for _ in range(22):
            follows = {"bag": favourite, "last": (items[-1] + 1) % 6, "order": (items[-2] + 1) % 6}[kind]
            items.append(follows if draw.random() < 0.6 else draw.randrange(6))
        rows += [(f"s{sequence:04d}", place, f"item{item}", 1.0) for place, item in enumerate(items[2:])]
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "is_worth"), [("bag", (False, False)), ("last", (True, False)), ("order", (True, True))]
)
def test_order_is_worth_something_where_events_follow_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, analysis: Analyse, kind: str, is_worth: tuple[bool, bool]
) -> None:
    write_shop(tmp_path / "data" / "shop.csv", planted(kind))
    preprocess_shop(tmp_path, split_ratios=[0.6, 0.2, 0.2], seq_length=16)
    monkeypatch.chdir(tmp_path)
    values = {
        "input_columns": ["item"],
        "order_check": True,
        "repeats": 3,
        "seed": 1,
        "model_hyperparameter_sampling": {"dim_model": 16, "n_head": 2, "num_layers": 2, "dim_feedforward": 32},
        "training_hyperparameter_sampling": {"epochs": 12, "learning_rate": 0.005, "early_stopping_epochs": 3},
    }
    config_writer(tmp_path, merged(TINY_SEARCH, values), "hyperparameter_search.yaml")()
    print(start())
    found = analysis()["order"]
    for each, expected in zip(found, is_worth, strict=True):
        if expected:
            assert each["worth"] > 10 * each["error"], each
        else:
            assert abs(each["worth"]) < 3 * each["error"], each
            assert each["worth"] < 0.01, each
