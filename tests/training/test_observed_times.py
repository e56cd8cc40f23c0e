"""Likelihoods of observed times: against sums written out here, and processes whose likelihood is known."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from sequifier import api
from sequifier.artifacts.metadata import Metadata, read_metadata
from sequifier.artifacts.model_file import read_model_file
from sequifier.config.inference import InferConfig
from sequifier.config.resolve import resolve
from sequifier.config.train import TrainConfig
from sequifier.dataset.batches import Split
from sequifier.errors import ConfigError
from sequifier.model.distributions.forms import parts_of
from sequifier.prepare import Prepared, prepare
from sequifier.training.baselines.rates import Rate, constant_rate, daily_rate, rates_by_category
from sequifier.training.baselines.scores import PREFIX
from sequifier.training.evaluate import evaluate
from sequifier.training.losses import DistributionLoss
from sequifier.training.shared import Shared
from tests.support.quiet import quiet
from tests.support.small_project import Project

Floats = NDArray[np.float64]
METRIC = "val_time_gap_nll_per_event"
END, RATE = 10.0, 0.8
N_TRAIN, N_SEQUENCES = 40, 60


def poisson(rate: float, rounding: float, n_sequences: int = N_SEQUENCES) -> pl.DataFrame:
    """Return the events of sequences with a constant rate, observed from 0 to END; each sequence has one at least."""
    generator, rows = np.random.default_rng(3), []
    for sequence in range(n_sequences):
        times = generator.uniform(0, END, max(generator.poisson(rate * END), 1))
        times = np.sort(np.floor(times / rounding) * rounding) if rounding else np.sort(times)
        rows += [{"sequenceId": sequence, "at": at, "kind": "ab"[place % 2]} for place, at in enumerate(times.tolist())]
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with times that are rounded, so that some gaps are 0."""
    root = tmp_path_factory.mktemp("observed")
    preprocessed(root, poisson(RATE, 0.25))
    return root


def preprocessed(root: Path, frame: pl.DataFrame, **fields: Any) -> Project:
    project = Project(root)
    values: dict[str, Any] = {
        "position_column": "at",
        "time_features": ["gap", "since_start"],
        "time_unit": "hours",
        "observation": {"start": 0, "end": END},
        "split_method": "between_sequence",
        "split_order": "file",
        "split_ratios": [2 / 3, 1 / 3],
        "seq_length": 24,
    }
    project.run(project.write(frame), **values | fields)
    return project


def config(root: Path, **fields: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "project_root": str(root),
        "metadata_config_path": "configs/metadata_configs/events.json",
        "model_name": "observed",
        "input_columns": ["time_gap"],
        "target_columns": ["time_gap"],
        "model_spec": {
            "dim_model": 4,
            "n_head": 1,
            "num_layers": 1,
            "dim_feedforward": 8,
            "positional_encoding": "rope",
            "distribution": {"time_gap": "lognormal_mixture"},
        },
        "training_spec": {"epochs": 1, "batch_size": 10, "device": "cpu", "learning_rate": 0.02},
        "metric": METRIC,
        "cpu_threads": 1,  # threads that wait for each other are slow where other tests use the cores
    }
    for name, value in fields.items():
        values[name] = values[name] | value if isinstance(values.get(name), dict) else value
    return TrainConfig.model_validate(values)


def metadata_of(root: Path) -> Metadata:
    return read_metadata(root / "configs" / "metadata_configs" / "events.json")


def sequences(frame: pl.DataFrame, which: range) -> list[list[float]]:
    return [frame.filter(pl.col("sequenceId") == number)["at"].to_list() for number in which]


@pytest.fixture(scope="module")
def ready(root: Path) -> Prepared:
    return prepare(config(root), Shared(), quiet)


def test_the_metric_is_the_likelihood_of_whole_sequences(root: Path, ready: Prepared) -> None:
    """One pass over a sequence from START gives the parameters of each gap, and of the time after the last event."""
    found, metadata = evaluate(ready.state.model, ready.valid, ready.objective, batch_size=7), metadata_of(root)
    scale, frame = metadata.scale("time_gap"), poisson(RATE, 0.25)
    resolution = metadata.sequifier.time_resolution
    assert resolution == 0.25
    total, n_gaps, n_zero = 0.0, 0, 0
    for times in sequences(frame, range(N_TRAIN, N_SEQUENCES)):
        gaps = np.diff([0.0, *times])
        inputs = torch.tensor(scale.standardised(np.append(0, gaps) * 3600)[None, -24:, None], dtype=torch.float32)
        with torch.inference_mode():
            hidden = ready.state.model(torch.zeros(1, inputs.shape[1], 0, dtype=torch.int32), inputs, None)
            parameters = ready.state.model.decoders(hidden, ["time_gap"], {})["time_gap"].prediction()[0].double()
        for number, mixture in enumerate(parameters):
            weight, location, log_scale = (part.tolist() for part in parts_of(mixture))
            components = [
                (math.exp(w), mu - math.log(3600), math.exp(s))
                for w, mu, s in zip(weight, location, log_scale, strict=True)
            ]

            def below(value: float, components: list[tuple[float, float, float]] = components) -> float:
                deviations = [(w, (math.log(value) - mu) / s) for w, mu, s in components]
                return sum(w * math.erfc(-deviation / math.sqrt(2)) / 2 for w, deviation in deviations)

            if number == len(gaps):
                total -= math.log(1 - below(END - times[-1])) if times[-1] < END else 0
            elif gaps[number] == 0:
                total -= math.log(below(resolution))
                n_zero += 1
            else:
                x = gaps[number]
                total -= math.log(
                    sum(
                        w * math.exp(-(((math.log(x) - mu) / s) ** 2) / 2) / (x * s * math.sqrt(2 * math.pi))
                        for w, mu, s in components
                    )
                )
            n_gaps += number < len(gaps)
    assert n_zero > 5, "some gaps are 0"
    n_events = np.mean([len(times) for times in sequences(frame, range(N_TRAIN))])
    n_valid = N_SEQUENCES - N_TRAIN
    assert found.metrics[METRIC] == pytest.approx(total / n_valid / n_events, rel=1e-4)
    assert found.metrics["val_time_gap_loss"] == pytest.approx(total / (n_gaps + n_valid), rel=1e-4)
    assert found.n_targets == {"time_gap": n_gaps + n_valid}
    assert found.units[METRIC].value == pytest.approx(found.metrics[METRIC])


@pytest.mark.parametrize("device_like", [False, True])
def test_positions_that_are_masked_or_mapped_give_the_same(root: Path, ready: Prepared, device_like: bool) -> None:
    expected = evaluate(ready.state.model, ready.valid, ready.objective, batch_size=7).metrics
    if device_like:
        old = ready.valid
        columns = {"categorical": old.columns.categorical, "real": old.columns.real, "targets": old.targets}
        split = Split(
            old.events,
            old.windows,
            **columns,  # type: ignore[arg-type]
            seq_length=24,
            device=torch.device("cpu"),
            picks=False,
            still_open=old.columns.still_open,
        )
    else:
        mapped = config(root, training_spec={"load_full_data_to_ram": False})
        split = prepare(mapped, Shared(), None).valid
    found = evaluate(ready.state.model, split, ready.objective, batch_size=7).metrics
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_shuffled_history_has_the_same_truths(root: Path, ready: Prepared) -> None:
    shuffled = prepare(config(root, training_spec={"shuffle_history": "all"}), Shared(), None).valid
    batches = [split.batch(split.choose(np.arange(len(split)))) for split in (ready.valid, shuffled)]
    torch.testing.assert_close(batches[0].at_known("time_gap")[1], batches[1].at_known("time_gap")[1])


def test_baselines_have_the_likelihood_of_their_rates(root: Path, ready: Prepared) -> None:
    frame = poisson(RATE, 0.25)
    train, valid = (sequences(frame, which) for which in (range(N_TRAIN), range(N_TRAIN, N_SEQUENCES)))
    rate = sum(map(len, train)) / (END * len(train))
    total = 0.0
    for times in valid:
        for gap in np.diff([0.0, *times]).tolist():
            total -= math.log(rate) - rate * gap if gap else math.log(1 - math.exp(-rate * 0.25))
        total += rate * (END - times[-1])
    found = ready.baselines[PREFIX + "constant rate"]
    expected = total / len(valid) / (sum(map(len, train)) / len(train))
    assert found.metrics[METRIC] == pytest.approx(expected, rel=1e-4)
    # Without the time since the start the model cannot know the time of day, nor may a baseline.
    assert not any("time of day" in name for name in ready.baselines)
    with_clock = prepare(config(root, input_columns=["time_gap", "time_since_start", "kind"]), Shared(), quiet)
    assert {"rate by time of day", "exponential by last category"} <= {
        name.removeprefix(PREFIX) for name in with_clock.baselines
    }


def test_a_model_of_a_poisson_process_has_its_analytic_likelihood(tmp_path: Path) -> None:
    """600 sequences to train on: with 200 the model learned what is by chance in them, and was worse by 0.0115."""
    preprocessed(tmp_path, frame := poisson(RATE, 0, 900))
    schedule = {"scheduler": {"name": "CosineAnnealingLR", "T_max": "auto"}}
    result = api.train(config(tmp_path, training_spec={"epochs": 3, "batch_size": 20, **schedule}), emit=quiet)
    per_sequence = [RATE * END - len(times) * math.log(RATE) for times in sequences(frame, range(600, 900))]
    n_events = np.mean([len(times) for times in sequences(frame, range(600))])
    assert min(result.curve) == pytest.approx(np.mean(per_sequence) / n_events, abs=0.01)


def test_every_event_is_predicted_from_the_start_on_and_none_after_the_end(root: Path) -> None:
    result = api.train(config(root), resume="never", emit=quiet)
    model = next(path for path in result.files.values() if "-best-" in path and path.endswith(".onnx"))
    frame = poisson(RATE, 0.25)
    n_valid = sum(map(len, sequences(frame, range(N_TRAIN, N_SEQUENCES))))
    fields: dict[str, Any] = {"project_root": str(root), "model_path": model}
    lines: list[str] = []
    whole = {"evaluation_context": "full", "evaluate_by": ["sequenceId"]}
    (split,) = api.infer(InferConfig.model_validate(fields | whole), log=lines.append)
    assert split.n_predictions == n_valid == split.evaluation["time_gap"]["n"]
    measured = read_model_file(root / model).metrics
    for metric in ("nll_per_event", "mase", "nll", "mae", "crps"):
        assert split.evaluation["time_gap"][metric] == pytest.approx(measured[f"val_time_gap_{metric}"], rel=1e-4)
        assert any(f"{metric} {split.evaluation['time_gap'][metric]:.4g}" in line for line in lines)
    (some,) = api.infer(InferConfig.model_validate(fields), log=quiet)
    assert "nll_per_event" not in some.evaluation["time_gap"], "not all events are predicted"
    raw = pl.DataFrame({"sequenceId": [7, 7, 8], "at": [0.5, 2.0, 4.0]})
    raw.write_csv(root / "new.csv")
    asked = InferConfig.model_validate(fields | {"read_format": "raw", "data_path": "new.csv"})
    (new,) = api.infer(asked, log=quiet)
    assert new.n_predictions == 2
    predicted = pl.read_csv(new.predictions)
    assert predicted["itemPosition"].is_null().all(), "the time of the next event is what is predicted"
    assert (predicted["time_gap"] > 0).all()


def test_the_start_is_neither_an_event_nor_an_unknown_value_where_events_are_counted(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {"model_name": "counted", "input_columns": ["time_gap", "kind"], "training_spec": {"max_steps": 1}}
    api.train(config(root, export_end_to_end=True, **fields), emit=quiet)
    frame = poisson(RATE, 0.25)
    n_train, n_valid = (sum(map(len, sequences(frame, range(*ends)))) for ends in ((N_TRAIN,), (N_TRAIN, N_SEQUENCES)))
    model = {"project_root": str(root), "model_path": "models/sequifier-counted-best-1.onnx"}
    frame.filter(pl.col("sequenceId") >= N_TRAIN).write_csv(root / "new.csv")
    for events in ({}, {"read_format": "raw", "data_path": "new.csv"}):
        lines: list[str] = []
        api.infer(InferConfig.model_validate(model | events), log=lines.append)
        assert f"predictions for {n_valid} events" in "\n".join(lines)
        assert "unknown to the model" not in "\n".join(lines)
    card = api.export("counted", project_root=str(root), card=True, log=quiet)[-1].read_text()
    assert f"| training | {n_train} | {N_TRAIN} |" in card
    monkeypatch.chdir(root)
    assert "time = 1.5  # in hours, as in the table" in card
    exec(card.split("```python")[1].split("```")[0], {})  # its call works with positions that are numbers
    assert "time_gap_value" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_spec": {"positional_encoding": "learned"}}, "`time_gap` is about just that"),
        ({"prediction_horizon": 2, "metric": "val_loss"}, "are not predicted where observation has an end"),
        (
            {"model_spec": {"distribution": {"time_gap": "quantiles"}}},
            "there is no metric `val_time_gap_nll_per_event`",
        ),
    ],
)
def test_what_an_end_does_not_go_with_is_refused(root: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(config(root, **fields), metadata_of(root))


def test_the_likelihood_of_a_rate_is_that_of_its_integral() -> None:
    """The probabilities of all gaps sum to 1, quantiles lead back to their levels, the mean is that of a fine sum."""
    rate, step = Rate(np.array([0.5, 3.0, 0.1, 1.0]), 8.0), 1e-3
    gaps = np.arange(step / 2, 80, step)
    for start in (0.0, 3.7, 7.999, 20.0):
        at = np.full(len(gaps), start)
        none = np.zeros(len(gaps), dtype=bool)
        density, lasts = np.exp(-rate.loss(at, gaps, none, 1e-9)), np.exp(-rate.loss(at, gaps, ~none, 1e-9))
        assert density.sum() * step == pytest.approx(1, abs=1e-3)
        assert np.abs(1 - np.cumsum(density) * step - lasts).max() < 5e-3
        assert rate.mean(np.array([start]))[0] == pytest.approx((density * gaps).sum() * step, rel=1e-3)
        levels = np.array([0.05, 0.5, 0.95])
        found = rate.quantiles(np.array([start]), levels)[0]
        assert np.exp(-rate.loss(np.full(3, start), found, np.ones(3, bool), 1e-9)) == pytest.approx(1 - levels)
        zero = rate.loss(np.array([start]), np.zeros(1), np.zeros(1, bool), 0.5)[0]
        assert math.exp(-zero) == pytest.approx(density[gaps < 0.5].sum() * step, rel=2e-3)


def test_rates_are_events_by_the_time_observed() -> None:
    generator = np.random.default_rng(0)
    rate = np.where(np.arange(48) < 24, 2.0, 0.5) / 3600  # by half hours
    at = np.sort(generator.uniform(0, 200 * 86_400, 40_000))
    kept = at[generator.random(len(at)) < rate[(at % 86_400 // 1800).astype(int)] * 3600 / 2]
    start, value = kept[:-1], np.diff(kept)
    is_open = np.zeros(len(value), dtype=bool)
    found = daily_rate(start, value, is_open).rates / (len(at) / (200 * 86_400))
    np.testing.assert_allclose(found[:24], 1, rtol=0.2)
    np.testing.assert_allclose(found[24:], 0.25, rtol=0.4)
    assert constant_rate(np.array([1.0, 2.0, 5.0]), np.array([False, False, True])).rates.tolist() == [0.25]
    ids = np.repeat([1, 2], 5000)
    by_class, _ = rates_by_category(ids, generator.exponential(np.where(ids == 1, 2.0, 0.1)), ids == 0, 3)
    np.testing.assert_allclose(by_class[1:], [0.5, 10.0], rtol=0.05)


def test_an_open_value_of_no_time_has_a_gradient(ready: Prepared) -> None:
    criterion = ready.objective.losses["time_gap"]
    assert isinstance(criterion, DistributionLoss)
    parameters = torch.zeros(2, criterion.distribution.n_parameters, requires_grad=True)
    zero = float(criterion.scale.standardised(0.0))
    loss = criterion.sum(parameters.log_softmax(-1), torch.tensor([[zero, 1.0], [zero, 0.0]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert parameters.grad is not None and parameters.grad.isfinite().all()
