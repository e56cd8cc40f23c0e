"""N epochs equal k epochs, kill -9, a resume in another process and N - k epochs, in every bit.

For each optimizer and each scheduler that a config may name, and for each number format: weights, the optimizer's and
the schedule's state, the random state, losses and the best epoch. What is compared leaves out the clock alone.
"""

import json
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from sequifier.artifacts.checkpoint import read_checkpoint
from sequifier.config.catalogue.torch_names import known_names, options_of
from tests.support.forked_runs import Moment, RunServer
from tests.support.shop import TINY_RUN, merged
from tools.trial import REQUIRED_IN_TRIAL

EPOCHS = 3
STEPS_PER_EPOCH = 10
KILL_AFTER = Moment(epoch=2, step=4)
OF_THE_CLOCK = {"seconds", "training_seconds", "windows_per_second", "events_per_second", "peak_memory_bytes"}
OF_THE_NAME = {"model_name"}

QUICK_OPTIMIZERS = ("Adam", "AdamW", "Muon", "AdEMAMix", "ScheduleFreeAdamW")
QUICK_SCHEDULES = (
    ("StepLR", "epoch"),
    ("OneCycleLR", "batch"),
    ("ReduceLROnPlateau", "epoch"),
    ("SequentialLR", "batch"),
)


def scheduler_options(epoch: int) -> dict[str, dict[str, Any]]:
    """Options with which the rate changes before and after the kill, an epoch being so many steps of the scheduler."""
    return {
        "ChainedScheduler": {
            "schedulers": [{"name": "LinearLR", "total_iters": "auto"}, {"name": "ExponentialLR", "gamma": 0.9}]
        },
        "ConstantLR": {"factor": 0.5, "total_iters": 2 * epoch},
        "CosineAnnealingLR": {"T_max": "auto", "eta_min": 1e-4},
        "CosineAnnealingWarmRestarts": {"T_0": epoch + 1, "T_mult": 2},
        "CyclicLR": {"base_lr": 0.001, "max_lr": 0.02, "step_size_up": epoch, "mode": "triangular2"},
        "ExponentialLR": {"gamma": 0.9},
        "LinearLR": {"total_iters": "auto"},
        "MultiStepLR": {"milestones": [epoch, 2 * epoch], "gamma": 0.5},
        "OneCycleLR": {"max_lr": 0.02, "total_steps": "auto", "three_phase": True},
        "PolynomialLR": {"total_iters": "auto", "power": 2},
        # Half the loss of epoch 1 is not reached: epoch 2 lowers the rate, if the best loss has survived the kill.
        "ReduceLROnPlateau": {"patience": 0, "factor": 0.5, "threshold": 0.5},
        "SequentialLR": {
            "schedulers": [{"name": "LinearLR", "total_iters": epoch}, {"name": "CosineAnnealingLR", "T_max": "auto"}],
            "milestones": [epoch],
        },
        "StepLR": {"step_size": epoch, "gamma": 0.5},
    }


@dataclass(frozen=True)
class Place:
    """A preprocessed shop, and two servers for runs in it that know nothing of each other."""

    root: Path
    one: RunServer
    other: RunServer


@pytest.fixture(scope="module")
def place(_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("resume") / "project"
    shutil.copytree(_shop, root)
    with (
        RunServer(hash_seed=1, log=root / "one.txt") as one,
        RunServer(hash_seed=2, log=root / "other.txt") as other,
    ):
        yield Place(root, one, other)


def check(place: Place, *, resumes_at_step: int = STEPS_PER_EPOCH, **training: Any) -> list[float]:
    """Train straight through, and with a kill and a resume; compare. Returns the learning rate of each epoch's end.

    Args:
        place: where.
        resumes_at_step: the optimizer step that the resumed run must have started from: the end of epoch 1.
        **training: laid over `training_spec`.
    """
    spec = {"epochs": EPOCHS, "log_interval": 1, "continue_training": True, **training}
    base = merged(
        TINY_RUN, {"training_spec": spec, "export_onnx": False, "export_pt": True, "cpu_threads": 1, "seed": 7}
    )
    whole, cut = ({**base, "model_name": name} for name in ("whole", "cut"))
    for folder in ("logs", "checkpoints", "models"):
        shutil.rmtree(place.root / folder, ignore_errors=True)
    assert place.one.run(place.root, whole) == 0, place.one.stderr()
    assert place.one.run(place.root, cut, kill_after=KILL_AFTER) == -signal.SIGKILL, place.one.stderr()
    assert (place.root / "checkpoints/cut-resume.pt").exists()
    assert not (place.root / f"checkpoints/cut-epoch-{KILL_AFTER.epoch}.pt").exists(), "it was killed within the epoch"
    assert place.other.run(place.root, cut) == 0, place.other.stderr()

    finals = [read_checkpoint(place.root / f"checkpoints/{name}-epoch-{EPOCHS}.pt") for name in ("whole", "cut")]
    assert finals[0]["progress"]["step"] == EPOCHS * STEPS_PER_EPOCH
    log = (place.root / "logs/cut/latest/experiment_log.txt").read_text()
    assert f", step {resumes_at_step}\n" in log[log.index("resumes after epoch 1") :]

    assert differences(*finals) == []
    models = [
        {which: exported(place.root / f"models/sequifier-{name}-{which}-{EPOCHS}.pt") for which in ("best", "last")}
        for name in ("whole", "cut")
    ]
    assert differences(*models) == []
    curves = [metrics(place.root / f"logs/{name}/latest/metrics.jsonl") for name in ("whole", "cut")]
    assert len(curves[0]) >= EPOCHS
    assert differences(*curves) == []
    results = [
        json.loads((place.root / f"logs/{name}/latest/experiment_data.json").read_text())["results"]
        for name in ("whole", "cut")
    ]
    for key in ("best_epoch", "best_step", "best_val_loss", "curve", "metrics"):
        assert results[0][key] == results[1][key]
    assert moved(finals[0]["model"], place)
    return [entry["learning_rate"] for entry in curves[0] if isinstance(entry["epoch"], int)]


def exported(path: Path) -> dict[str, Any]:
    content = torch.load(path, weights_only=True)
    return {key: content[key] for key in ("weights", "metrics")}


def metrics(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def moved(weights: Mapping[str, torch.Tensor], place: Place) -> bool:
    """Whether the last epoch changed the weights: a run that stands still is resumed by anything."""
    before = read_checkpoint(place.root / f"checkpoints/cut-epoch-{EPOCHS - 1}.pt")["model"]
    return any(not torch.equal(before[name], weight) for name, weight in weights.items())


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two nested values differ in any bit, clocks and names apart."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape and _bits(one) == _bits(other)
        return [] if same else [f"{where}: {one} and {other}"]
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        found = [] if one.keys() == other.keys() else [f"{where}: keys {list(one)} and {list(other)}"]
        for key in one.keys() & other.keys() - OF_THE_CLOCK - OF_THE_NAME:
            found += differences(one[key], other[key], f"{where}.{key}")
        return found
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        found = [] if len(one) == len(other) else [f"{where}: {len(one)} and {len(other)} entries"]
        for index, (a, b) in enumerate(zip(one, other, strict=False)):
            found += differences(a, b, f"{where}[{index}]")
        return found
    return [] if repr(one) == repr(other) else [f"{where}: {one!r} and {other!r}"]  # repr: NaN equals NaN


def _bits(values: torch.Tensor) -> bytes:
    return values.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def check_optimizer(place: Place, name: str, **options: Any) -> None:
    check(place, optimizer={"name": name, **REQUIRED_IN_TRIAL.get(name, {}), **options})


@pytest.mark.parametrize("name", QUICK_OPTIMIZERS)
def test_a_killed_run_resumes_to_the_bit(place: Place, name: str) -> None:
    check_optimizer(place, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in known_names("optimizers") if name not in QUICK_OPTIMIZERS])
def test_a_killed_run_resumes_to_the_bit_with_every_other_optimizer(place: Place, name: str) -> None:
    check_optimizer(place, name)


def check_schedule(place: Place, name: str, step_on: str, warmup_steps: int) -> None:
    scheduler = {"name": name, **scheduler_options(1 if step_on == "epoch" else STEPS_PER_EPOCH)[name]}
    rates = check(place, scheduler=scheduler, scheduler_step_on=step_on, warmup_steps=warmup_steps)
    assert len({0.01, *rates}) > 1, "a rate that never changes is resumed by anything"


def test_every_scheduler_has_options_here() -> None:
    assert sorted(scheduler_options(1)) == sorted(known_names("schedulers"))


@pytest.mark.parametrize(("name", "step_on"), QUICK_SCHEDULES)
def test_a_killed_schedule_resumes_to_the_bit(place: Place, name: str, step_on: str) -> None:
    check_schedule(place, name, step_on, warmup_steps=0)


@pytest.mark.slow
@pytest.mark.parametrize("warmup_steps", [0, 15])
@pytest.mark.parametrize("step_on", ["epoch", "batch"])
@pytest.mark.parametrize("name", known_names("schedulers"))
def test_every_killed_schedule_resumes_to_the_bit(place: Place, name: str, step_on: str, warmup_steps: int) -> None:
    check_schedule(place, name, step_on, warmup_steps)


FLOAT16 = {"linear": "float16"}
FORMATS = (
    {"linear": "bfloat16"},
    FLOAT16,
    pytest.param({"linear": "float16", "decoder": "float32", "norm": "bfloat16"}, marks=pytest.mark.slow),
)


@pytest.mark.parametrize("formats", FORMATS, ids=str)
def test_a_killed_run_in_another_number_format_resumes_to_the_bit(place: Place, formats: dict[str, str]) -> None:
    check(place, layer_type_dtypes=formats, accumulation_steps=2, batch_size=8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "Adagrad", "Muon", "AdEMAMix", "ScheduleFreeAdamW", "SOAP"])
def test_a_killed_run_with_scaled_gradients_resumes_to_the_bit(place: Place, name: str) -> None:
    check(place, layer_type_dtypes=FLOAT16, optimizer={"name": name})


def test_a_scale_that_was_lowered_survives(place: Place) -> None:
    # Sums of a loss that large overflow float16 until the scale has been halved often enough.
    check(place, layer_type_dtypes=FLOAT16, loss_weights={"item": 1000.0}, gradient_clip=None)
    scaler = read_checkpoint(place.root / f"checkpoints/cut-epoch-{EPOCHS}.pt")["scaler"]
    assert scaler["scale"] < 2.0**16


def test_a_run_killed_after_a_checkpoint_within_an_epoch_resumes_from_it(place: Place) -> None:
    step = STEPS_PER_EPOCH + KILL_AFTER.step - 2
    check(
        place,
        resumes_at_step=step,
        checkpoint_interval_steps=step,
        eval_interval_steps=KILL_AFTER.step - 1,
        accumulation_steps=2,
        batch_size=8,
        gradient_clip=0.1,
        warmup_steps=step + 1,
        optimizer={"name": "ScheduleFreeAdamW"},
        scheduler={"name": "OneCycleLR", **scheduler_options(STEPS_PER_EPOCH)["OneCycleLR"]},
        scheduler_step_on="batch",
    )


def shorter_intervals() -> list[tuple[str, dict[str, int]]]:
    """Optimizers that do something every so many steps, more than a tiny run has, with intervals that it has."""
    found = []
    for name in known_names("optimizers"):
        whole = {key: option.default for key, option in options_of("optimizers", name).items() if option.type == "int"}
        shorter = {key: 7 for key, default in whole.items() if default and default >= EPOCHS * STEPS_PER_EPOCH}
        found += [(name, shorter)] if shorter else []
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), shorter_intervals())
def test_a_killed_run_resumes_to_the_bit_across_the_periodic_steps_of_an_optimizer(
    place: Place, name: str, options: dict[str, int]
) -> None:
    check_optimizer(place, name, **options)
