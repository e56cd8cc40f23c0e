"""What is said of a run whose sizes make no sense, before anything is trained."""

from pathlib import Path
from typing import Any

import pytest

from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.prepare import prepare
from sequifier.training.shared import Shared
from tests.support.shop import TINY_RUN, merged, preprocess_shop, shop_rows, write_shop


@pytest.fixture
def config(tmp_path: Path) -> Any:
    write_shop(tmp_path / "data" / "shop.csv", shop_rows(n_customers=6))
    preprocess_shop(tmp_path)
    return lambda **values: TrainConfig.model_validate(merged(TINY_RUN, {"project_root": str(tmp_path), **values}))


def test_a_window_longer_than_every_sequence_is_a_warning(config: Any) -> None:
    ready = prepare(config(seq_length=5000), Shared())
    (warning,) = [line for line in ready.warnings if "seq_length" in line]
    assert warning.startswith("seq_length 5,000 exceeds the longest sequence, of ")
    assert not any("seq_length" in line for line in prepare(config(seq_length=8), Shared()).warnings)


def test_weights_larger_than_the_memory_are_refused_before_they_are_made(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sequifier.prepare.memory_bytes", lambda: 1000)
    with pytest.raises(
        ConfigError, match=r"the model's weights take .* \(column `item` has 7 classes\); this machine has"
    ):
        prepare(config(), Shared())
