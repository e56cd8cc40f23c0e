"""A worker whose attempt was given up while it trains: what it has not renamed into place stays unwritten."""

import time
from pathlib import Path

import pytest

from sequifier.artifacts.metadata import read_metadata
from sequifier.execution.local import LocalExecutor
from tests.support.shop import WriteConfig

SLOW_EPOCHS = """
import time

def after_epoch(e, *, epoch, **context):
    time.sleep(0.3)
"""


@pytest.mark.slow
def test_an_attempt_that_was_given_up_ends_by_itself_and_writes_no_further_checkpoint(
    shop: Path, train_config: WriteConfig
) -> None:
    (shop / "slow.py").write_text(SLOW_EPOCHS)
    path = train_config(training_spec={"epochs": 200}, hooks={"after_epoch": "slow:after_epoch"})
    token = shop / "token"
    token.write_text("first")
    executor = LocalExecutor(shop / "worker.log", silence_seconds=12.0)  # a heartbeat each second
    events, epochs_after, given_up = [], 0, 0.0
    data = read_metadata(shop / "configs/metadata_configs/shop.json").fingerprint
    try:
        for event in executor.run(path, data=data, resume="never", fence=(token, "first")):
            events.append(event["event"])
            if event["event"] != "epoch":
                continue
            if given_up:
                epochs_after += 1
            elif event["epoch"] == 3:
                token.write_text("second")
                given_up = time.time()
    finally:
        executor.close()
    assert events[-1] in ("died", "failed")
    assert epochs_after < 20, "of 200"
    written = [file.stat().st_mtime for file in (shop / "checkpoints").iterdir()]
    assert written and max(written) <= given_up
    assert not list((shop / "models").glob("*"))
