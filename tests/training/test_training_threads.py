"""More threads than the system gives are one clear error, before OpenMP would end the process."""

import threading
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from sequifier.training import threads


def test_threads_that_cannot_be_started_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    before, start, started = torch.get_num_threads(), threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    monkeypatch.setattr(threads, "_started", 1)
    with pytest.raises(ConfigError, match="64 threads cannot be started here, only 4") as caught:
        threads.set_threads(64)
    assert caught.value.is_shared
    assert torch.get_num_threads() == before
    assert not [thread for thread in started if thread.is_alive()]


@pytest.mark.parametrize("count", [0, 1025, 1_000_000])
def test_no_machine_has_a_million_processors(count: int) -> None:
    values: dict[str, Any] = {"metadata_config_path": "m.json", "model_name": "m", "target_columns": ["a"]}
    with pytest.raises(ValidationError, match="cpu_threads"):
        TrainConfig.model_validate(values | {"cpu_threads": count})
