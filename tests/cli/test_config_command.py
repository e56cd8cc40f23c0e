"""`sequifier config`: show, validate, explain, reference."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sequifier.cli import config as command
from sequifier.config.help.reference import reference
from sequifier.config.identity import identity
from sequifier.config.loading.active import active_values, config_hash
from sequifier.config.loading.kinds import KINDS
from sequifier.config.loading.load import load
from sequifier.config.train import TrainConfig
from tests.support.command_line import Run

ROOT = Path(__file__).parents[2]
RUN = "metadata_config_path: m.json\nmodel_name: first\ntarget_columns: [item]\n"


@pytest.fixture(autouse=True)
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "base.yaml").write_text(RUN + "seed: 1\nmodel_spec: {dim_model: 64}\n")
    (tmp_path / "configs" / "train.yaml").write_text(
        "base_config_path: base.yaml\nmodel_name: second\nmodel_spec:\n  num_layers: 2\n"
        "training_spec:\n  optimizer: {name: AdamW, weight_decay: 0.1}\n"
        "sections:\n  quick_test:\n    training_spec: {epochs: 1}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Key -> value and source of a printed table."""
    found = (re.split(r"  +", line) for line in text.splitlines()[1:-1])
    return {cells[0]: (cells[1], cells[2]) for cells in found}


def test_show_says_where_each_value_comes_from(run: Run) -> None:
    words = ["--config-path", "configs/train.yaml", "--config-section", "quick_test", "--seed", "7"]
    words += ["-D", "training_spec.batch_size=8", "user.threshold=0.8"]
    done = run("config", "show", *words)
    assert done.code == 0
    assert done.out.splitlines()[0] == "configs/train.yaml (train)"
    shown = rows(done.out)
    assert shown["model_name"] == ("second", "configs/train.yaml:2")
    assert shown["metadata_config_path"] == ("m.json", "base configs/base.yaml:1")
    assert shown["model_spec.dim_model"] == ("64", "base configs/base.yaml:5")
    assert shown["model_spec.num_layers"] == ("2", "configs/train.yaml:4")
    assert shown["training_spec.epochs"] == ("1", "configs/train.yaml:9 (section quick_test)")
    assert shown["training_spec.batch_size"] == ("8", "-D")
    assert shown["user.threshold"] == ("0.8", "-D")
    assert shown["seed"] == ("7", "--seed")
    assert shown["training_spec.learning_rate"] == ("0.0003", "default")
    assert shown["model_spec.dim_feedforward"] == ("256", "default")
    assert shown["training_spec.optimizer"] == ("{name: AdamW, weight_decay: 0.1}", "configs/train.yaml:6")
    assert "training_spec.num_workers" not in shown  # has no effect
    assert re.search(r"^config [0-9a-f]{16}, not checked against the data", done.out.splitlines()[-1])


def test_show_says_of_a_value_in_parts_where_each_comes_from(run: Run) -> None:
    done = run("config", "show", "--kind", "train", "-D", "training_spec.optimizer.amsgrad=true", "--given")
    shown = rows(done.out)
    assert shown["training_spec.optimizer"][1] == "configs/train.yaml:6, -D"
    assert all(source != "default" for _, source in shown.values())


def test_show_names_every_value_of_a_search_over_a_base(run: Run) -> None:
    Path("configs/search.yaml").write_text(
        "hp_search_name: s\nsearch_strategy: grid\nbase_config_path: base.yaml\n"
        "overrides:\n  training_spec: {epochs: [1, 2]}\n"
    )
    shown = rows(run("config", "show", "--config-path", "configs/search.yaml").out)
    assert shown["model_hyperparameter_sampling.dim_model"] == ("[64]", "base configs/base.yaml:5")
    assert shown["training_hyperparameter_sampling.epochs"] == ("[1, 2]", "configs/search.yaml:5")
    assert shown["seed"] == ("1", "base configs/base.yaml:4")


def test_validate_says_ok_with_the_hash_and_checks_every_section(run: Run, configs: Path) -> None:
    done = run("config", "validate", "configs/train.yaml", "configs/base.yaml")
    assert done.code == 0
    first, second = done.out.splitlines()
    assert re.match(r"configs/train.yaml: ok \(train; config [0-9a-f]{16}, .*; section quick_test: config", first)
    assert second.startswith("configs/base.yaml: ok (train; config")
    assert "note: configs/base.yaml:1: `metadata_config_path`: m.json does not exist yet" in done.err
    with (configs / "configs" / "train.yaml").open("a") as file:
        file.write("  slow: {training_spec: {epoch: 1}}\n")
    done = run("config", "validate", "configs/train.yaml")
    assert done.code == 1
    assert "configs/train.yaml:10 (section slow): `training_spec.epoch`: unknown key" in done.err


def test_validate_continues_after_a_broken_file_and_fails_in_the_end(run: Run) -> None:
    Path("configs/broken.yaml").write_text(RUN + "sede: 1\n")
    done = run("config", "validate", "configs/broken.yaml", "configs/base.yaml", "configs/none.yaml")
    assert done.code == 1
    assert "configs/broken.yaml:4: `sede`: unknown key" in done.err
    assert "there is no such config file" in done.err
    assert "configs/base.yaml: ok" in done.out


def test_validate_without_a_file_takes_the_default_files(run: Run) -> None:
    assert [line.partition(":")[0] for line in run("config", "validate").out.splitlines()] == ["configs/train.yaml"]
    Path("configs/train.yaml").unlink()
    assert run("config", "validate").code == 2


def test_quiet_says_only_what_is_wrong(run: Run) -> None:
    done = run("config", "validate", "configs/base.yaml", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_validate_takes_the_flag_of_every_other_command_too(run: Run) -> None:
    words = ["--config-path", "configs/base.yaml", "-D", "seed=-1"]
    assert "`seed`" in run("config", "validate", *words).err and run("config", "show", *words).code == 1


def test_a_schedule_is_checked_against_the_run_without_data(run: Run) -> None:
    Path("configs/a.yaml").write_text(RUN + "training_spec: {scheduler: {name: CosineAnnealingLR, T_max: 3}}\n")
    done = run("config", "validate", "configs/a.yaml")
    assert done.code == 0
    assert "note: configs/a.yaml:4: `training_spec.scheduler.T_max`: T_max is 3, the run has 10 epochs" in done.err


def test_an_unknown_kind_of_file_must_be_given(run: Run) -> None:
    Path("configs/a.yaml").write_text("seed: 1\n")
    assert "--kind" in run("config", "show", "--config-path", "configs/a.yaml").err
    assert run("config", "show").code == 2
    done = run("config", "validate", "--kind", "train", "configs/a.yaml")
    assert "`model_name`: is missing" in done.err


def test_every_command_says_a_note_once(run: Run) -> None:
    Path("configs/old.yaml").write_text(RUN.replace("metadata_config_path", "ddconfig_path"))
    done = run("train", "--config-path", "configs/old.yaml")
    assert done.code == 1  # the metadata are not there
    assert done.err.count("`ddconfig_path`: is called `metadata_config_path` now") == 1


def test_explain_says_all_about_a_field(run: Run) -> None:
    text = run("config", "explain", "training_spec.learning_rate").out
    for part in ("0.0003", "above 0, at most 10", "optimizer", "1e-4 to 3e-3", "in a search"):
        assert part in text
    assert "training_hyperparameter_sampling.learning_rate" in text


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("dim_feedforward", ["4 x dim_model"]),
        ("seed", ["preprocess.yaml", "train.yaml, hyperparameter_search.yaml", "infer.yaml", "sampler.seed"]),
        ("infer.seed", ["infer.yaml"]),
        ("model_hyperparameter_sampling.n_head", ["model_spec.n_head (train.yaml)"]),
        ("overrides.model_spec.n_head", ["model_spec.n_head (train.yaml)"]),
        ("seq_length", ["in a search seq_length at the top level, or overrides.seq_length"]),
        ("training_spec.device", ["in a search one value for all runs", "on resume may differ"]),
        ("n_classes", ["accepted because configs of older versions have it"]),
        ("metadata_config_path", ["none: it is mandatory"]),
        ("AdamW", ["weight_decay", "default 0.01", "training_spec.optimizer"]),
        ("CosineAnnealingLR", ["T_max", "required"]),
        ("HuberLoss", ["delta"]),
        ("patience", ["patience is called training_spec.early_stopping_epochs here", "Number of epochs without"]),
        ("bs", ["called training_spec.batch_size or inference_batch_size here"]),
        ("horizon", ["See also autoregression_extra_steps (infer.yaml): Number of events to generate"]),
        ("nhead", ["nhead is called model_spec.n_head here"]),
        ("wd", ["weight_decay is an option of the optimizer: write"]),
        ("nesterov", ["nesterov is an option of optimizers: SGD,"]),
    ],
)
def test_explain_finds_fields_and_names(run: Run, words: str, parts: list[str]) -> None:
    done = run("config", "explain", words)
    assert done.code == 0
    assert [part for part in parts if part not in " ".join(done.out.split())] == []


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("lerning_rate", "did you mean `training_spec.learning_rate`?"),
        ("AdmW", "`AdamW`"),
        ("train.sead", "`seed`"),
        ("pateince", "did you mean `training_spec.early_stopping_epochs`?"),
        ("k-fold", "did you mean `split_column`?"),
        ("chocolate", "`sequifier config reference` lists all fields"),
        ("alice_in", "`sequifier config reference` lists all fields"),
    ],
)
def test_explain_offers_what_is_near(run: Run, word: str, expected: str) -> None:
    done = run("config", "explain", word)
    assert (done.code, done.out) == (1, "")
    assert expected in done.err


def test_reference_prints_what_the_documentation_has(run: Run) -> None:
    assert run("config", "reference").out == reference() == (ROOT / "docs" / "hyperparameters.md").read_text()


def test_reference_prints_and_writes_schemas(run: Run, configs: Path) -> None:
    one = json.loads(run("config", "reference", "--json-schema", "--kind", "train").out)
    assert one["title"] == "Sequifier: train.yaml"
    every = json.loads(run("config", "reference", "--json-schema").out)
    assert list(every["$defs"]) == list(KINDS)
    done = run("config", "reference", "--json-schema", "--output", ".schemas")
    assert done.out.split() == [f".schemas/{kind}.schema.json" for kind in KINDS]
    assert json.loads((configs / ".schemas" / "train.schema.json").read_text()) == one
    assert run("config", "reference", "--kind", "train").code == 2
    done = run("config", "reference", "--output", "configs")
    assert (done.code, "cannot write the file" in done.err) == (1, True)


def test_the_kinds_that_the_command_offers_are_all() -> None:
    assert tuple(KINDS) == command.KINDS


def test_no_part_of_it_loads_torch(configs: Path) -> None:
    code = (
        "import sys\nfrom sequifier.cli.main import cli\n"
        "for words in (['show', '--kind', 'train'], ['validate'], ['explain', 'seed'], ['reference']):\n"
        "    cli.main(['config', *words], standalone_mode=False)\n"
        "print('MODULES', *sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=configs, timeout=60, check=True)
    modules = {name.partition(".")[0] for name in done.stdout.rpartition("MODULES")[2].split()}
    assert "pydantic" in modules
    assert not {"torch", "polars", "onnx", "onnxruntime", "optuna", "pytorch_optimizer"} & modules


def test_the_hash_is_the_runs_identity_and_changes_with_what_counts() -> None:
    config = load(TrainConfig, Path("configs/train.yaml")).config
    assert config_hash(config, "abc") == identity(config, "abc")
    other = load(TrainConfig, Path("configs/train.yaml"), defines=["training_spec.epochs=3"]).config
    assert config_hash(other, "abc") != config_hash(config, "abc")


def test_active_values_are_those_that_differ_from_their_defaults() -> None:
    config = load(TrainConfig, Path("configs/train.yaml"), defines=["training_spec.epochs=10", "seed=1010"]).config
    assert active_values(config) == {
        "metadata_config_path": "m.json",
        "model_name": "second",
        "target_columns": ["item"],
        "model_spec.dim_model": 64,
        "model_spec.num_layers": 2,
        "training_spec.optimizer": {"name": "AdamW", "weight_decay": 0.1},
    }
