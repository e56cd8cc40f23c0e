"""Skewed amounts, whose logarithm `make` proposes to predict."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig
from sequifier.project.column_choice import Choice
from sequifier.project.column_facts import Facts
from sequifier.project.make import OwnTable, make
from sequifier.project.skewed_columns import with_transforms
from tests.support.quiet import quiet

N = 4000


def columns() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    amount = np.exp(draw.normal(3, 1.5, N))
    return {
        "amount": amount,
        "with_gaps": np.where(np.arange(N) % 7 == 0, math.nan, amount),
        "signed": amount - 1,  # some are negative
        "even": draw.uniform(0, 100, N),
        "bell": draw.normal(500, 20, N),
        "fraction": draw.beta(0.2, 5, N),  # skewed, but log(1 + x) of small values is x
        "constant": np.full(N, 3.0),
    }


def choice(name: str, values: np.ndarray, *, use: str = "real") -> Choice:
    known = values[np.isfinite(values)]
    facts = Facts("number", N, N - len(known), len(set(known)), float(known.min()), float(known.max()))
    return Choice(name, facts, use)  # type: ignore[arg-type]


def test_skewed_amounts_are_transformed_and_nothing_else() -> None:
    table = columns()
    given = [choice(name, values) for name, values in table.items()]
    found = with_transforms(given, pl.LazyFrame(table))
    assert [each.column for each in found if each.transform] == ["amount", "with_gaps"]
    assert [each.column for each in found] == list(table)
    amount = table["amount"]
    third = np.mean(((amount - amount.mean()) / amount.std()) ** 3)
    logarithm = np.log(amount + 1)
    less = np.mean(((logarithm - logarithm.mean()) / logarithm.std()) ** 3)
    assert found[0].skewed == (f"its values are skewed (skewness {third:.1f}), their logarithm is less so ({less:.1f})")


def test_categories_have_no_transform() -> None:
    table = columns()
    (found,) = with_transforms([choice("amount", table["amount"], use="categorical")], pl.LazyFrame(table))
    assert found.transform is None


def test_the_proposal_is_in_the_config_with_its_reason_and_preprocess_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pl.DataFrame(columns()).select(
        who=pl.Series([f"c{n // 40}" for n in range(N)]),
        step=pl.Series([n % 40 for n in range(N)]),
        item=pl.Series(["abcd"[n * n % 4] for n in range(N)]),
        spent=pl.col("amount"),
        even=pl.col("even"),
    )
    table.write_csv(tmp_path / "spending.csv")
    lines = make("project", None, tmp_path, OwnTable(tmp_path / "spending.csv", "who", "step", ("item",)))
    said = "\n".join(lines)  # a remark may be below the line of its column
    assert "log1p, because its values are skewed" in said[said.index("  spent ") :]
    path = tmp_path / "project" / "configs" / "preprocess.yaml"
    assert "# Its values are skewed (skewness" in path.read_text()
    config = load(PreprocessConfig, path).config
    assert config.transforms == {"spent": "log1p"}
    monkeypatch.chdir(tmp_path / "project")
    metadata = read_metadata(api.preprocess(config, log=quiet))
    assert metadata.scale("spent").transform == "log1p"
    assert metadata.scale("even").transform is None
