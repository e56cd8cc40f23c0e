"""`make --data` for logs of process mining, whose format names the sequence, the order and the target."""

from pathlib import Path

import pytest

from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import DataError
from sequifier.project.make import OwnTable, make
from tests.support.event_log import claims, log_of


def write(folder: Path, text: str, name: str = "claims.xes") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_log_needs_no_flags(tmp_path: Path) -> None:
    lines = make("project", None, tmp_path, OwnTable(write(tmp_path, log_of(claims()))))
    configs = tmp_path / "project" / "configs"
    preprocess = load(PreprocessConfig, configs / "preprocess.yaml").config
    assert (preprocess.data_path, preprocess.read_format) == ("../claims.xes", "xes")
    assert (preprocess.sequence_column, preprocess.position_column) == ("case:concept:name", "eventNumber")
    assert preprocess.selected_columns == ["concept:name", "cost", "lifecycle:transition", "case:amount"]
    assert preprocess.sequence_columns == ["case:amount"]
    train = load(TrainConfig, configs / "train.yaml").config
    assert train.target_columns == ["concept:name"]
    assert train.metadata_config_path == "configs/metadata_configs/claims.json"
    assert (
        "note: the format of the table gives --sequence case:concept:name, --order eventNumber, --target concept:name "
        "(the name of the trace, the order in the file, and the activity)"
    ) in lines
    assert list((tmp_path / "project" / "data").iterdir()) == []


def test_what_is_left_out_of_a_log_is_reported(tmp_path: Path) -> None:
    text = log_of(claims()).replace("</event>", '<list key="parts"/></event>', 3)
    lines = make("project", None, tmp_path, OwnTable(write(tmp_path, text)))
    assert "note: claims.xes: 3 attributes with several values are left out: list `parts`" in lines


def test_the_columns_of_a_log_can_be_chosen(tmp_path: Path) -> None:
    data = OwnTable(write(tmp_path, log_of(claims())), order="time:timestamp", targets=["lifecycle:transition"])
    make("project", None, tmp_path, data)
    configs = tmp_path / "project" / "configs"
    assert load(PreprocessConfig, configs / "preprocess.yaml").config.position_column == "time:timestamp"
    assert load(TrainConfig, configs / "train.yaml").config.target_columns == ["lifecycle:transition"]


def test_times_of_a_log_that_repeat_can_order_its_events(tmp_path: Path) -> None:
    data = write(tmp_path, log_of(claims()).replace("T01:", "T00:"))
    lines = make("project", None, tmp_path, OwnTable(data, order="time:timestamp"))
    assert any("have the `time:timestamp` of another one" in line for line in lines)
    config = load(PreprocessConfig, tmp_path / "project" / "configs" / "preprocess.yaml").config
    assert (config.position_column, config.repeated_positions) == ("time:timestamp", "keep")


@pytest.mark.parametrize(
    ("text", "name", "parts"),
    [
        (log_of(claims())[:-20], "claims.xes", ["the log is cut"]),
        (log_of(claims()), "claims.xml", ["looks like XML", "claims.xml", "give it the ending .xes"]),
        ("case,activity\n1,a\n", "claims.xes", ["not valid XML"]),
    ],
)
def test_a_log_that_cannot_be_used(text: str, name: str, parts: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        make("project", None, tmp_path, OwnTable(write(tmp_path, text, name)))
    assert [part for part in parts if part not in str(raised.value)] == []
    assert [item.name for item in tmp_path.iterdir()] == [name]
