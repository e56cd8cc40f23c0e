from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from sequifier import api
from sequifier.cli.make import command
from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError, SequifierError
from sequifier.project.make import CONFIGS, EXAMPLES, configs, make
from tests.support.quiet import quiet


def test_a_new_project_has_a_commented_config_for_every_command(tmp_path) -> None:
    messages = make("shop", None, tmp_path)
    made = {path.relative_to(tmp_path / "shop").as_posix() for path in (tmp_path / "shop").rglob("*")}
    assert made == {".gitignore", "configs", "data", *(f"configs/{file}" for file in CONFIGS)}
    assert "made shop/" in messages[0]
    assert messages[-2:] == ["  sequifier preprocess", "  sequifier hyperparameter-search"]


def test_a_new_project_asks_for_what_only_the_user_knows_and_for_nothing_else(tmp_path) -> None:
    make("shop", None, tmp_path)
    asked = {}
    for file, model in CONFIGS.items():
        with pytest.raises(ConfigError) as caught:
            load(model, tmp_path / "shop" / "configs" / file)
        assert all("PLEASE FILL" in problem.message for problem in caught.value.problems), str(caught.value)
        asked[file] = {problem.key for problem in caught.value.problems}
    assert asked == {
        "preprocess.yaml": {"data_path", "seq_length"},
        "train.yaml": {"metadata_config_path", "target_columns"},
        "infer.yaml": {"metadata_config_path", "model_path"},
        "hyperparameter_search.yaml": {"metadata_config_path", "target_columns"},
        "sampler_search.yaml": {"model_path"},
    }


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_has_its_data_and_configs_that_fit_them(example, tmp_path) -> None:
    messages = make("trial", example, tmp_path)
    project = tmp_path / "trial"
    loaded = {file: load(model, project / "configs" / file).config for file, model in CONFIGS.items()}
    preprocess = loaded["preprocess.yaml"]
    if preprocess.read_format == "text":
        features = ["char"]
        assert (project / preprocess.data_path).stat().st_size > 100_000
    else:
        features = preprocess.selected_columns
        events = pl.read_parquet(project / preprocess.data_path)
        assert {preprocess.sequence_column, preprocess.position_column, *features} == set(events.columns)
    data = Path(preprocess.data_path).stem
    for file in ("train.yaml", "infer.yaml", "hyperparameter_search.yaml"):
        assert loaded[file].metadata_config_path == f"configs/metadata_configs/{data}.json"
    assert set(loaded["train.yaml"].target_columns) <= set(features)
    assert loaded["infer.yaml"].model_path == [
        f"models/sequifier-{loaded['train.yaml'].model_name}-best-{loaded['train.yaml'].training_spec.epochs}.onnx"
    ]
    assert loaded["sampler_search.yaml"].model_path == loaded["infer.yaml"].model_path[0]
    assert f"data/{preprocess.data_path.split('/')[-1]}" in messages[0]
    assert messages[1:3] == ["next:", "  cd trial"]
    assert messages[3:] == [f"  {command}" for command in EXAMPLES[example].next]


def test_the_command_offers_every_example() -> None:
    option = next(parameter for parameter in command.params if parameter.name == "example")
    assert list(option.type.choices) == list(EXAMPLES)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "item"], "add --data FILE"),
        (["--data", "a.csv", "--example", "text"], "--data and --example exclude each other"),
    ],
)
def test_flags_that_do_not_go_together_are_bad_usage(words, message, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, ["shop", *words])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "shop").exists()


def test_the_command_takes_several_targets_after_one_flag(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{user},{t},{t % 3},{t % 4 / 3}" for user in range(5) for t in range(30)]
    (tmp_path / "events.csv").write_text("\n".join(["user,t,kind,level", *rows]))
    result = CliRunner().invoke(command, ["shop", "--data", "events.csv", "--target", "kind", "level"])
    assert result.exit_code == 0, result.output
    assert load(TrainConfig, tmp_path / "shop/configs/train.yaml").config.target_columns == ["kind", "level"]


@pytest.mark.slow
def test_the_text_example_learns_to_write(tmp_path, monkeypatch) -> None:
    make("trial", "text", tmp_path)
    monkeypatch.chdir(tmp_path / "trial")
    Path("data/topics.txt").write_text("To be, or not to be, that is the question.\r\n" * 400, newline="")
    preprocess_config = load(PreprocessConfig, Path("configs/preprocess.yaml")).config
    api.preprocess(preprocess_config, log=quiet)
    small = ["training_spec.epochs=10", "model_spec.num_layers=1", "training_spec.warmup_steps=10"]
    result = api.train(load(TrainConfig, Path("configs/train.yaml"), defines=small).config, emit=lambda *a, **k: None)
    assert result.best_val_loss is not None and result.best_val_loss < 0.2  # the text repeats itself


@pytest.mark.parametrize("example", [None, *EXAMPLES])
def test_comments_come_from_the_descriptions(example) -> None:
    text = configs(example)["train.yaml"]
    assert "# Name of the run, used in the names of its models, checkpoints and logs." in text
    assert "# Number of passes over the training windows." in text


def test_a_folder_with_something_in_it_is_left_alone(tmp_path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "mine.txt").write_text("mine")
    with pytest.raises(SequifierError, match="not an empty folder; nothing was changed"):
        make("shop", None, tmp_path)
    assert [path.name for path in (tmp_path / "shop").rglob("*")] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path) -> None:
    (tmp_path / "shop").mkdir()
    make("shop", None, tmp_path)
    assert (tmp_path / "shop" / "configs" / "train.yaml").exists()


def test_an_unknown_example_is_refused_with_the_nearest_one(tmp_path) -> None:
    with pytest.raises(SequifierError, match="did you mean `flights`"):
        make("shop", "flight", tmp_path)
    assert not (tmp_path / "shop").exists()


def test_a_file_in_the_way_is_an_error(tmp_path) -> None:
    (tmp_path / "shop").write_text("mine")
    with pytest.raises(SequifierError, match="not an empty folder"):
        make("shop", None, tmp_path)
