"""What does the process of a search cost per run, and does that grow? Prints a table of searches that train nothing.

A search is planned, and its runs end as soon as they start, with losses that follow from their names. What is left is
the search process itself: the agenda, the ledger, `keep_models`, the run files, the threads of the slots. For each kind
of search and number of runs: seconds of the plan with its run files; milliseconds per start of a run (asha starts a run
several times) over all starts, and over the first and the last tenth, which are equal where nothing grows; milliseconds
of processor time per start; seconds of the ranked table in the end.

    python benchmarks/search_driver.py [--runs 200 2000 10000] [--kinds grid ...] [--slots 2] [--profile FILE]
    python benchmarks/search_driver.py --runs 200 --kinds grid --run-seconds 0.1 [--ray]

With --run-seconds a run sleeps so long, and with --profile, the statistics of cProfile are written for the last search.
With --ray each slot is an actor on a Ray cluster that is started here, so that the cost of Ray is in the numbers.
Ten thousand runs take about 1 GB of disk in a temporary folder, and all of it about ten minutes.
"""

import argparse
import cProfile
import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sequifier import api
from sequifier.artifacts.ledger import Record
from sequifier.artifacts.metadata import Metadata, SequifierMetadata, data_fingerprint, write_metadata
from sequifier.config.search import SearchConfig
from sequifier.search.executor import Executor
from sequifier.search.placement import Placement, Slot
from sequifier.search.plan import Plan

if TYPE_CHECKING:
    from sequifier.execution.cluster.executor import ClusterExecutor

EPOCHS = 9
METADATA = "configs/metadata_configs/x.json"
SPLITS = ["data/x-split0.parquet", "data/x-split1.parquet"]
ASHA = {"type": "asha", "min_epochs": 1, "reduction": 3}
KINDS: dict[str, dict[str, Any]] = {
    "grid": {"search_strategy": "grid"},
    "grid, keep_models: best": {"search_strategy": "grid", "keep_models": "best"},
    "sample, keep_models: best": {"search_strategy": "sample", "keep_models": "best"},
    "asha": {"search_strategy": "grid", "pruner": ASHA},
    "asha, 27 configurations": {"search_strategy": "grid", "pruner": ASHA},
    "asha, keep_models: best": {"search_strategy": "grid", "pruner": ASHA, "keep_models": "best"},
    "bayesian": {"search_strategy": "bayesian"},
}
MEASURED = [kind for kind in KINDS if kind != "bayesian"]
"""Measured unless others are named: a proposal of TPE reads all results by its nature."""


class TrainsNothing:
    """An executor whose runs end at once, or after a sleep; see `sequifier/search/executor.py`."""

    def __init__(self, root: Path, run_seconds: float) -> None:
        self._root, self._run_seconds = root, run_seconds

    def start(self) -> None:
        """There is nothing to load."""

    def check(self, device: str) -> None:
        """Every device will do."""

    def run(
        self,
        config_path: Path,
        *,
        data: str,
        resume: str,
        until_epoch: int | None = None,
        thresholds: Mapping[int, float] | None = None,
        timeout_seconds: float | None = None,
        fence: object = None,
    ) -> Iterator[dict[str, Any]]:
        """End at once, with a curve that falls to a value which follows from the name of the run."""
        name, last = config_path.stem, until_epoch or EPOCHS
        final = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big") / 2**32
        curve = [1 + final + 1 / epoch for epoch in range(1, last + 1)]
        yield {"event": "stage", "stage": "training"}
        if self._run_seconds:
            time.sleep(self._run_seconds)
        for epoch, loss in enumerate(curve, start=1):
            yield {"event": "epoch", "epoch": epoch, "epochs": EPOCHS, "val_loss": loss}
        is_paused = last < EPOCHS
        model = f"models/sequifier-{name}-best-{last}.onnx"
        if not is_paused:
            (self._root / model).touch()
        yield {
            "event": "finished",
            "result": {
                "ended": "paused" if is_paused else "finished",
                "best_val_loss": curve[-1],
                "best_epoch": last,
                "last_epoch": last,
                "n_targets": {"kind": 20},
                "inputs": {"baselines": "1"},
                "metrics": {"val_loss": curve[-1]},
                "curve": curve,
                "seconds": {"total": 0.1, "training": 0.09, "validation": 0.01},
                "peak_memory_bytes": 1,
                "files": {} if is_paused else {"best_onnx": model},
                "baselines": {"baseline: unigram": {"val_loss": 2.0}},
                "error": None,
            },
        }

    def score(
        self, config_path: Path, model_path: Path, split_path: str, *, data: str, sums: Path | None = None
    ) -> dict[str, float]:
        """There is no test split."""
        raise NotImplementedError

    def stop(self) -> None:
        """Every run has ended already."""

    def close(self) -> None:
        """Nothing is running."""


class Engine:
    """As many slots as were asked for, in this process or in actors of a Ray cluster."""

    patience_seconds = 0.0

    def __init__(self, root: Path, n_slots: int, run_seconds: float, *, on_ray: bool) -> None:
        self._n_slots, self._executor = n_slots, TrainsNothing(root, run_seconds)
        self._actors = actors(root, self._executor, n_slots) if on_ray else []
        (root / "models").mkdir()

    def place(self, plan: Plan, memory: object, records: Sequence[Record]) -> Placement:
        """Slots with a device of their own each."""
        return Placement(tuple(map(Slot, range(self._n_slots))))

    def executors(self, placement: Placement) -> Sequence[Executor]:
        """The same one for each slot, as it has no state; or an actor for each."""
        return self._actors or [self._executor for _ in placement.slots]

    def watch(self, join: object, log: object) -> None:
        """No slot joins."""


def actors(root: Path, executor: TrainsNothing, n_slots: int) -> "list[ClusterExecutor]":
    """Executors on the nodes of the cluster to which this process is connected, with `executor` in their actors."""
    from sequifier.execution.cluster.actor import Host
    from sequifier.execution.cluster.executor import ClusterExecutor, Deployment
    from sequifier.execution.cluster.nodes import alive
    from sequifier.execution.cluster.places import Needs, free_places

    class Hollow(Host):
        def __init__(self, folder: str, log_path: str, options: Mapping[str, Any]) -> None:
            self._executor = executor  # type: ignore[assignment]

    needs = Needs(1)
    deployment = Deployment(root, root / "logs/driver/attempts", needs, host=Hollow)
    places = free_places(alive(), needs, (), n_slots)
    return [ClusterExecutor(place, root / "worker.log", deployment) for place in places]


class Moments:
    """When the plan was there, and when each run started and ended, from the events of the search."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.planned = self.planned_cpu = 0.0
        self.starts: list[float] = []
        self.last_end = self.last_end_cpu = 0.0

    def __call__(self, event: str, **fields: Any) -> None:
        """Note the time of an event."""
        if event == "planned":
            self.planned, self.planned_cpu = time.perf_counter(), time.process_time()
        elif event == "run_started":
            self.starts.append(time.perf_counter())
        elif event == "run_ended":
            self.last_end, self.last_end_cpu = time.perf_counter(), time.process_time()


def write_project(root: Path) -> None:
    """The metadata of a data set with two columns, and empty splits: nothing reads them."""
    columns = {"kind": "String", "length": "Float64"}
    hashes: list[dict[str, str]] = [{}, {}]
    statistics, id_maps = {"length": {"std": 1.0, "mean": 0.0}}, {"kind": {"a": 1, "b": 2, "c": 3}}
    section = {
        "columns": [*columns],
        "sequence_column": "sequenceId",
        "position_column": "itemPosition",
        "sequence_type": "Int64",
        "position_type": "Int64",
        "seq_length": 8,
        "stride_by_split": [8, 8],
        "subsequence_start_mode": "distribute",
        "split_method": "within_sequence",
        "split_ratios": [0.8, 0.2],
        "context_events": 8,
        "rows": [80, 20],
        "sequences": [4, 4],
        "column_hashes": hashes,
        "fingerprint": data_fingerprint([*columns], id_maps, statistics, hashes),
    }
    metadata = Metadata(
        n_classes={"kind": 4},
        id_maps=id_maps,
        split_paths=SPLITS,
        column_types=columns,
        selected_columns_statistics=statistics,
        sequifier=SequifierMetadata.model_validate(section),
    )
    (root / "data").mkdir()
    for split in SPLITS:
        (root / split).touch()
    (root / METADATA).parent.mkdir(parents=True)
    write_metadata(metadata, root / METADATA)


def config_of(root: Path, kind: str, n_runs: int) -> SearchConfig:
    """The search of a kind with this many runs."""
    n_configurations = 27 if "27" in kind else n_runs
    values: dict[str, Any] = {
        "project_root": str(root),
        "metadata_config_path": METADATA,
        "hp_search_name": "driver",
        "target_columns": ["kind"],
        "seed": 1,
        "repeats": n_runs // n_configurations,
        "n_samples": None if KINDS[kind]["search_strategy"] == "grid" else n_configurations,
        "model_hyperparameter_sampling": {"dim_model": [8, 16], "n_head": [2, 2], "num_layers": 1},
        "training_hyperparameter_sampling": {
            "epochs": EPOCHS,
            "batch_size": 16,
            "learning_rate": [1e-3 * (1 + place) for place in range(n_configurations // 2)],
        },
    }
    if n_configurations % 2:
        values["model_hyperparameter_sampling"] = {"dim_model": [8, 16, 32], "n_head": [2, 2, 2], "num_layers": 1}
        values["training_hyperparameter_sampling"]["learning_rate"] = [1e-3 * (1 + place) for place in range(9)]
    return SearchConfig.model_validate(values | KINDS[kind])


def measure(
    kind: str, n_runs: int, *, n_slots: int, run_seconds: float, on_ray: bool, profile: cProfile.Profile | None
) -> dict[str, float]:
    """Search once; the numbers of a row."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_project(root)
        config, moments = config_of(root, kind, n_runs), Moments()
        engine = Engine(root, n_slots, run_seconds, on_ray=on_ray)
        with profile or nullcontext():
            result = api.search(config, engine=engine, emit=moments)
        ended = time.perf_counter()
        assert result.ended == "complete", result.ended
    times = [*moments.starts, moments.last_end]
    tenth = len(moments.starts) // 10

    def each(first: int, last: int) -> float:
        return 1000 * (times[last] - times[first]) / (last - first)

    return {
        "starts": len(moments.starts),
        "plan": moments.planned - moments.began,
        "all": each(0, len(times) - 1),
        "first": each(0, tenth),
        "last": each(len(times) - 1 - tenth, len(times) - 1),
        "cpu": 1000 * (moments.last_end_cpu - moments.planned_cpu) / len(moments.starts),
        "end": ended - moments.last_end,
    }


def main() -> None:
    """Print the table, a row for each search."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, nargs="+", default=[200, 2000, 10000])
    options.add_argument("--kinds", nargs="+", choices=[*KINDS], default=MEASURED)
    options.add_argument("--slots", type=int, default=2)
    options.add_argument("--run-seconds", type=float, default=0.0)
    options.add_argument("--ray", action="store_true")
    options.add_argument("--profile", type=Path)
    given = options.parse_args()
    if given.ray:
        import ray

        ray.init(num_cpus=given.slots, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    print(f"{given.slots} slots{' on Ray' if given.ray else ''}, runs of {given.run_seconds:g} s\n")
    print("| search | runs | starts | plan, s | per start, ms | first tenth | last tenth | processor | end, s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind in given.kinds:
        for n_runs in given.runs:
            profile = cProfile.Profile() if given.profile else None
            row = measure(
                kind,
                n_runs,
                n_slots=given.slots,
                run_seconds=given.run_seconds,
                on_ray=given.ray,
                profile=profile,
            )
            if profile is not None:
                profile.dump_stats(given.profile)
            print(
                f"| {kind} | {n_runs:,} | {row['starts']:,.0f} | {row['plan']:.2f} | {row['all']:.2f} "
                f"| {row['first']:.2f} | {row['last']:.2f} | {row['cpu']:.2f} | {row['end']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
