"""Searches that vary the distribution of a target."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sequifier.artifacts.metadata import Metadata, read_metadata
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError
from sequifier.search.make_plan import make_plan
from tests.support.shop import TINY_SEARCH, merged, new_shop

QUANTILES, MIXTURE, POINT = ({"price": name} for name in ("quantiles", "lognormal_mixture", "point"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Metadata:
    root = new_shop(tmp_path_factory.mktemp("distributions"))
    return read_metadata(root / "configs" / "metadata_configs" / "shop.json")


def search(distributions: list[dict[str, str]], **values: Any) -> SearchConfig:
    sampling = {"distribution": distributions, "dim_model": [8], "n_head": [2]}
    base = {"target_columns": ["price"], "model_hyperparameter_sampling": sampling}
    return SearchConfig.model_validate(merged(merged(TINY_SEARCH, base), values))


@pytest.mark.parametrize(
    ("distributions", "metric", "fix"),
    [
        ([QUANTILES, MIXTURE], "val_loss", "val_price_crps"),
        ([QUANTILES, MIXTURE], "val_price_loss", "val_price_crps"),
        ([POINT, QUANTILES], "val_loss", "val_price_mae"),
        ([{}, QUANTILES], "val_loss", "val_price_mae"),
    ],
)
def test_losses_of_different_distributions_are_not_ranked_together(
    distributions: list[dict[str, str]], metric: str, fix: str
) -> None:
    with pytest.raises(ValidationError, match=f"measured with the distribution that this search varies.*{fix}"):
        search(distributions, metric=metric)


def test_the_metrics_that_do_not_depend_on_the_loss_rank(data: Metadata, tmp_path: Path) -> None:
    root = {"project_root": str(tmp_path)}
    plan = make_plan(search([QUANTILES, MIXTURE], metric="val_price_crps", **root), data)
    assert [run.config.model_spec.distribution for run in plan.runs] == [QUANTILES, MIXTURE]
    plan = make_plan(search([POINT, {}, QUANTILES], metric="val_price_mae", **root), data)
    assert [run.config.model_spec.distribution for run in plan.runs] == [POINT, QUANTILES], "point is the default"
    with pytest.raises(ConfigError, match="there is no metric `val_price_crps`"):
        make_plan(search([POINT, QUANTILES], metric="val_price_crps", **root), data)
