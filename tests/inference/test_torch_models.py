"""Models exported by export_pt, and dropout at inference."""

import os
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from sequifier.errors import ConfigError, ModelError
from tests.support.trained_shop import infer, model, train

PT = "models/sequifier-one-best-1.pt"
DATA = {"data_path": "data/shop-split0.parquet"}


def test_a_pt_model_predicts_and_embeds_what_the_onnx_ones_do(trained: Path) -> None:
    (onnx,) = infer(model("one"), output_probabilities=True, **DATA)
    predictions, probabilities = (pl.read_csv(path) for path in (onnx.predictions, onnx.probabilities[0]))
    (torch_one,) = infer(PT, output_probabilities=True, **DATA)
    assert_frame_equal(pl.read_csv(torch_one.predictions), predictions, rel_tol=1e-4)
    assert_frame_equal(pl.read_csv(torch_one.probabilities[0]), probabilities, rel_tol=1e-4, abs_tol=1e-6)
    assert torch_one.evaluation["item"] == pytest.approx(onnx.evaluation["item"], rel=1e-4)
    (by_onnx,) = infer(model("one", "best-embedding"), model_type="embedding", **DATA)
    (by_torch,) = infer(PT, model_type="embedding", **DATA)
    assert by_torch.predictions.name == "sequifier-one-best-1-shop-split0-embeddings.csv"
    assert_frame_equal(pl.read_csv(by_torch.predictions), pl.read_csv(by_onnx.predictions), rel_tol=1e-3, abs_tol=1e-5)


def test_dropout_stays_active_and_has_its_seed(trained: Path) -> None:
    def values(seed: int | None = None, *, dropout: bool = True) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        options = {} if seed is None else {"seed": seed}
        (result,) = infer(PT, infer_with_dropout=dropout, **DATA, **options)
        return pl.read_csv(result.predictions)["price"].to_numpy()

    state = torch.get_rng_state()
    first = values(3)
    np.testing.assert_array_equal(values(3), first)
    assert (values(4) != first).all()
    still = values(dropout=False)
    assert (still != first).all()
    np.testing.assert_array_equal(values(4, dropout=False), still)
    many = np.stack([values(seed) for seed in range(12)])
    assert np.abs(many.mean(0) - still).mean() < np.abs(many - still).mean(), "draws lie around the model's own"
    assert torch.equal(torch.get_rng_state(), state), "the caller's generator is left as it was"


def test_a_model_without_dropout_is_reported(trained: Path) -> None:
    train(trained, model_name="dry", export_pt=True, training_spec={"dropout": 0.0})
    with pytest.raises(ModelError, match="trained without dropout"):
        infer("models/sequifier-dry-best-1.pt", infer_with_dropout=True)


def test_a_checkpoint_and_a_cut_off_file_are_no_models(trained: Path) -> None:
    checkpoint = next(Path("checkpoints").glob("one-epoch-*.pt"))
    with pytest.raises(ModelError, match="not an exported model"):
        infer(str(checkpoint))
    Path(PT).write_bytes(Path(PT).read_bytes()[:2000])
    with pytest.raises(ModelError, match="truncated"):
        infer(PT)


def test_onnx_and_pt_models_in_one_call(trained: Path) -> None:
    with pytest.raises(Exception, match="have the same name"):
        infer([model("one"), PT])
    results = infer([model("three"), PT])
    assert [result.predictions.name for result in results] == [
        *("sequifier-three-best-1-predictions.csv", "sequifier-one-best-1-predictions.csv")
    ]


def test_a_pt_model_that_was_changed_is_refused_and_an_older_one_is_read(trained: Path) -> None:
    content = torch.load(PT, weights_only=True)
    older = {key: value for key, value in content.items() if key not in ("sha256", "format_version", "reading")}
    lines: list[str] = []
    torch.save(older, PT)
    assert infer(PT, lines)[0].n_predictions
    assert any("before model files had a checksum" in line for line in lines)
    name = next(iter(content["weights"]))
    for changed in (
        content | {"metrics": "{}"},
        content | {"weights": content["weights"] | {name: content["weights"][name] + 1e-6}},
        {key: value for key, value in content.items() if key != "sha256"},
    ):
        torch.save(changed, PT)
        with pytest.raises(ModelError, match="changed or damaged since it was exported"):
            infer(PT)
    torch.save(content | {"format_version": "99"}, PT)
    with pytest.raises(ModelError, match="changed or damaged"):
        infer(PT)
    torch.save(older | {"vocabularies": "[" * 100_000}, PT)
    with pytest.raises(ModelError, match="nested too deeply"):
        infer(PT)


def test_a_pipe_or_a_pickle_with_code_is_no_model(trained: Path) -> None:
    path = Path("models/sequifier-pipe-best-1.pt")
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=r"is a pipe, not a file"):
        infer(str(path))
    path.unlink()
    torch.save({"sequifier_version": Path("x")}, path)
    with pytest.raises(ModelError, match="it has pathlib") as caught:
        infer(str(path))
    assert "weights_only" not in str(caught.value)


def test_a_graph_with_dropout_drops_when_it_is_asked_to_and_has_its_seed(trained: Path) -> None:
    options = {"export_with_dropout": True, "export_pt": True, "export_embedding_model": True}
    train(trained, model_name="wet", **options)

    def values(path: str, seed: int = 3, **more: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        (result,) = infer(path, seed=seed, **DATA, **more)
        return pl.read_csv(result.predictions)["price"].to_numpy()

    still = values(model("wet"))
    np.testing.assert_allclose(values("models/sequifier-wet-best-1.pt"), still, rtol=1e-5)
    first = values(model("wet"), infer_with_dropout=True)
    np.testing.assert_array_equal(values(model("wet"), infer_with_dropout=True), first)
    assert (values(model("wet"), seed=4, infer_with_dropout=True) != first).mean() > 0.9
    np.testing.assert_array_equal(values(model("wet")), still)
    many = np.stack([values(model("wet"), seed=seed, infer_with_dropout=True) for seed in range(8)])
    assert np.abs(many.mean(0) - still).mean() < np.abs(many - still).mean()
    embedding = model("wet", "best-embedding")
    first, second = (
        pl.read_csv(infer(embedding, model_type="embedding", seed=seed, infer_with_dropout=True)[0].predictions)["0"]
        for seed in (1, 2)
    )
    assert (first != second).all()


def test_a_model_trained_without_dropout_is_exported_without(trained: Path) -> None:
    train(trained, model_name="dry", export_with_dropout=True, training_spec={"dropout": 0.0})
    session = onnxruntime.InferenceSession(model("dry"))
    assert session.get_overridable_initializers() == []
    with pytest.raises(ModelError, match="trained without dropout"):
        infer(model("dry"), infer_with_dropout=True)
