"""The values of a config that differ from the defaults, in a line of a terminal."""

import re

from sequifier.config.inference import InferConfig
from sequifier.config.loading.active import LINE, log_line


def test_a_line_names_a_setting_also_where_no_value_is_short_enough() -> None:
    long = "configs/metadata_configs/a-name-that-fills-a-line-of-a-terminal-with-its-characters.json"
    config = InferConfig(model_path=["models/a.onnx"], metadata_config_path=long)
    line = log_line(config)
    assert line.endswith(", non-default settings: metadata_config_path")
    several = log_line(config.model_copy(update={"seed": 7, "write_format": "parquet", "map_to_id": False}))
    shown = re.fullmatch(r"config [0-9a-f]{16}, non-default settings: (.+), and (\d+) more", several)
    assert shown is not None and len(shown[1].split(", ")) + int(shown[2]) == 4
    assert len(several) <= LINE
