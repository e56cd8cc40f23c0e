"""The loss of a target whose config names none."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from sequifier.config.base import Named
from sequifier.config.identity import identity
from sequifier.config.resolve import resolve
from sequifier.config.train import TrainConfig
from sequifier.prepare import prepare
from sequifier.search.run_parts import merge_key_of
from sequifier.training.shared import Shared
from tests.support.shop import TINY_RUN, merged
from tests.support.small_project import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    generator = np.random.default_rng(0)
    start = datetime(2024, 1, 1)
    times = [start + timedelta(hours=float(hours)) for hours in generator.exponential(5, (12, 20)).cumsum(1).ravel()]
    project = Project(tmp_path_factory.mktemp("criteria"))
    frame = pl.DataFrame(
        {
            "sequenceId": np.repeat(np.arange(12), 20),
            "itemPosition": times,
            "amount": generator.lognormal(2, 1, 240),
            "price": generator.normal(size=240),
            "balance": generator.normal(size=240),
        }
    )
    project.run(
        project.write(frame),
        time_features=["gap"],
        transforms={"amount": "log1p", "balance": "asinh"},
        split_method="between_sequence",
    )
    return project


def config(project: Project, **values: object) -> TrainConfig:
    base = {
        "project_root": str(project.root),
        "metadata_config_path": "configs/metadata_configs/events.json",
        "target_columns": ["amount", "price", "balance", "time_gap"],
    }
    return TrainConfig.model_validate(merged(merged(TINY_RUN, base), values))


def test_times_and_log1p_targets_are_predicted_by_their_median(project: Project) -> None:
    losses = prepare(config(project), Shared()).objective.losses
    names = {target: loss.criterion.name for target, loss in losses.items()}
    assert names == {"amount": "L1Loss", "price": "MSELoss", "balance": "MSELoss", "time_gap": "L1Loss"}
    given = config(project, training_spec={"criterion": {"amount": "MSELoss"}})
    assert prepare(given, Shared()).objective.losses["amount"].criterion == Named(name="MSELoss")


def test_a_search_merges_a_criterion_with_the_default_of_its_target(project: Project) -> None:
    metadata = project.metadata

    def key(**criterion: str) -> str:
        return merge_key_of(resolve(config(project, training_spec={"criterion": criterion}), metadata), metadata)

    assert key() == key(amount="L1Loss") == key(price="MSELoss") == key(time_gap="L1Loss")
    assert len({key(), key(amount="MSELoss"), key(price="L1Loss"), key(time_gap="MSELoss")}) == 4


def test_the_default_is_no_part_of_an_identity(project: Project) -> None:
    metadata = project.metadata
    resolved = resolve(config(project), metadata)
    assert resolved.training_spec.criterion == {}
    written = resolve(config(project, training_spec={"criterion": {"amount": "L1Loss"}}), metadata)
    assert identity(resolved, metadata.fingerprint) != identity(written, metadata.fingerprint)
