"""`sampler_search.yaml`: the founding page's configs as they are, second names, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from sequifier.config.loading.load import load
from sequifier.config.ranges import Range
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.samplers import SAMPLERS
from sequifier.errors import ConfigError

# The founding page, with a model.
FIRST = """
model_path: models/m.onnx
search_strategy: "bayesian"
n_iterations: 50
samples_per_config: 3
sampler_types:
  - "top_p"
  - "min_p"
  - "top_n_sigma"
parameter_ranges:
  min_p:
    temperature: [0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    min_p: [0.01, 0.02, 0.03, 0.05, 0.08, 0.1]
    max_tokens: [512]
test_prompts:
  - "Write a short story about discovering a hidden room in an old library."
  - "Create a story where the protagonist can hear other people's thoughts."
"""
CUSTOM = """
model_path: models/m.onnx
search_strategy: "grid"
sampler_types: ["min_p"]
parameter_ranges:
  min_p:
    temperature: [1.0, 1.1, 1.2, 1.3]
    min_p: [0.01, 0.02, 0.03]
    max_tokens: [512]
test_prompts:
  - "Your custom prompt here"
"""


def read(tmp_path: Path, text: str, **given: Any) -> SamplerSearchConfig:
    path = tmp_path / "sampler_search.yaml"
    path.write_text(text)
    return load(SamplerSearchConfig, path, **given).config


def test_the_founding_pages_configs_load_as_they_are(tmp_path: Path) -> None:
    config = read(tmp_path, FIRST)
    assert (config.search_strategy, config.n_samples, config.samples_per_config) == ("bayesian", 50, 3)
    assert config.generated_length == 512
    assert config.ranges_of("min_p")["min_p"] == [0.01, 0.02, 0.03, 0.05, 0.08, 0.1]
    assert isinstance(config.ranges_of("top_p")["temperature"], Range), "what it leaves out has a default"
    grid = read(tmp_path, CUSTOM)
    assert (grid.search_strategy, grid.sampler_types) == ("grid", ["min_p"])


def test_everything_has_a_default_but_the_model(tmp_path: Path) -> None:
    config = read(tmp_path, "model_path: m.onnx\n")
    assert (config.search_strategy, config.n_samples, config.samples_per_config, config.seed) == ("bayesian", 50, 3, 42)
    assert config.sampler_types == ["top_p", "min_p", "top_n_sigma"]
    with pytest.raises(ConfigError, match="`model_path`: is missing: give model_path, or endpoint for a server"):
        read(tmp_path, "seed: 1\n")


def test_sample_is_random(tmp_path: Path) -> None:
    for word in ("sample", "random"):
        assert read(tmp_path, f"model_path: m\nsearch_strategy: {word}\n").search_strategy == "random"


@pytest.mark.parametrize(("first", "second"), [("n_samples", "n_iterations"), ("max_tokens", "continuation_length")])
def test_two_names_of_one_field_are_one_field(tmp_path: Path, first: str, second: str) -> None:
    for name in (first, second):
        assert getattr(read(tmp_path, f"model_path: m\n{name}: 7\n"), first) == 7
        assert getattr(read(tmp_path, f"model_path: m\n{second}: 7\n", defines=[f"{name}=9"]), first) == 9
        assert getattr(read(tmp_path, f"model_path: m\n{first}: 7\n", defines=[f"{name}=9"]), first) == 9
        text = f"model_path: m\n{second}: 7\nsections: {{quick: {{{name}: 3}}}}\n"
        assert getattr(read(tmp_path, text, section="quick"), first) == 3
        assert getattr(read(tmp_path, text, section="quick", flags={first: 5}), first) == 5
    with pytest.raises(
        ConfigError, match=rf"`{second}`: is another name of `{first}`, which is given too: 7 here, 8 there"
    ):
        read(tmp_path, f"model_path: m\n{first}: 8\n{second}: 7\n")
    assert getattr(read(tmp_path, f"model_path: m\n{first}: 7\n{second}: 7\n"), first) == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sampler_types: [minp]", "did you mean 'min_p'|allowed: .*min_p"),
        ("parameter_ranges: {min_p: {temprature: [1.0], min_p: [0.1]}}", "did you mean `temperature`"),
        ("parameter_ranges: {min_p: {min_p: [0.1, 2.0]}}", "less than or equal to 1, got 2.0"),
        ("parameter_ranges: {min_p: {temperature: [1.0]}}", "`min_p` has no values of its own"),
        ("parameter_ranges: {top_k: {top_k: [1.5]}}\nsampler_types: [top_k]", "integer"),
        ("parameter_ranges: {min_p: {min_p: {low: 0.1, high: 0.01}}}", "must be below high"),
        ("parameter_ranges: {min_p: {min_p: []}}", "the list is empty"),
        ("parameter_ranges: {min_p: {min_p: [null]}}", "leave the parameter out"),
        ("parameter_ranges: {min_p: {min_p: [0.1], max_tokens: [64, 128]}}", "different lengths cannot be compared"),
        ("search_strategy: grid", "no values of top_p, min_p, top_n_sigma, and grid cannot list default ranges"),
        (
            "search_strategy: grid\nsampler_types: [top_k]\nparameter_ranges: {top_k: {top_k: {low: 1, high: 5}, "
            "temperature: {low: 0.5, high: 1.5}}}",
            r"parameter_ranges.top_k.temperature.*between 0\.5 and 1\.5",
        ),
        ("scores: {acuracy: 1}", "there is no score `acuracy`"),
        ("scores: {likelihood: 0}", "no score has a weight above 0"),
        ("scores: {judge: 1}", "there is no judge"),
        ("scores: {likelihood: 1}\njudge: {type: script, command: x}", "the judge has no weight"),
        ("judge: {type: script}", "command.*required for type: script"),
        ("judge: {type: http}", "model.*required for type: http"),
        ("judge: {type: http, model: m, criteria: {}}", "at least 1"),
        ("endpoint: {base_url: http://localhost/v1, model: m}", "excludes endpoint"),
        ("model_path: null\nendpoint: {base_url: localhost, model: m}\ntest_prompts: [a]", "is not a web address"),
        ("model_path: null\nendpoint: {base_url: http://localhost/v1, model: m}", "needs test_prompts, or a text"),
        ("n_samples: 0", "greater than 0"),
        ("samples: 3", "unknown key"),
    ],
)
def test_errors_are_reported(tmp_path: Path, text: str, said: str) -> None:
    model = "" if "model_path" in text else "model_path: m.onnx\n"
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, model + text + "\n")


def test_an_address_with_a_password_is_refused_without_repeating_it(tmp_path: Path) -> None:
    address = "http://me:hunter2@localhost/v1"
    with pytest.raises(ConfigError, match="contains a user, password or query") as caught:
        read(tmp_path, f"endpoint: {{base_url: '{address}', model: m}}\ntest_prompts: [a]\n")
    assert "hunter2" not in str(caught.value)


def test_a_key_in_the_place_of_its_name_is_refused_without_repeating_it(tmp_path: Path) -> None:
    text = "model_path: m.onnx\njudge: {type: http, model: m, api_key_env: sk-hunter2, api_key: sk-hunter2}\n"
    with pytest.raises(ConfigError, match="is not the name of an environment variable") as caught:
        read(tmp_path, text)
    assert "hunter2" not in str(caught.value)


def test_a_judge_counts_alone_unless_weights_say_more() -> None:
    judge = {"type": "script", "command": "x"}
    alone = SamplerSearchConfig.model_validate({"model_path": "m", "judge": judge})
    assert alone.weights == {"judge": 1.0}
    beside = SamplerSearchConfig.model_validate(
        {"model_path": "m", "judge": judge, "scores": {"judge": 2, "mae": 0, "likelihood": 1}}
    )
    assert beside.weights == {"judge": 2.0, "likelihood": 1.0}


@pytest.mark.parametrize("section", [None, "quick_test", "intensive_search"])
def test_the_shipped_config_has_its_sections(section: str | None) -> None:
    path = Path(__file__).parents[2] / "configs" / "sampler_search.yaml"
    config = load(SamplerSearchConfig, path, section=section).config
    assert set(config.sampler_types) <= set(SAMPLERS)
    expected = {
        None: ("bayesian", 50, 3, 3),
        "quick_test": ("random", 10, 2, 2),
        "intensive_search": ("grid", 50, 5, 3),
    }
    found = (config.search_strategy, config.n_samples, config.samples_per_config, len(config.sampler_types))
    assert found == expected[section]
