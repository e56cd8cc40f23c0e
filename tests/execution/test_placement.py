"""Where runs train on a machine, and with how many threads."""

from collections.abc import Sequence
from typing import Any

import pytest

from sequifier.artifacts.ledger import Record, State
from sequifier.errors import ConfigError
from sequifier.execution.machine import Gpu, Machine
from sequifier.execution.placement import place
from sequifier.search.memory import MemoryUse
from sequifier.search.placement import Placement
from tests.support.searches import plan_of, record_of, search

GB = 10**9
SMALL = MemoryUse(10**6, 50 * 10**6, 0)
H100 = tuple(Gpu(number, "NVIDIA H100", f"GPU-{number}{number}", 80 * GB) for number in range(4))


def placed(
    *,
    cores: int = 8,
    gpus: Sequence[Gpu] = (),
    memory: MemoryUse | None = SMALL,
    machine_memory: int = 64 * GB,
    records: Sequence[Record] = (),
    width: Any = 64,
    device: str = "auto",
    execution: dict[str, Any] | None = None,
    **root: Any,
) -> Placement:
    """Place a grid of 20 runs on a machine whose cores have two hyper-threads each."""
    config = search(
        model={"dim_model": width, "n_head": 2},
        training={"dropout": [number / 100 for number in range(20)], "device": device},
        execution=execution or {},
        **root,
    )
    machine = Machine(cores=cores, processors=2 * cores, memory=machine_memory, gpus=tuple(gpus))
    placement = place(plan_of(config, list(records)), memory, records, machine)
    assert all(len(sentence) < 98 for sentence in placement.sentences), "a line of a terminal, indented"
    return placement


def of(placement: Placement) -> tuple[int, int | None]:
    """The number of workers and the threads of each run."""
    return len(placement.slots), placement.cpu_threads


def trained(threads: int | None, number: int = 0, state: State = "finished") -> Record:
    """A record of a run of the placed search."""
    values = {"dropout": [number / 100 for number in range(20)]}
    run = plan_of(search(model={"dim_model": 64, "n_head": 2}, training=values)).runs[number]
    return record_of(run, state, cpu_threads=threads)


def test_small_models_train_side_by_side_on_the_cores_of_a_cpu() -> None:
    placement = placed()
    assert of(placement) == (8, 1)
    assert {slot.device for slot in placement.slots} == {None} and not placement.is_on_gpu
    assert placement.sentences == ("8 workers with one thread each (8 cores; the widest model has 64)",)
    assert of(placed(gpus=H100, device="cpu")) == (8, 1)


def test_wide_models_train_one_after_another_with_all_threads() -> None:
    assert of(placed(width=256)) == (8, 1)
    placement = placed(width=[64, 512])
    assert of(placement) == (1, None)
    (sentence,) = placement.sentences
    assert sentence.startswith("one run after another with all threads (the widest model has 512;")


def test_the_widest_model_of_the_space_counts_not_that_of_a_sample() -> None:
    ranges = {"width": {"low": 32, "high": 512, "step": 32}, "search_strategy": "sample", "n_samples": 1, "seed": 3}
    assert of(placed(**ranges)) == (1, None)


def test_one_core_trains_one_run_after_another() -> None:
    placement = placed(cores=1)
    assert of(placement) == (1, None)
    assert placement.sentences == ("one run after another with all threads (1 core)",)


def test_memory_for_some_workers_starts_fewer_with_the_same_number_of_threads() -> None:
    use = MemoryUse(10**6, GB, 0)  # and 350 MB for libraries
    some = placed(memory=use, machine_memory=5 * GB)
    assert of(some) == (3, 1), "0.9 x 5.0 GB / 1.35 GB"
    assert some.sentences[1] == "memory is enough for 3 of 8 workers: 90 % of 5.0 GB here, 1.4 GB for each"
    one = placed(memory=use, machine_memory=2 * GB)
    assert of(one) == (1, 1), "digits do not depend on the memory"
    assert one.sentences[0] == "one run after another with one thread (8 cores; the widest model has 64)"
    assert one.sentences[1].startswith("memory is enough for 1 of 8 workers")
    assert of(placed(memory=use, machine_memory=2 * GB, width=512)) == (1, None)
    assert of(placed(memory=use, machine_memory=GB)) == (1, 1), "the plan warns, and the run ends as oom"
    assert of(placed(memory=MemoryUse(10**6, GB, 2 * GB), machine_memory=8 * GB)) == (2, 1), "each has the data"


def test_the_number_of_threads_does_not_depend_on_the_runs_that_are_left() -> None:
    records = [trained(1, number) for number in range(19)]
    assert of(placed(records=records)) == (1, 1)
    assert of(placed(records=records[:17])) == (3, 1)
    (sentence, _) = placed(records=records[:17]).sentences
    assert sentence == "3 workers with one thread each (8 cores; the widest model has 64; 3 runs to train)"
    one = search(training={"dropout": 0.0})
    machine = Machine(cores=8, processors=16, memory=64 * GB)
    assert of(place(plan_of(one), None, [], machine)) == (1, 1), "as if the search had more runs"


def test_proposals_repeats_and_confirmations_are_runs_to_come() -> None:
    values = {"search_strategy": "bayesian", "n_samples": 2}
    assert len(placed(**values).slots) == 2
    assert len(placed(**values, repeats=3).slots) == 6
    assert len(placed(**values, confirm_top=1).slots) == 4
    done = [trained(1, number) for number in range(20)]
    assert len(placed(records=done, confirm_top=2).slots) == 4
    assert placed(records=done).sentences == (), "nothing is left to train"


@pytest.mark.parametrize(
    ("devices", "cores", "expected"), [(1, 8, (1, None)), (2, 8, (2, 4)), (4, 2, (4, 1)), ("all", 4, (4, 1))]
)
def test_a_number_of_devices_on_a_cpu_is_one_of_workers_that_share_its_cores(
    devices: Any, cores: int, expected: tuple[int, int | None]
) -> None:
    placement = placed(cores=cores, execution={"devices": devices})
    assert of(placement) == expected
    assert of(placed(cores=cores, execution={"devices": devices}, width=512)) == expected, "whatever the width"


def test_more_workers_than_cores_are_allowed_and_said() -> None:
    _, sentence = placed(cores=2, execution={"devices": 4}).sentences
    assert sentence == "4 workers with one thread each are more than the 2 cores here"
    _, sentence = placed(cores=4, execution={"devices": 2}, cpu_threads=3).sentences
    assert sentence == "2 workers with 3 threads each are more than the 4 cores here"


def test_threads_of_the_user_are_kept_and_divide_the_cores() -> None:
    assert of(placed(cpu_threads=2)) == (4, 2)
    assert of(placed(cpu_threads=2, width=512)) == (4, 2)
    assert of(placed(cpu_threads=3)) == (2, 3)
    assert of(placed(cpu_threads=12)) == (1, 12)
    assert of(placed(cpu_threads=2, execution={"devices": 1})) == (1, 2)
    assert of(placed(cpu_threads=16)) == (1, 16), "written, although it is the number of processors"


def test_a_ledger_keeps_its_number_of_threads() -> None:
    serial = placed(cores=8, records=[trained(4)])
    assert of(serial) == (2, 4)
    assert serial.sentences[1] == "cpu_threads is 4, as in the ledger: the last digits of losses depend on it"
    assert of(placed(records=[trained(1)], width=[64, 512])) == (8, 1)
    assert of(placed(records=[trained(1)], execution={"devices": 1})) == (1, 1)
    assert of(placed(records=[trained(None), trained(2, 1), trained(1, 2)])) == (4, 2), "the first that has one"


def test_a_search_that_began_with_all_threads_continues_with_them() -> None:
    """Its run files and checkpoints say null, which is the number of processors."""
    placement = placed(cores=1, records=[trained(2)])
    assert of(placement) == (1, None)
    assert any("cpu_threads is 2, as in the ledger" in sentence for sentence in placement.sentences)


def test_a_search_that_was_killed_before_its_first_result_keeps_its_number_of_threads() -> None:
    serial = placed(execution={"devices": 1})
    assert of(serial) == (1, None)
    assert of(placed(records=[trained(16, state="running")])) == (1, None), "16 processors: then null, as in its file"
    assert of(placed(records=[trained(4, state="running"), trained(1, 1)])) == (2, 4)


@pytest.mark.parametrize(
    ("n_gpus", "execution"),
    [(4, {"devices": "all"}), (4, {"devices": [1, 3]}), (1, {"runs_per_device": 2}), (4, {}), (4, {"devices": [2]})],
)
def test_on_gpus_the_number_of_threads_does_not_change_while_a_search_runs(
    n_gpus: int, execution: dict[str, Any]
) -> None:
    """A run resumes from its checkpoint only where its file says the number that it began with."""
    first = placed(gpus=H100[:n_gpus], execution=execution)
    started = trained(first.cpu_threads or 16, 0, "running")
    for n_done in range(1, 20):
        done = [trained(first.cpu_threads or 16, number) for number in range(1, n_done)]
        later = placed(gpus=H100[:n_gpus], execution=execution, records=[started, *done])
        assert later.cpu_threads == first.cpu_threads, n_done
    fewer = placed(gpus=H100[:1], records=[started])
    assert fewer.cpu_threads == first.cpu_threads, "on another number of GPUs too"
    assert placed(gpus=H100, execution={"devices": "all"}, records=[trained(16)]).cpu_threads is None, "was serial"


def test_another_number_than_that_of_the_ledger_is_said() -> None:
    placement = placed(records=[trained(2)], cpu_threads=4)
    assert of(placement) == (2, 4)
    assert "cpu_threads is 4, but 2 threads in the ledger: the last digits of losses differ" in placement.sentences
    placement = placed(cores=2, records=[trained(64)])
    assert of(placement) == (2, 1)
    assert "there are 4 processors here, but 64 threads in the ledger" in placement.sentences[1]


def test_threads_of_several_workers_wait_as_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(variable, raising=False)
    (first, _) = placed(execution={"devices": 2}).slots
    assert first.environment["GOMP_SPINCOUNT"] == "3000"
    assert "GOMP_SPINCOUNT" not in placed().slots[0].environment, "one thread waits for no other"
    assert placed(execution={"devices": 1}).slots[0].environment == {}
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert "GOMP_SPINCOUNT" not in placed(execution={"devices": 2}).slots[0].environment


def test_workers_that_share_the_cores_have_as_many_threads_of_polars_as_of_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pools(**values: Any) -> set[str | None]:
        return {slot.environment.get("POLARS_MAX_THREADS") for slot in placed(**values).slots}

    monkeypatch.delenv("POLARS_MAX_THREADS", raising=False)
    assert pools() == {"1"}
    assert pools(execution={"devices": 2}) == {"4"}
    assert pools(gpus=H100, execution={"devices": "all"}) == {"2"}
    assert pools(execution={"devices": 1}) == {None} == pools(gpus=H100), "one worker has the machine"
    monkeypatch.setenv("POLARS_MAX_THREADS", "3")
    assert pools() == {None}, "the user's"


def test_with_a_gpu_runs_train_one_after_another_as_without_this_section() -> None:
    placement = placed(gpus=H100[:1])
    assert of(placement) == (1, None)
    assert (placement.slots[0].device, placement.slots[0].environment) == (0, {})
    assert placement.sentences == ("one run after another on GPU 0 (NVIDIA H100)",)
    assert placement.memory == 80 * GB
    assert placed(gpus=H100).sentences[0].endswith("; execution.devices: all uses all 4")
    assert placed(gpus=H100, execution={"devices": 1}).slots == placement.slots
    assert of(placed(gpus=H100, cpu_threads=3)) == (1, 3)


@pytest.mark.parametrize(
    ("devices", "expected"), [("all", [0, 1, 2, 3]), (2, [0, 1]), ([3, 1], [3, 1]), ([2], [2]), ([0], [0])]
)
def test_several_gpus_have_a_worker_each_that_sees_no_other(devices: Any, expected: list[int]) -> None:
    placement = placed(gpus=H100, execution={"devices": devices})
    assert [slot.device for slot in placement.slots] == expected
    keys = [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in placement.slots]
    assert keys == [f"GPU-{number}{number}" for number in expected]
    assert placement.is_on_gpu and placement.runs_per_device == 1
    assert placement.cpu_threads == (8 // len(expected) if len(expected) > 1 else None)


def test_runs_that_share_a_gpu_are_spread_over_the_gpus_first() -> None:
    placement = placed(gpus=H100[:2], execution={"devices": "all", "runs_per_device": 2})
    assert [slot.device for slot in placement.slots] == [0, 1, 0, 1]
    assert placement.runs_per_device == 2
    assert placement.sentences == ("4 workers on GPUs 0, 1",)
    both = placed(gpus=H100[:1], execution={"runs_per_device": 2})
    assert [slot.device for slot in both.slots] == [0, 0]
    three = placed(
        gpus=H100[:2], execution={"devices": "all", "runs_per_device": 4}, search_strategy="bayesian", n_samples=3
    )
    assert [slot.device for slot in three.slots] == [0, 1, 0], "no more than there are runs"


def test_no_more_runs_train_at_the_same_time_than_the_config_allows() -> None:
    placement = placed(execution={"max_parallel": 3})
    assert of(placement) == (3, 1), "the digits do not depend on it"
    assert placement.sentences[0].endswith("; execution.max_parallel: 3)")
    assert of(placed(execution={"max_parallel": 9})) == (8, 1)
    assert of(placed(execution={"max_parallel": 1}, width=512)) == (1, None)
    on_gpus = placed(gpus=H100, execution={"devices": "all", "max_parallel": 2})
    assert [slot.device for slot in on_gpus.slots] == [0, 1] and on_gpus.sentences == ("2 workers on GPUs 0, 1",)
    assert on_gpus.cpu_threads == placed(gpus=H100, execution={"devices": "all"}).cpu_threads


def test_what_has_no_effect_here_is_said() -> None:
    placement = placed(execution={"runs_per_device": 3})
    assert of(placement) == (8, 1)
    assert placement.sentences[1] == "execution.runs_per_device has no effect on a CPU"
    placement = placed(execution={"cpus_per_run": 4, "gpus_per_run": 0, "address": "auto"})
    assert placement.sentences[1:] == (
        "execution.gpus_per_run has no effect: engine is local",
        "execution.cpus_per_run has no effect: engine is local",
    )


def test_a_gpu_that_is_named_by_the_device_is_used_alone() -> None:
    placement = placed(gpus=H100, device="cuda")
    assert (placement.slots[0].device, of(placement)) == (0, (1, None))
    assert of(placed(device="cuda")) == (1, None), "the check of the device reports that there is none"
    assert of(placed(device="mps")) == (1, None)


@pytest.mark.parametrize(
    ("values", "message", "fix"),
    [
        (
            {"execution": {"devices": [0]}},
            "there is no GPU 0: this machine has no GPU that torch can use",
            "leave it out, or write a number of workers",
        ),
        (
            {"gpus": H100[:2], "execution": {"devices": [1, 2]}},
            "there is no GPU 2: this machine has 2 GPUs: 0 (NVIDIA H100), 1 (NVIDIA H100)",
            "write numbers of these",
        ),
        (
            {"gpus": H100[:2], "execution": {"devices": 3}},
            "3 are more than there are: this machine has 2 GPUs: 0 (NVIDIA H100), 1 (NVIDIA H100)",
            "write 2 or all; runs_per_device: 2 trains two runs on each GPU, device: cpu uses the CPU",
        ),
        (
            {"gpus": H100, "device": "cpu", "execution": {"devices": [0, 1]}},
            "device is cpu, and a list names GPUs",
            "write a number of workers, or set device to auto",
        ),
        (
            {"device": "mps", "execution": {"devices": "all"}},
            "all does not fit device mps, which is one device",
            "leave it out, or set device to auto to train on several GPUs",
        ),
    ],
)
def test_devices_that_are_not_here_are_an_error(values: dict[str, Any], message: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        placed(**values)
    (problem,) = caught.value.problems
    assert (problem.key, problem.message, problem.fix) == ("execution.devices", message, fix)
