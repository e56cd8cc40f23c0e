"""A search on whose test split nothing can be scored is refused before it trains."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError
from sequifier.preprocess.pipeline import preprocess
from sequifier.search.plan import Plan
from sequifier.search.planner import Planner
from tests.support.quiet import quiet
from tests.support.shop import TINY_SEARCH, merged


@pytest.fixture(scope="module", params=["parquet", "csv"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences of 12 events for training and validation, and for the test two of 4 and 1, all of one item."""
    root = tmp_path_factory.mktemp("short")
    parts = {"a": "train", "b": "train", "c": "validation", "d": "test", "e": "test"}
    lengths = {"d": 4, "e": 1}
    rows = [
        (
            customer,
            visit,
            f"item{visit % 2 if part != 'test' else 1}",
            "new" if part == "test" else "old",
            1.0 * visit,
            part,
        )
        for customer, part in parts.items()
        for visit in range(lengths.get(customer, 12))
    ]
    columns = ["customer", "visit", "item", "brand", "price", "part"]
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(root / "shop.csv")
    values = {
        "project_root": str(root),
        "data_path": str(root / "shop.csv"),
        "sequence_column": "customer",
        "position_column": "visit",
        "split_method": "given",
        "split_column": "part",
        "seq_length": 4,
        "vocabulary_from": "train",
        "write_format": request.param,
    }
    preprocess(PreprocessConfig.model_validate(values), log=quiet)
    return root


def plan(root: Path, **values: Any) -> Plan:
    config = SearchConfig.model_validate(merged(TINY_SEARCH, {"project_root": str(root)} | values))
    return Planner(config).plan(())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scoring": {"min_events": 4}}, "no event of `item` in the test split.*counts in metrics.*smaller min_events"),
        ({"scoring": {"except": {"item": ["item1"]}}}, "no event of `item` in the test split"),
        ({"target_columns": ["item", "brand"]}, "no event in the test split.*of which `brand` is to be predicted"),
        (
            {"target_columns": ["price"], "prediction_horizon": 4},
            "no event of the 4 steps of prediction_horizon in the test split.*of which `price`.*without one",
        ),
    ],
)
def test_a_test_split_without_a_target_is_refused(project: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        plan(project, **values)


@pytest.mark.parametrize(
    "values",
    [
        {"scoring": {"min_events": 3, "except": {"item": ["item0"]}}},
        {"target_columns": ["price"], "prediction_horizon": 3},
        {"target_columns": ["price"], "prediction_horizon": [1, 3], "metric": "val_price_mae_step_1"},
    ],
)
def test_one_target_is_enough(project: Path, values: dict[str, Any]) -> None:
    assert plan(project, **values).runs
