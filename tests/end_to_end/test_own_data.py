"""From a stranger's table to a finished search in three commands, for tables of different shapes."""

import gzip
import os
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from sequifier.cli.main import cli
from tests.support.event_log import claims, log_of


def dates_as_positions(folder: Path) -> list[str]:
    """Text ids, dates, an id-like and a constant column, missing values."""
    draw = random.Random(1)
    rows = ["customer,day,item,receipt,price,country"]
    for customer in range(30):
        item = draw.randrange(6)
        for visit in range(draw.randint(8, 40)):
            item = (item + draw.choice([1, 1, 2])) % 6
            price = "" if draw.random() < 0.05 else f"{10 + item + draw.random():.2f}"
            day = (datetime(2024, 1, 1) + timedelta(days=3 * visit)).date()
            rows.append(f"C{customer:03d},{day},item {item},R{len(rows):05d},{price},NZ")
    (folder / "orders.csv").write_text("\n".join(rows) + "\n")
    return ["orders.csv", "--sequence", "customer", "--order", "day", "--target", "item", "price"]


def integer_codes(folder: Path) -> list[str]:
    """Integers throughout: ids, positions, codes with gaps, a measurement."""
    draw = random.Random(2)
    rows = ["machine_id,step,state_code,load"]
    rows += [
        f"{1000 + 7 * m},{t},{100 * (1 + (t + m) % 5)},{draw.randint(-500, 500)}" for m in range(12) for t in range(40)
    ]
    (folder / "machines.csv").write_text("\n".join(rows) + "\n")
    return ["machines.csv", "--target", "state_code"]


def semicolons_with_byte_order_mark(folder: Path) -> list[str]:
    """As a spreadsheet writes it in Europe."""
    rows = ["Kunde;Datum;Artikel;Preis"]
    rows += [f"{k};{1 + t:02d}.{1 + k % 12:02d}.2024;A{(t + k) % 4};{t},5" for k in range(25) for t in range(28)]
    (folder / "export.csv").write_bytes(("\ufeff" + "\r\n".join(rows) + "\r\n").encode())
    return ["export.csv", "--sequence", "Kunde", "--order", "Datum", "--target", "Artikel"]


def parquet_with_bools_and_datetimes(folder: Path) -> list[str]:
    """Booleans as a target, datetimes as positions and as a column, a category type."""
    n = 600
    start = datetime(2024, 1, 1)
    table = pl.DataFrame(
        {
            "sensor": [f"s{i % 10}" for i in range(n)],
            "time": [start + timedelta(minutes=i) for i in range(n)],
            "is_on": [(i // 10) % 3 > 0 for i in range(n)],
            "level": [((i // 10) % 7) / 7 for i in range(n)],
            "serviced": [start + timedelta(days=i % 5) for i in range(n)],
            "mode": pl.Series([f"m{i % 3}" for i in range(n)], dtype=pl.Categorical),
        }
    )
    table.write_parquet(folder / "sensors.parquet")
    return ["sensors.parquet", "--target", "is_on"]


def very_short_sequences(folder: Path) -> list[str]:
    """One to three events each."""
    rows = ["session,step,page"]
    rows += [f"{s},{t},page {(s + t) % 4}" for s in range(200) for t in range(1 + s % 3)]
    (folder / "clicks.csv").write_text("\n".join(rows) + "\n")
    return ["clicks.csv", "--target", "page"]


def events_at_the_same_time(folder: Path) -> list[str]:
    """Several events a day; `NA` for missing numbers; unsorted."""
    rows = [
        f"u{u},2024-02-{1 + t // 3:02d},{'abcd'[(t + u) % 4]},{'NA' if t == 4 else t}"
        for t in range(30)
        for u in range(12)
    ]
    random.Random(0).shuffle(rows)
    (folder / "log.csv").write_text("\n".join(["user,day,action,amount", *rows]) + "\n")
    return ["log.csv", "--target", "action"]


def a_single_series(folder: Path) -> list[str]:
    """No sequence column at all."""
    start = datetime(2016, 7, 1)
    rows = ["date,load,OT"]
    rows += [f"{start + timedelta(hours=i)},{i % 24 / 3},{(i % 24) / 24 + i % 5}" for i in range(400)]
    (folder / "series.csv").write_text("\n".join(rows) + "\n")
    return ["series.csv", "--target", "OT"]


def an_event_log(folder: Path) -> list[str]:
    """A compressed log of process mining, whose format names its columns."""
    (folder / "claims.xes.gz").write_bytes(gzip.compress(log_of(claims()).encode()))
    return ["claims.xes.gz"]


def customers_with_a_label(folder: Path) -> list[str]:
    """A label and an attribute of each customer, dates that follow one another, and a skewed amount."""
    draw = random.Random(5)
    rows = ["customer,time,action,amount,region,churned"]
    for customer in range(240):
        start = datetime(2024, 1, 1) + timedelta(days=customer)
        leaves = draw.random() < 0.4
        for step in range(draw.randint(4, 9)):
            action = draw.choice(["buy", "ask", "complain" if leaves else "buy"])
            time = start + timedelta(hours=5 * step)
            amount = f"{draw.lognormvariate(2, 1.2):.2f}"
            rows.append(f"c{customer},{time.isoformat()},{action},{amount},r{customer % 4},{'yes' if leaves else 'no'}")
    (folder / "customers.csv").write_text("\n".join(rows) + "\n")
    return ["customers.csv", "--target", "churned"]


def electricity_transformer(folder: Path) -> list[str]:
    """ETTh1, where the environment variable SEQUIFIER_ETTH1 says where it is."""
    path = os.environ.get("SEQUIFIER_ETTH1", "")
    if not Path(path).is_file():
        pytest.skip("SEQUIFIER_ETTH1 names no file")
    return [path, "--target", "OT"]


SHAPES = [
    dates_as_positions,
    integer_codes,
    semicolons_with_byte_order_mark,
    parquet_with_bools_and_datetimes,
    very_short_sequences,
    events_at_the_same_time,
    a_single_series,
    an_event_log,
    customers_with_a_label,
    electricity_transformer,
]


def run(*words: str) -> Result:
    """A command as a user types it."""
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_three_commands_lead_to_ranked_models(
    shape: Callable[[Path], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, *columns = shape(tmp_path)
    said = run("make", "project", "--data", data, *columns).output
    assert said.splitlines()[-2:] == ["  sequifier preprocess", "  sequifier hyperparameter-search"]
    project = tmp_path / "project"
    monkeypatch.chdir(project)
    run("preprocess")
    # As it is written, but for the lengths of trainings, so that the test is over soon.
    tiny = ["training_hyperparameter_sampling.epochs=1", "model_hyperparameter_sampling.dim_model=[8]"]
    tiny += ["model_hyperparameter_sampling.n_head=[2]", "training_hyperparameter_sampling.max_steps=2"]
    run("hyperparameter-search", "--n-samples", "2", "--yes", "-D", *tiny)
    results = pl.read_csv(project / "logs" / "project-search" / "results.csv")
    assert results.filter(state="finished").height == 2
    run("hyperparameter-search", "--dry-run")  # the 12 runs as they are written are valid, every one
    assert len(list((project / "configs" / "hp_search").glob("*.yaml"))) >= 12
    run("train", "-D", "training_spec.epochs=1", "training_spec.max_steps=2")
    model = next((project / "models").glob("sequifier-project-best-*.onnx"))
    run("infer", "--model-path", str(model.relative_to(project)))
    predictions = pl.read_csv(next((project / "outputs" / "predictions").glob("*.csv")))
    assert predictions.height > 0
