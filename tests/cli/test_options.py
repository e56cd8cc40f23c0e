"""Flags reach the config they are meant for."""

from pathlib import Path
from typing import Any

import pytest

from sequifier import api
from tests.support.command_line import Run

CONFIGS = {
    "preprocess": "data_path: data/shop.csv\nseq_length: 8\nselected_columns: [a]\n",
    "train": "metadata_config_path: m.json\nmodel_name: n\ntarget_columns: [a]\ninput_columns: [a]\n",
    "infer": "model_path: m.onnx\ninput_columns: [a]\n",
    "hyperparameter-search": "metadata_config_path: m.json\nhp_search_name: n\ntarget_columns: [a]\nn_samples: 2\n",
}


@pytest.fixture
def given(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The config that a command hands to the api."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    for name, text in CONFIGS.items():
        (tmp_path / "configs" / f"{name.replace('-', '_')}.yaml").write_text(text)
    taken: list[Any] = []

    def take(config: Any, **options: Any) -> None:
        taken.append((config, options))
        raise KeyboardInterrupt

    for function in ("preprocess", "train", "infer", "search"):
        monkeypatch.setattr(api, function, take)

    def command(*words: str) -> tuple[Any, dict[str, Any]]:
        taken.clear()
        done = run(*words)
        assert taken, done.err
        assert (done.code, done.err.splitlines()[-1]) == (130, "interrupted")
        config, options = taken[0]
        return config, options

    return command


def test_the_default_config_is_the_commands_own_in_the_working_folder(given: Any) -> None:
    for name in CONFIGS:
        assert type(given(name)[0]).__name__ == {"hyperparameter-search": "SearchConfig"}.get(
            name, f"{name.title()}Config"
        )


def test_one_define_flag_takes_several_words_and_may_be_repeated(given: Any) -> None:
    expected = ("b", 3, 7, [1, 2])
    for words in (
        ["-D", "model_name=b", "training_spec.epochs=3", "-D", "seed=7", "user.list=[1, 2]"],
        ["--define", "model_name=b", "training_spec.epochs=3", "seed=7", "user.list=[1, 2]", "--quiet"],
        ["--define=model_name=b", "training_spec.epochs=3", "seed=7", "user.list=[1, 2]"],
        ["-D", "model_name=b", "-D", "training_spec.epochs=3", "-D", "seed=7", "-D", "user.list=[1, 2]"],
    ):
        config = given("train", *words)[0]
        found = (config.model_name, config.training_spec.epochs, config.seed, config.user["list"])
        assert found == expected, words


def test_flags_that_take_a_list_accept_several_words_and_none_means_null(given: Any) -> None:
    assert given("train", "--input-columns", "a", "b c", "--seed", "3")[0].input_columns == ["a", "b c"]
    assert given("train", "--input-columns", "None")[0].input_columns is None
    assert given("preprocess", "--selected-columns", "None")[0].selected_columns is None
    assert given("preprocess")[0].selected_columns == ["a"]
    assert given("infer", "--model-path", "a.onnx", "b.onnx")[0].model_path == ["a.onnx", "b.onnx"]
    assert given("infer", "--data-path", "None")[0].data_path is None


@pytest.mark.parametrize(
    ("words", "field", "expected"),
    [
        (["preprocess", "-dp", "x.csv"], "data_path", "x.csv"),
        (["preprocess", "-sc", "x", "y"], "selected_columns", ["x", "y"]),
        (["train", "-mc", "x.json"], "metadata_config_path", "x.json"),
        (["train", "-mn", "x"], "model_name", "x"),
        (["train", "-ic", "x", "y"], "input_columns", ["x", "y"]),
        (["train", "-s", "3"], "seed", 3),
        (["train", "-s", "0"], "seed", 0),
        (["train", "-r"], "seed", None),
        (["infer", "-mp", "x.onnx", "y.onnx"], "model_path", ["x.onnx", "y.onnx"]),
        (["infer", "-dp", "x.csv"], "data_path", "x.csv"),
        (["infer", "-mc", "x.json"], "metadata_config_path", "x.json"),
        (["infer", "-ic", "x"], "input_columns", ["x"]),
        (["infer", "-r"], "seed", None),
    ],
)
def test_the_short_flags_of_v1_work(given: Any, words: list[str], field: str, expected: Any) -> None:
    assert getattr(given(*words)[0], field) == expected


def test_flags_of_a_run_and_of_a_search_reach_it(given: Any) -> None:
    config, options = given("train", "--max-steps", "5", "--no-resume")
    assert (config.training_spec.max_steps, options["resume"]) == (5, "never")
    assert given("train", "--resume")[1]["resume"] == "always"
    assert given("train")[1]["resume"] is None
    config, options = given("hyperparameter-search", "--n-samples", "9", "--retry-failed", "--dry-run")
    assert (config.n_samples, options["retry_failed"], options["dry_run"]) == (9, True, True)


def test_a_flag_is_stronger_than_a_define_and_a_define_than_a_section(given: Any, tmp_path: Path) -> None:
    path = tmp_path / "configs" / "train.yaml"
    path.write_text(path.read_text() + "seed: 1\nsections: {quick: {seed: 2, model_name: q, cpu_threads: 2}}\n")
    words = ["--config-section", "quick", "-D", "seed=3", "cpu_threads=3", "--seed", "4"]
    config = given("train", *words)[0]
    assert (config.seed, config.cpu_threads, config.model_name) == (4, 3, "q")


def test_a_search_waits_for_nobody_when_stdin_is_no_terminal(given: Any) -> None:
    assert given("hyperparameter-search")[1]["confirm"](None, 12) is True
