"""Continuations of a model of ours against a plain loop over onnxruntime, and what prompts it takes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from sequifier.errors import ConfigError, DataError, ModelError
from sequifier.metrics.sequences import SMOOTHING
from sequifier.sampler_search.local import LocalModel
from sequifier.sampler_search.space import Configuration
from tests.support.quiet import quiet
from tests.support.trained_text import config_of

GREEDY = Configuration("temperature", {"temperature": 0.0})
PLAIN = Configuration("temperature", {"temperature": 1.0})
NARROW = Configuration("top_k", {"temperature": 0.7, "top_k": 3})
PLACES = [(prompt, sample) for sample in range(2) for prompt in range(4)]


def model(**values: Any) -> LocalModel:
    return LocalModel(config_of(**values), seed=5, log=quiet)


class Loop:
    """The same model, one character at a time."""

    def __init__(self, path: str = "models/text.onnx") -> None:
        self.session = onnxruntime.InferenceSession(path)
        properties = self.session.get_modelmeta().custom_metadata_map
        self.characters = ["", *json.loads(properties["vocabularies"])["char"]]
        self.length = json.loads(properties["architecture"])["seq_length"]

    def probabilities(self, text: str) -> Any:
        ids = [self.characters.index(char) for char in text][-self.length :]
        window = np.zeros((1, self.length), np.int64)
        window[0, -len(ids) :] = ids
        feed = {"char": window, "n_events": np.array([len(ids)])}
        return self.session.run(["char_probabilities"], feed)[0][0, -1].astype(float)


def test_the_most_likely_continuation_matches_a_plain_loop(text_project: Path) -> None:
    loop, source = Loop(), model()
    for generation in source.generate(GREEDY, [(prompt, 0) for prompt in range(4)]):
        text = source.prompts[generation.prompt].text
        for _ in range(8):
            text += loop.characters[int(loop.probabilities(text).argmax())]
        assert generation.text == text[-8:]
        assert len(source.prompts[generation.prompt].text) == 8, "half of seq_length"


def test_prompts_and_their_truth_are_text_of_the_validation_split(text_project: Path) -> None:
    text = (text_project / "data" / "text.txt").read_text()
    for prompt in model().prompts:
        assert prompt.text + (prompt.truth_text or "") in text[int(0.79 * len(text)) : int(0.91 * len(text))]
        assert len(prompt.truth_text or "") == 8


def test_the_likelihood_uses_the_truncated_distribution_at_each_true_character(text_project: Path) -> None:
    loop, source = Loop(), model()
    found = source.likelihoods(NARROW)
    k = len(loop.characters) - 1
    for prompt, value in zip(source.prompts, found, strict=True):
        logs = []
        assert prompt.truth_text is not None
        for step, char in enumerate(prompt.truth_text):
            shares = loop.probabilities(prompt.text + prompt.truth_text[:step])
            powers = shares ** (1 / 0.7)
            powers[np.argsort(-powers)[3:]] = 0
            share = powers[loop.characters.index(char)] / powers.sum()
            logs.append(np.log((share + SMOOTHING / k) / (1 + SMOOTHING)))
        assert value == pytest.approx(np.exp(np.mean(logs)), rel=1e-4)


def test_draws_depend_on_seed_prompt_and_sample_alone(text_project: Path) -> None:
    source = model()
    all_texts = {(each.prompt, each.sample): each.text for each in source.generate(PLAIN, PLACES)}
    assert len(set(all_texts.values())) > 4
    some = list(reversed(PLACES[3:6]))
    assert {(each.prompt, each.sample): each.text for each in source.generate(PLAIN, some)} == {
        place: all_texts[place] for place in some
    }
    more = model(n_prompts=6, inference_batch_size=3)
    assert {(each.prompt, each.sample): each.text for each in more.generate(PLAIN, PLACES)} == all_texts
    other = LocalModel(config_of(), seed=6, log=quiet)
    assert {(each.prompt, each.sample): each.text for each in other.generate(PLAIN, PLACES)} != all_texts


def test_many_draws_have_the_shares_of_the_model(text_project: Path) -> None:
    loop, source = Loop(), model(test_prompts=["the cat se"], max_tokens=1)
    drawn = [each.text for each in source.generate(NARROW, [(0, sample) for sample in range(2000)])]
    shares = loop.probabilities("the cat se") ** (1 / 0.7)
    shares[np.argsort(-shares)[3:]] = 0
    shares /= shares.sum()
    for id in np.flatnonzero(shares > 0.02):
        assert drawn.count(loop.characters[id]) / 2000 == pytest.approx(shares[id], abs=0.04)
    assert {loop.characters.index(char) for char in drawn} <= set(np.flatnonzero(shares).tolist())


def test_onnx_and_torch_files_draw_the_same(text_project: Path) -> None:
    onnx, torch = model(), model(model_path="models/text.pt")
    assert [each.text for each in onnx.generate(NARROW, PLACES)] == [
        each.text for each in torch.generate(NARROW, PLACES)
    ]
    assert onnx.likelihoods(NARROW) == pytest.approx(torch.likelihoods(NARROW), rel=1e-4)


def test_texts_are_continued_without_a_truth(text_project: Path) -> None:
    source = model(test_prompts=["the cat ", "a dog likes the old man. my bird"])
    assert [prompt.text for prompt in source.prompts] == ["the cat ", " old man. my bird"[-16:]]
    assert not source.has_likelihood and source.horizon == 0
    assert all(len(each.text) == 8 for each in source.generate(PLAIN, [(0, 0), (1, 0)]))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"test_prompts": ["the cat §"]}, "does not know '§' of column `char`"),
        ({"test_prompts": [99]}, "the data has no sequence 99"),
        ({"prompt_length": 17}, "17 is more than the model's seq_length 16"),
        ({"horizon": 9}, "9 is more than max_tokens 8"),
        ({"model_path": "models/txt.onnx"}, "no such file"),
        ({"model_path": "configs/metadata_configs/text.json"}, "does not end in .onnx or .pt"),
        ({"target_columns": ["chr"]}, "the model has no target `chr`"),
        ({"data_path": "data/nothing.parquet"}, "no such file"),
    ],
)
def test_what_does_not_fit_is_reported(text_project: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, DataError, ModelError), match=said):
        model(**values)


def test_held_out_sequences_that_are_too_short_are_an_error_or_set_the_length(text_project: Path) -> None:
    with pytest.raises(DataError, match="no held-out sequence has 100000 events"):
        model(max_tokens=100_000)
    lines: list[str] = []
    LocalModel(config_of(n_prompts=10_000), seed=5, log=lines.append)
    assert any("not 10000: the data has no more places" in line for line in lines)


def test_a_model_of_several_columns_generates_all_of_them(shop_models: Path) -> None:
    lines: list[str] = []
    config = config_of(model_path="models/both.onnx", max_tokens=None, n_prompts=6)
    source = LocalModel(config, seed=5, log=lines.append)
    assert any("held-out sequences are too short" in line for line in lines)
    assert source.real_targets == ["price"] and not source.is_true_history
    for each in source.generate(PLAIN, PLACES):
        assert len(each.tokens["item"]) == len(each.values["price"]) == source.horizon
        assert all(str(label).startswith("item") for label in each.labels["item"])
        assert 5 < np.mean(each.labels["price"]) < 25, "in its own units"
    assert all(0 < value < 1 for value in source.likelihoods(PLAIN))


def test_sequences_are_named_by_their_ids(shop_models: Path) -> None:
    source = model(model_path="models/both.onnx", test_prompts=["c03", "c00"], max_tokens=None)
    assert len(source.prompts) == 2
    assert all(prompt.truth["item"] for prompt in source.prompts)
    with pytest.raises(ConfigError, match=r"test_prompts\[1\].*: the data has no sequence 'c3'"):
        model(model_path="models/both.onnx", test_prompts=["c03", "c3"], max_tokens=None)
    with pytest.raises(ConfigError, match="a text cannot be its prompt"):
        model(model_path="models/both.onnx", test_prompts=["item1 item2"])


def test_a_model_that_reads_what_it_does_not_predict_draws_behind_the_truth(shop_models: Path) -> None:
    lines: list[str] = []
    config = config_of(model_path="models/item.onnx", max_tokens=None, n_prompts=4)
    source = LocalModel(config, seed=5, log=lines.append)
    assert any("reads price, which it does not predict" in line for line in lines) and source.is_true_history
    first = {(each.prompt, each.sample): each.tokens["item"] for each in source.generate(PLAIN, PLACES)}
    assert {place: first[place] for place in PLACES[5:]} == {
        (each.prompt, each.sample): each.tokens["item"] for each in source.generate(PLAIN, PLACES[5:])
    }
    greedy = next(iter(source.generate(GREEDY, [(0, 0)])))
    session = onnxruntime.InferenceSession("models/item.onnx")
    seq_length = 8
    data = source._data
    for step in range(source.horizon):
        window = {name: rows[:1, step : step + seq_length] for name, rows in data.windows.items()}
        feed = {**window, "n_events": np.minimum(data.n_events[:1] + step, seq_length)}
        assert session.run(["item_id"], feed)[0][0, -1] == greedy.tokens["item"][step]
    with pytest.raises(ModelError, match="history: generated"):
        model(model_path="models/item.onnx", history="generated", max_tokens=None)


def test_behind_the_truth_is_a_choice_for_every_model(text_project: Path) -> None:
    source, generated = model(history="true"), model()
    same_first = [
        (one.text[0], other.text[0])
        for one, other in zip(source.generate(PLAIN, PLACES), generated.generate(PLAIN, PLACES), strict=True)
    ]
    assert all(one == other for one, other in same_first), "the first event has the same history either way"
    assert source.fingerprint != generated.fingerprint


def test_a_model_without_a_categorical_target_cannot_be_searched(shop_models: Path) -> None:
    with pytest.raises(ModelError, match="no scored target is categorical"):
        model(model_path="models/price.onnx")
    with pytest.raises(ModelError, match="no scored target is categorical"):
        model(model_path="models/both.onnx", target_columns=["price"])


def test_a_model_that_forecasts_several_steps_cannot_be_searched(shop_models: Path) -> None:
    with pytest.raises(ModelError, match=r"forecasts 2 steps at once \(prediction_horizon\)"):
        model(model_path="models/ahead.onnx")
