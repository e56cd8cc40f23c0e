"""The batch script of `--slurm`; Slurm itself is two scripts of the test."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from sequifier import api
from sequifier.config.loading.load import load
from sequifier.config.search import SearchConfig
from sequifier.errors import ConfigError, RunError
from tests.support.command_line import sequifier
from tests.support.runs import latest
from tests.support.shop import WriteConfig


def test_the_script_starts_the_same_command_and_is_bash(shop: Path, search_config: WriteConfig) -> None:
    path = search_config(execution={"devices": "auto", "cpus_per_run": 12})
    done = sequifier("hyperparameter-search", "--config-path", path, "--slurm", "-D", "seed=3", "user.note=a b")
    assert (done.returncode, done.stdout) == (0, "sbatch configs/tune-slurm.sh\n"), done.stderr
    script = shop / "configs/tune-slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    assert f"cd {shop}\n" in text
    command = f"sequifier hyperparameter-search --config-path {path} -D seed=3 'user.note=a b' --yes"
    assert f"    {command} -D execution.engine=ray " in text
    assert "#SBATCH --cpus-per-task=12\n" in text
    assert "gpus-per-node" not in text, "device is cpu"
    assert f"#SBATCH --output={shop}/logs/tune-slurm-%j.out\n" in text
    assert [*(shop / "logs").iterdir()] == [], "nothing trains, and Slurm has a folder for its output"


def test_paths_with_spaces_and_percent_signs_are_those_of_slurm(
    shop: Path, search_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directive Slurm reads quotes as a shell does, then `%%` as `%`; the path is below the submitter's folder."""
    root = tmp_path / "50% of a day"
    root.mkdir()
    monkeypatch.chdir(root)
    config = load(
        SearchConfig, search_config(project_root=".", hp_search_name="a b", execution={"devices": "auto"})
    ).config
    script = api.slurm_script(config, ["hyperparameter-search"])
    (directive,) = (line for line in script.read_text().splitlines() if line.startswith("#SBATCH --output="))
    (word,) = shlex.split(directive.removeprefix("#SBATCH "))
    assert word == f"--output={root}/logs/a b-slurm-%j.out".replace("50%", "50%%")
    assert (root / "logs").is_dir()


def test_devices_of_one_machine_are_refused_before_anything_waits_in_a_queue(
    shop: Path, search_config: WriteConfig
) -> None:
    config = load(SearchConfig, search_config(execution={"devices": 1})).config
    with pytest.raises(ConfigError, match="1 counts devices of one machine"):
        api.slurm_script(config, ["hyperparameter-search"])
    assert not (shop / "configs/tune-slurm.sh").exists()


def test_an_edited_script_is_not_overwritten(shop: Path, search_config: WriteConfig) -> None:
    sampling = {"device": "auto"}
    config = load(
        SearchConfig, search_config(execution={"devices": "auto"}, training_hyperparameter_sampling=sampling)
    ).config
    words = ["hyperparameter-search"]
    script = api.slurm_script(config, words)
    assert "##SBATCH --gpus-per-node=4 " in script.read_text()
    assert api.slurm_script(config, words) == script, "the same may be written again"
    script.write_text(script.read_text() + "#SBATCH --partition=long\n")
    with pytest.raises(RunError, match="the batch script exists and is not overwritten"):
        api.slurm_script(config, words)


@pytest.mark.slow
def test_the_script_searches_on_an_allocation(shop: Path, search_config: WriteConfig, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray.util", reason="the extra `ray` is not installed")
    path = search_config(execution={"devices": "auto"})
    assert sequifier("hyperparameter-search", "--config-path", path, "--slurm").returncode == 0
    script = (shop / "configs/tune-slurm.sh").read_text().replace("=8", "=1")  # CPUs of this machine
    programs = tmp_path / "slurm"
    programs.mkdir()
    for name, text in {
        "scontrol": f"echo {ray.get_node_ip_address()}",  # never 127.0.0.1, which Ray replaces by it
        "srun": 'while [[ $1 == --* ]]; do shift; done\nexec "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    variables = {"SLURM_JOB_NODELIST": "node", "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "1"}
    environment = {**os.environ, **variables, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash"], input=script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert [record.state for record in latest(shop).values()] == ["finished", "finished"]
