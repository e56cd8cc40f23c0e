"""The section `execution` of a search."""

from pathlib import Path
from typing import Any

import pytest

from sequifier.config.loading.load import load
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError

MINIMAL = "metadata_config_path: m.json\nhp_search_name: s\nsearch_strategy: grid\ntarget_columns: [item]\n"


def loaded(folder: Path, section: str, *defines: str) -> SearchConfig:
    path = folder / "search.yaml"
    path.write_text(MINIMAL + section)
    return load(SearchConfig, path, defines=defines).config


@pytest.mark.parametrize(("written", "read"), [("all", "all"), ("2", 2), ("2.0", 2), ("[0, 2]", [0, 2]), ("[1]", [1])])
def test_devices_are_written_in_the_file_or_on_the_command_line(tmp_path: Path, written: str, read: Any) -> None:
    assert loaded(tmp_path, f"execution: {{devices: {written}}}\n").execution.devices == read
    assert loaded(tmp_path, "", f"execution.devices={written}").execution.devices == read


def test_without_the_section_the_machine_decides(tmp_path: Path) -> None:
    execution = loaded(tmp_path, "").execution
    assert (execution.engine, execution.devices, execution.runs_per_device) == ("local", "auto", 1)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("devices: 0", "0 devices cannot train; write a number from 1 to 1,024, or `auto`"),
        ("devices: -1", "-1 devices cannot train"),
        ("devices: 2000", "2000 devices cannot train"),
        ("devices: []", "the list names no device; write `auto`, or the numbers of GPUs such as [0, 2]"),
        ("devices: [0, 0]", "[0, 0] names GPU 0 twice; name it once, and write `runs_per_device: 2`"),
        ("devices: [0, -1]", "-1 is not the number of a GPU; GPUs are numbered 0, 1, ..."),
        ("devices: [0, true]", "true is not the number of a GPU"),
        ("devices: gpu", "got gpu, allowed: a number of devices, a list of the numbers of GPUs such as [0, 2], `all`"),
        ("devices: true", "got true, allowed: a number of devices"),
        ("devices: 1.5", "got 1.5, allowed: a number of devices"),
        ("devices: null", "got null, allowed: a number of devices"),
        ("runs_per_device: 0", "should be greater than 0, got 0"),
        ("runs_per_device: true", "got true"),
        ("gpus_per_run: 2", "2 GPUs for one run are refused: models of this size fit on one"),
        ("gpus_per_run: 0.25", "to share one, write 1 and runs_per_device: 4"),
        ("gpus_per_run: -1", "should be greater than or equal to 0, got -1"),
        ("cpus_per_run: 0", "should be greater than 0, got 0"),
        ("max_parallel: 0", "should be greater than 0, got 0"),
        ("max_node_losses: -1", "should be greater than or equal to 0, got -1"),
        ("address: ''", "got ''"),
        ("engine: slurm", "got 'slurm', allowed: 'local' or 'ray'"),
        ("device: cpu", "it belongs under `training_hyperparameter_sampling`"),
        ("n_jobs: 4", "it is called `devices` here"),
    ],
)
def test_what_is_wrong_is_one_error_with_its_place(tmp_path: Path, section: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"execution:\n  {section}\n")
    assert "1 problem" in str(caught.value)
    assert f"search.yaml:6: `execution.{section.partition(':')[0]}`: " in str(caught.value)
    assert message in str(caught.value)


def test_the_fields_of_a_cluster_stay_where_one_machine_trains(tmp_path: Path) -> None:
    """So that `-D execution.engine=local` is all that it takes to try a search out."""
    section = "execution: {engine: ray, address: 'head:6379', gpus_per_run: 0, cpus_per_run: 4, max_parallel: 8}\n"
    execution = loaded(tmp_path, section, "execution.engine=local").execution
    assert (execution.engine, execution.cpus_per_run, execution.max_node_losses) == ("local", 4, 3)


def test_the_words_of_other_libraries_lead_to_the_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"execution\.devices"):
        loaded(tmp_path, "max_concurrent_trials: 4\n")
