"""A model that predicts the ends of sequences: training, its metrics, inference, generation and exported graphs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest

from sequifier.artifacts.model_file import read_model_file
from sequifier.config.inference import InferConfig
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.errors import ConfigError, DataError, ModelError
from sequifier.inference.predict import Inference
from sequifier.inference.predict import infer as run_inference
from sequifier.preprocess.new_events import encode_new_events
from sequifier.sampler_search.local import LocalModel
from sequifier.sampler_search.space import Configuration
from tests.support.quiet import quiet
from tests.support.runs import train
from tests.support.shop import TINY_RUN, config_writer, preprocess_shop, working_copy

MODEL = "models/sequifier-tiny-best-4.onnx"
N_STEPS = 5
"""Events of each sequence: then it ends."""


def write_counting(root: Path) -> None:
    """Write sequences of 5 events whose step can be seen: 1, 2, 3, 4, 5, from one of three starts."""
    rows = [
        (f"s{sequence:03}", step, 10 * (sequence % 3) + step, float(step), f"step{step}")
        for sequence in range(90)
        for step in range(1, N_STEPS + 1)
    ]
    table = pl.DataFrame(rows, schema=["customer", "visit", "item", "price", "name"], orient="row")
    (root / "data").mkdir(parents=True)
    table.write_csv(root / "data" / "shop.csv")


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ends")
    write_counting(root)
    preprocess_shop(root, end_event=["item"], split_method="between_sequence", seq_length=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write = config_writer(root, TINY_RUN, "train.yaml")
        path = write(
            target_columns=["item", "price", "name"],
            model_spec={"positional_encoding": "rope"},  # no step is known by its place in the window
            training_spec={"epochs": 4, "batch_size": 4, "learning_rate": 0.03, "dropout": 0.0},
            export_end_to_end=True,
            export_embedding_model=True,
            export_pt=True,
        )
        train(path)
    return root


@pytest.fixture
def project(_trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return working_copy(_trained, tmp_path, monkeypatch)


def infer(lines: list[str] | None = None, **values: Any) -> tuple[Inference, pl.DataFrame]:
    config = InferConfig.model_validate({"project_root": ".", "model_path": MODEL, "write_format": "parquet"} | values)
    log = quiet if lines is None else lines.append
    (result,) = run_inference(config, encode_raw=encode_new_events, log=log)
    return result, pl.read_parquet(result.predictions)


def metrics(name: str = "tiny") -> dict[str, Any]:
    lines = Path(f"logs/{name}/latest/metrics.jsonl").read_text().splitlines()
    best: dict[str, Any] = min(map(json.loads, lines), key=lambda entry: entry["val_loss"])
    return best


def test_learned_positions_which_would_show_the_end_are_refused(project: Path) -> None:
    write = config_writer(project, TINY_RUN, "learned.yaml")
    path = write(target_columns=["item"], model_spec={"positional_encoding": "learned"}, model_name="learned")
    with pytest.raises(ConfigError, match="learned positions show how many events follow, and `item`") as caught:
        train(path)
    assert [problem.key for problem in caught.value.problems] == ["model_spec.positional_encoding"]
    assert not (project / "logs" / "learned").exists()
    path = write(target_columns=["price"], model_spec={"positional_encoding": "learned"}, model_name="learned")
    assert train(path).ended == "finished", "the price has no class END"


def test_the_end_is_learned_and_every_target_counts_where_it_has_a_value(project: Path) -> None:
    split = pl.read_parquet("data/shop-split1.parquet")
    n_sequences = split["sequenceId"].n_unique()
    result, found = infer(data_path="data/shop-split1.parquet", evaluation_context="full")
    # After the first event come four more and the END; only `item` has a value there.
    assert found.height == 5 * n_sequences
    assert [result.evaluation[name]["n"] for name in ("item", "price", "name")] == [
        5 * n_sequences,
        4 * n_sequences,
        4 * n_sequences,
    ]
    last = found.group_by("sequenceId", maintain_order=True).last()
    assert last["item"].to_list() == ["END"] * n_sequences
    assert last["itemPosition"].to_list() == [N_STEPS + 1] * n_sequences
    stored = metrics()
    assert stored["val_item_accuracy"] == result.evaluation["item"]["accuracy"] == 1.0
    assert stored["val_price_mae"] == pytest.approx(result.evaluation["price"]["mae"], rel=1e-5)
    assert stored["val_name_log_loss"] == pytest.approx(result.evaluation["name"]["log_loss"], rel=1e-4)
    assert all(np.isfinite(value) for value in stored.values() if isinstance(value, float))


def test_scoring_counts_the_same_in_training_and_inference(project: Path) -> None:
    scoring = {"min_events": 3, "except": {"item": ["END"]}}
    path = config_writer(project, TINY_RUN, "train.yaml")(
        target_columns=["item", "price"],
        training_spec={"epochs": 1, "batch_size": 4, "learning_rate": 0.01},
        model_spec={"positional_encoding": "rope"},
        scoring=scoring,
        model_name="some",
    )
    train(path)
    stored = metrics("some")
    model = {"model_path": "models/sequifier-some-best-1.onnx", "data_path": "data/shop-split1.parquet"}
    result, found = infer(evaluation_context="full", **model)
    split = pl.read_parquet("data/shop-split1.parquet")
    n_sequences = split["sequenceId"].n_unique()
    # Targets 4 and 5 of each sequence, and for the price too.
    known = (
        pl.read_csv("data/shop.csv").filter(pl.col("visit") > 3).select("customer", "visit", pl.col("item").cast(str))
    )
    joined = found.join(known, left_on=["sequenceId", "itemPosition"], right_on=["customer", "visit"])
    assert joined.height == 2 * n_sequences
    accuracy = (joined["item"] == joined["item_right"]).mean()
    assert result.evaluation["item"]["accuracy"] == pytest.approx(accuracy)
    for name in ("accuracy", "log_loss", "macro_f1"):
        assert stored[f"val_item_{name}"] == pytest.approx(result.evaluation["item"][name], rel=1e-4)
    assert stored["val_price_mae"] == pytest.approx(result.evaluation["price"]["mae"], rel=1e-4)
    assert result.evaluation["item"]["n"] == result.evaluation["price"]["n"] == 2 * n_sequences
    assert stored["val_item_loss"] != pytest.approx(stored["val_item_log_loss"]), "the loss is of all targets"


def test_generation_stops_at_the_end(project: Path) -> None:
    lines: list[str] = []
    started = pl.read_csv("data/shop.csv").filter(pl.col("visit") <= 2)
    started.write_csv("started.csv")
    options: dict[str, Any] = {"data_path": "started.csv", "read_format": "raw", "autoregression": True}
    _, found = infer(lines, autoregression_extra_steps="until_end", until_end_limit=20, **options)
    whole = pl.read_csv("data/shop.csv").filter(pl.col("visit") > 2)
    by_sequence = found.group_by("sequenceId", maintain_order=True).agg("item", "price", "name", "itemPosition")
    true = whole.group_by("customer", maintain_order=True).agg(pl.col("item").cast(pl.String))
    assert by_sequence["item"].to_list() == [[*items, "END"] for items in true["item"].to_list()]
    ends = found.filter(item="END")
    assert ends["price"].null_count() == ends["name"].null_count() == ends.height == 90
    assert found.filter(pl.col("item") != "END")["price"].null_count() == 0
    assert by_sequence["itemPosition"].to_list() == [[3, 4, 5, 6]] * 90
    assert not any("no END" in line for line in lines)
    infer(lines, autoregression_extra_steps="until_end", until_end_limit=2, **options)
    assert "note: 90 of 90 sequences had no END by then (until_end_limit)" in lines
    _, more = infer(autoregression_extra_steps=9, **options)
    assert more.equals(found), "nothing is generated after END"


def test_an_end_is_never_embedded(project: Path) -> None:
    split = pl.read_parquet("data/shop-split1.parquet")
    result, found = infer(
        model_path="models/sequifier-tiny-best-embedding-4.onnx",
        model_type="embedding",
        data_path="data/shop-split1.parquet",
        evaluation_context="full",
    )
    assert found.height == result.n_predictions == split.height - split["sequenceId"].n_unique()
    assert found["itemPosition"].max() == N_STEPS


def test_raw_events_must_not_contain_end(project: Path) -> None:
    pl.DataFrame({"customer": ["a"], "visit": [1], "item": ["END"], "price": [1.0], "name": ["step1"]}).write_csv(
        "x.csv"
    )
    with pytest.raises(DataError):  # a column of integers
        infer(data_path="x.csv", read_format="raw")
    result, _ = infer(data_path="data/shop.csv", read_format="raw")
    assert result.unknown == {}


def test_the_end_to_end_graph_labels_the_end_as_text(project: Path) -> None:
    path = Path("models/sequifier-tiny-best-end-to-end-4.onnx")
    session = onnxruntime.InferenceSession(str(path))
    table = pl.read_csv("data/shop.csv").filter(customer="s004")
    items = np.array([[0, *table["item"].to_list()]], np.int64)
    feed = {
        "item": items,
        "price": np.array([[0.0, *table["price"].to_list()]], np.float32),
        "name": np.array([["", *table["name"].to_list()]], object),
        "n_events": np.array([5], np.int64),
    }
    (labels,) = session.run(["item_label"], feed)
    assert labels.tolist() == [["END"]]
    feed["item"] = items[:, [0, 0, 1, 2, 3, 4]]
    (before,) = session.run(["item_label"], feed | {"n_events": np.array([4])})
    assert isinstance(before[0][0], str)
    vocabulary = read_model_file(path).vocabularies["item"]
    assert vocabulary[-1] == "END" and all(isinstance(label, int) for label in vocabulary[:-1])


def test_a_model_without_end_cannot_be_continued_until_it(shop: Path) -> None:
    train(config_writer(shop, TINY_RUN, "train.yaml")(training_spec={"epochs": 1}))
    with pytest.raises(ModelError, match=r"(?s)does not predict where a sequence ends.*end_event"):
        infer(
            model_path="models/sequifier-tiny-best-1.onnx",
            data_path="data/shop.csv",
            read_format="raw",
            autoregression=True,
            autoregression_extra_steps="until_end",
        )


def test_a_sampler_search_compares_events_without_end(project: Path) -> None:
    config = SamplerSearchConfig.model_validate(
        {
            "model_path": MODEL,
            "device": "cpu",
            "prompt_length": 2,
            "horizon": 3,
            "max_tokens": 3,
            "n_prompts": 6,
            "samples_per_config": 1,
            "n_samples": 1,
            "search_strategy": "random",
        }
    )
    source = LocalModel(config, seed=1, log=quiet)
    assert len(source.prompts) == 6
    greedy = Configuration("temperature", {"temperature": 0.0})
    for generation in source.generate(greedy, [(prompt, 0) for prompt in range(6)]):
        assert len(generation.labels["item"]) == 3 and "END" not in generation.labels["item"]
    assert all(np.isfinite(source.likelihoods(greedy)))
