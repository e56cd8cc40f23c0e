"""docs/recipes.md: each command of the page works, and prints what the page shows where no training is behind it."""

from pathlib import Path

import polars as pl
import pytest

from tests.support.docs_scripts import DOCS, docs_script


@pytest.mark.slow
def test_the_recipes_run_from_raw_files_to_predictions(tmp_path: Path) -> None:
    tutorial, recipes = docs_script("tutorial"), docs_script("recipes")
    recipes.write_raw_files(tmp_path)
    shown = tutorial.run(tmp_path, page=(DOCS / "recipes.md").read_text(encoding="utf-8"))
    orders, made, *_ = shown
    for block in (orders, made):
        assert block.printed == block.in_page
    (top,) = (tmp_path / "shop" / "outputs" / "top_k").glob("*-orders-product-top_k.csv")
    assert pl.read_csv(top)["rank"].value_counts().sort("rank")["count"].to_list() == [1500] * 3
    (next_events,) = (tmp_path / "claims" / "outputs" / "predictions").glob("*-running-predictions.csv")
    assert pl.read_csv(next_events).height == 40
    (labels,) = (tmp_path / "leavers" / "outputs" / "probabilities").glob("*-new-visits-left-probabilities.csv")
    found = pl.read_csv(labels)
    assert found.height == 100
    assert ((found["no"] + found["yes"]) - 1).abs().max() < 1e-5
    (forecasts,) = (tmp_path / "load" / "outputs" / "predictions").glob("*-latest-predictions.csv")
    found = pl.read_csv(forecasts)
    assert found.height == 6 * 24 and (found["load_q10"] < found["load_q90"]).all()
    assert 'id="forecasts"' in (tmp_path / "load" / "forecasts.html").read_text()
