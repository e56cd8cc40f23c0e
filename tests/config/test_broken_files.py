"""Broken configs, each with the message that a user gets: tests/config/broken/NAME.yaml and NAME.txt.

Each file is checked by `sequifier config validate` in a small project: a table, its metadata, an exported model, a
module of hooks, and configs to inherit from. `python tests/config/test_broken_files.py` writes the messages anew, to be
read before they are kept.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sequifier.artifacts.metadata import Metadata, data_fingerprint, write_metadata
from sequifier.cli.main import main

FILES = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
RUN = "metadata_config_path: configs/metadata_configs/shop.json\nmodel_name: first\ntarget_columns: [item]\n"
CONFIGS = {
    "default.yaml": RUN,
    "base.yaml": RUN,
    "circle.yaml": "base_config_path: train-base-in-a-circle.yaml\n",
    "broken-base.yaml": RUN + "model_spec:\n  dim_model: wide\nsede: 3\n",
}


def make_project(folder: Path) -> None:
    """A project with everything that a config names, the splits empty."""
    for name in ("data", "models", "configs/metadata_configs"):
        (folder / name).mkdir(parents=True)
    (folder / "data" / "orders.csv").write_text("sequenceId,itemPosition,item,price\n1,1,tea,2.5\n")
    for name in ("data/shop-split0.parquet", "data/shop-split1.parquet", "models/shop.onnx"):
        (folder / name).touch()
    (folder / "my_hooks.py").write_text('def tell(e, **context):\n    """Says where the run is."""\n')
    for name, text in CONFIGS.items():
        (folder / "configs" / name).write_text(text)
    columns, ids, statistics = ["item", "price"], {"item": {"milk": 1, "tea": 2}}, {"price": {"std": 1.0, "mean": 2.0}}
    hashes = [{"item": "a", "price": "b"}, {"item": "c", "price": "d"}]
    described = {
        "columns": columns,
        "sequence_column": "sequenceId",
        "position_column": "itemPosition",
        "sequence_type": "Int64",
        "position_type": "Int64",
        "seq_length": 16,
        "stride_by_split": [16, 16],
        "subsequence_start_mode": "distribute",
        "split_method": "within_sequence",
        "split_ratios": [0.8, 0.2],
        "context_events": 512,
        "rows": [80, 20],
        "sequences": [4, 4],
        "column_hashes": hashes,
        "fingerprint": data_fingerprint(columns, ids, statistics, hashes),
    }
    content = {
        "n_classes": {"item": 3},
        "id_maps": ids,
        "split_paths": ["data/shop-split0.parquet", "data/shop-split1.parquet"],
        "column_types": {"item": "String", "price": "Float64"},
        "selected_columns_statistics": statistics,
        "sequifier": described,
    }
    write_metadata(Metadata.model_validate(content), folder / "configs" / "metadata_configs" / "shop.json")


@pytest.fixture(scope="module")
def shop_of_configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    make_project(folder)
    return folder


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_mistake_is_said_with_its_place_and_what_to_do(
    path: Path, shop_of_configs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = f"configs/{path.name}"
    (shop_of_configs / config).write_bytes(path.read_bytes())
    monkeypatch.chdir(shop_of_configs)
    monkeypatch.setattr(sys, "argv", ["sequifier", "config", "validate", config])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capfd.readouterr()
    (shop_of_configs / config).unlink()
    assert said.err.replace(str(shop_of_configs), "PROJECT") == path.with_suffix(".txt").read_text(encoding="utf-8")
    assert (ended.value.code, said.out) == (1, "")


def test_there_are_forty_broken_files_of_every_kind() -> None:
    kinds = {path.stem.partition("-")[0] for path in FILES}
    assert len(FILES) >= 40
    assert {"preprocess", "train", "infer", "search", "sampler"} <= kinds


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_message_names_a_line_of_its_file_or_of_its_base(path: Path) -> None:
    message = path.with_suffix(".txt").read_text(encoding="utf-8")
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    problems = [line for line in message.splitlines()[1:] if line.startswith("  ") and not line.startswith("    ")]
    assert problems
    for problem in problems:
        place = problem.strip().partition(": ")[0]
        name, _, line = place.partition(" ")[0].partition(":")
        assert name.startswith("configs/"), problem
        assert not line or name != f"configs/{path.name}" or 1 <= int(line) <= n_lines


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_project(folder)
        for path in FILES:
            config = folder / "configs" / path.name
            config.write_bytes(path.read_bytes())
            command = [sys.executable, "-m", "sequifier", "config", "validate", f"configs/{path.name}"]
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            config.unlink()
            path.with_suffix(".txt").write_text(done.stderr.replace(temporary, "PROJECT"), encoding="utf-8")
            sys.stdout.write(f"{path.stem}: exit {done.returncode}\n{done.stdout}")
