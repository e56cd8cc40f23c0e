"""Kills a search again and again with SIGKILL, and checks what it comes to.

    python -m tests.end_to_end.kill_searches [--kills 30] [--strategy grid] [--workers 2] [--seed 0] [--ray]
        [--features labels]

A search of 12 runs is started. At random moments, 3 to 10 seconds apart, one of these is killed: the search process
alone, one worker, or the search with all its workers at once. With --ray it trains on a Ray cluster of as many nodes,
the moments are twice as far apart, and an actor or a node may be lost as well; another node joins then. The same
command is started again where the search was killed, as often as asked; then it may finish. The search is made long
enough to be still at work after the last kill.

After each kill of a search, no process of it may be left and no file may be torn. In the end

- grid and sample, and every strategy with one worker: configurations, curves and validation losses equal those of an
  undisturbed search to the last digit;
- asha and bayesian with several workers: reading the ledger again reproduces every start, proposal and promotion, and
  every run equals its run file trained alone;
- every run has ended once, every model belongs to a run, and no temporary file is left.

A worker is killed at most once after each start of the search: a run that loses two counts as failed, and a worker that
dies twice in a row while it starts is given up. Takes about a quarter of a minute per kill in all.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import chdir, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnxruntime
import yaml

from sequifier import api
from sequifier.artifacts.checkpoint import read_checkpoint
from sequifier.artifacts.ledger import DONE, Record, latest_by_run, read_ledger
from sequifier.config.loading.load import load
from sequifier.config.search import SearchConfig
from sequifier.config.train import TrainConfig
from tests.support.command_line import command
from tests.support.quiet import quiet
from tests.support.ray_cluster import RayCluster, actors, cluster_of
from tests.support.replay import replayed
from tests.support.shop import merged, new_shop, preprocess_shop, shop_rows

N_RUNS = 12
FROM_SECONDS, TO_SECONDS = 3.0, 10.0
TRAINING_PER_KILL_SECONDS = 4.0
"""More than a worker gets done between a start and its kill: 6.5 s on average less its start-up, with a margin for a
machine that was slower when the epochs were measured."""

STRATEGIES: dict[str, dict[str, Any]] = {
    "grid": {"search_strategy": "grid"},
    "sample": {"search_strategy": "sample", "n_samples": N_RUNS},
    "asha": {"search_strategy": "grid", "pruner": {"type": "asha", "reduction": 2}},
    "bayesian": {"search_strategy": "bayesian", "n_samples": N_RUNS},
}
FEATURES: dict[str, dict[str, Any]] = {
    "events": {},
    "forecasts": {
        "target_columns": ["price"],
        "prediction_horizon": 4,
        "known_future": ["item"],
        "model_hyperparameter_sampling": {"distribution": {"price": "quantiles"}},
    },
    "labels": {"target_columns": ["item", "outcome"], "target_positions": {"outcome": "every"}},
    "ranking": {
        "ranking": {"item": {"k": [3], "candidates": "all", "exclude_seen": False}},
        "metric": "val_item_ndcg_3",
        "direction": "maximize",
        "model_hyperparameter_sampling": {"tie_weights": ["item"]},
        "input_columns": ["item"],
    },
}
"""What the runs predict, and how it is measured."""

LEARNS = ("asha", "bayesian")
"""Which decide by results, so that with several workers the order in which runs end matters."""

COMMAND = command("hyperparameter-search", "--config-path", "search.yaml", "--quiet")


@dataclass(frozen=True)
class Case:
    """What is searched: a strategy, a number of workers, and how long the runs are."""

    strategy: str
    workers: int
    epochs: int
    n_runs: int = N_RUNS
    features: str = "events"
    address: str = ""  # of a Ray cluster; "": on this machine

    @property
    def is_repeatable(self) -> bool:
        """Whether an undisturbed search has the same runs."""
        return self.workers == 1 or self.strategy not in LEARNS

    @property
    def execution(self) -> dict[str, Any]:
        if not self.address:
            return {"devices": self.workers}
        return {"engine": "ray", "address": self.address, "max_node_losses": 100}

    def project(self, data: Path, root: Path) -> Path:
        """A copy of the preprocessed data with a search of its own.

        Its runs have dropout, so that a random state that got lost would show.
        """
        shutil.copytree(data, root)
        rates = [round(0.05 * number, 2) for number in range(1, self.n_runs + 1)]
        document: dict[str, Any] = {
            "metadata_config_path": "configs/metadata_configs/shop.json",
            "hp_search_name": "tune",
            "target_columns": ["item"],
            "cpu_threads": 1,
            "execution": self.execution,
            "model_hyperparameter_sampling": {"dim_model": 16, "n_head": 2, "num_layers": 2, "dim_feedforward": 32},
            "training_hyperparameter_sampling": {
                "device": "cpu",
                "epochs": self.epochs,
                "batch_size": 16,
                "learning_rate": 0.003,
                "dropout": rates,
                "save_interval_epochs": self.epochs,
            },
            **STRATEGIES[self.strategy],
        }
        document = merged(document, FEATURES[self.features])
        if self.strategy in ("sample", "bayesian"):
            document["training_hyperparameter_sampling"]["learning_rate"] = [0.001, 0.003, 0.01]
        if self.strategy == "asha":
            document["pruner"] = {**document["pruner"], "min_epochs": max(1, self.epochs // 4)}
        (root / "search.yaml").write_text(yaml.safe_dump(document))
        return root


def new_data(root: Path, features: str) -> None:
    """The shop, preprocessed; with labels every customer has an outcome, which follows from the first item."""
    if features != "labels":
        new_shop(root)
        return
    firsts: dict[str, str] = {}
    rows = [(*row, firsts.setdefault(row[0], row[2])) for row in shop_rows()]
    lines = [f"{customer},{visit},{item},{price},{first > 'item2'}" for customer, visit, item, price, first in rows]
    path = root / "data/shop.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(["customer,visit,item,price,outcome", *lines]) + "\n")
    preprocess_shop(root, sequence_columns=["outcome"], split_method="between_sequence", split_ratios=[0.7, 0.2, 0.1])


def finish(root: Path) -> dict[int, Record]:
    """Let a search run to its end; returns the last record of each run."""
    subprocess.run(COMMAND, cwd=root, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return latest_by_run(records_of(root))


def records_of(root: Path) -> list[Record]:
    return read_ledger(root / "logs/tune")


def processes_in(root: Path) -> Iterator[int]:
    """The processes that work in a folder, zombies apart."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cwd").resolve() != root:
                continue
            if (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                yield int(folder.name)
        except OSError:
            continue  # it ended meanwhile


def workers_in(root: Path) -> list[int]:
    """The workers among them."""
    return [pid for pid in processes_in(root) if b"sequifier.execution.worker" in command_line(pid)]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Victim:
    """A search that is started again after each kill.

    Args:
        root: of its project.
        draw: chooses whom to kill.
        cluster: on which it trains; None for this machine.
    """

    def __init__(self, root: Path, draw: random.Random, cluster: RayCluster | None = None) -> None:
        self._root, self._draw, self._cluster = root, draw, cluster
        self._search: subprocess.Popen[str] | None = None
        self._has_lost_a_worker = False  # since it was started
        self.killed: Counter[str] = Counter()

    def kill_after(self, seconds: float) -> bool:
        """Let the search work, then kill something of it; False when the search came to its end before."""
        if self._search is None:
            self._has_lost_a_worker = False
            self._search = subprocess.Popen(
                COMMAND,
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        try:
            _, said = self._search.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            pass
        else:
            if self._search.returncode:
                raise SystemExit(f"the search failed:\n{said}")
            return False
        workers = workers_in(self._root)
        kinds = ["search", "all", *(["worker"] * 2 if workers and not self._has_lost_a_worker else [])]
        if self._cluster is not None:
            kinds += ["actor", "node"]
        what = self._draw.choice(kinds)
        self.killed[what] += 1
        if what == "worker":
            self._has_lost_a_worker = True
            os.kill(self._draw.choice(workers), signal.SIGKILL)
            return True
        if what == "node":
            assert self._cluster is not None
            self._cluster.remove()
            self._cluster.add()
            return True
        if what == "actor":
            for pid in self._draw.sample(held, 1) if (held := actors()) else []:
                os.kill(pid, signal.SIGKILL)
            return True
        pids = [self._search.pid, *(workers if what == "all" else [])]
        self._draw.shuffle(pids)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # the kernel ended it with its parent
        self._search.wait()
        self._search = None
        end = time.monotonic() + 5
        while left := list(processes_in(self._root)):
            if time.monotonic() > end:
                raise SystemExit(f"a process outlived its search by 5 s: {command_line(left[0]).decode()}")
            time.sleep(0.02)
        check_files(self._root)
        return True

    def finish(self) -> None:
        """Let the search run to its end."""
        if self._search is not None:
            self._search.communicate()
        finish(self._root)


def check_files(root: Path) -> None:
    """Read what a killed search left under its final names: every file must be whole."""
    records_of(root)
    for path in root.rglob("*"):
        if path.name.startswith(".") or "latest" in path.parts or not path.is_file():
            continue
        if path.suffix == ".onnx":
            onnxruntime.InferenceSession(path)
        elif path.suffix == ".pt" and "checkpoints" in path.parts:
            read_checkpoint(path)
        elif path.suffix == ".yaml":
            assert yaml.safe_load(path.read_text()), path


def left_over(root: Path, found: Mapping[int, Record]) -> list[str]:
    """Files that a finished search should not leave: temporary ones, and checkpoints that nobody needs."""
    hidden = [path for path in root.rglob("*") if path.name.startswith(".") or ".tmp" in path.name]
    needed = {f"{record.name}-resume.pt" for record in found.values() if record.state == "pruned"}
    checkpoints = [path for path in root.glob("checkpoints/*-resume.pt") if path.name not in needed]
    return [str(path.relative_to(root)) for path in [*hidden, *checkpoints]]


def trained_alone(record: Record) -> Record:
    """The record with what `train` gives for its run file, up to its last epoch."""
    config = load(TrainConfig, Path(f"configs/hp_search/{record.name}.yaml")).config
    spec = config.training_spec.model_copy(update={"epochs": len(record.curve)})
    result = api.train(config.model_copy(update={"training_spec": spec}), emit=quiet)
    fields = ("curve", "best_val_loss", "best_epoch")
    return record.model_copy(update={field: getattr(result, field) for field in fields})


def outcome(record: Record) -> tuple[Any, ...]:
    return record.identity, record.state, record.best_val_loss, record.best_epoch, record.curve


def problems_of(root: Path, case: Case, data: Path, folder: Path) -> Iterator[str]:
    """What is wrong with a search that was disturbed and has finished."""
    records = records_of(root)
    found = latest_by_run(records)
    if len(found) != N_RUNS or any(record.state not in DONE for record in found.values()):
        yield f"states: {[record.state for record in found.values()]}"
    ends = Counter(record.run for record in records if record.state in DONE)
    if set(ends.values()) != {1}:
        yield f"not every run ended once: {dict(ends)}"
    models = {path.name.removesuffix(".onnx") for path in (root / "models").iterdir()}
    expected_models = {
        f"sequifier-{record.name}-{which}-{case.epochs}"
        for record in found.values()
        if record.state == "finished"
        for which in ("best", "last")
    }
    if models != expected_models:
        yield f"models: {sorted(models ^ expected_models)}"
    if rest := left_over(root, found):
        yield f"left over: {rest}"
    if case.is_repeatable:
        began = time.monotonic()
        expected = finish(replace(case, address="").project(data, folder / "calm"))
        print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
    else:
        alone = folder / "alone"
        shutil.copytree(data, alone)
        shutil.copytree(root / "configs/hp_search", alone / "configs/hp_search")
        with chdir(alone):
            expected = {number: trained_alone(record) for number, record in found.items()}
        print(f"{len(expected)} runs trained alone", flush=True)
        with chdir(root):
            decided = replayed(load(SearchConfig, Path("search.yaml")).config, folder / "replays")
        print(f"{len(decided)} starts, proposals and promotions replayed", flush=True)
        for record, task in decided:
            if task is None or (task.run.number, task.run.identity) != (record.run, record.identity):
                yield f"run {record.run} was decided on {record.known} records, which give {task and task.run.number}"
    for run, record in expected.items():
        other = found.get(run)
        if other is None or outcome(other) != outcome(record):
            yield f"run {run}: {other and other.best_val_loss!r} instead of {record.best_val_loss!r}"


def epochs_for(case: Case, data: Path, folder: Path, kills: int) -> int:
    """How many epochs each run needs for the search to outlast the kills; measured with a search of one run."""
    measured = Case("grid", 1, 60, n_runs=1, features=case.features)
    (record,) = finish(measured.project(data, folder / "measure")).values()
    epoch_seconds = record.seconds["total"] / measured.epochs
    trained = 0.5 if case.strategy == "asha" else 1.0  # of all epochs
    needed = kills * TRAINING_PER_KILL_SECONDS * case.workers / (N_RUNS * trained * epoch_seconds)
    return max(10, round(needed))


def main() -> None:
    """Kill, compare, and print what was found; exit code 1 when something differs."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=30)
    options.add_argument("--strategy", choices=STRATEGIES, default="grid")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--seed", type=int, default=0, help="of the moments and of whom to kill")
    options.add_argument("--epochs", type=int, help="of each run; as many as the kills need where it is not given")
    options.add_argument("--features", choices=FEATURES, default="events", help="what the runs predict")
    options.add_argument("--ray", action="store_true", help="on a Ray cluster that is started here")
    given = options.parse_args()
    draw = random.Random(given.seed)
    with (
        cluster_of(given.workers) if given.ray else nullcontext() as cluster,
        tempfile.TemporaryDirectory() as temporary,
    ):
        folder = Path(temporary).resolve()
        data = folder / "data"
        new_data(data, given.features)
        case = Case(given.strategy, given.workers, given.epochs or 0, features=given.features)
        if given.epochs is None:
            case = replace(case, epochs=epochs_for(case, data, folder, given.kills))
        print(f"{case}, {os.cpu_count()} cores", flush=True)
        if cluster is not None:
            case = replace(case, address=cluster.address)
        root = case.project(data, folder / "disturbed")
        victim, kills, slower = Victim(root, draw, cluster), 0, 2 if given.ray else 1
        while kills < given.kills and victim.kill_after(slower * draw.uniform(FROM_SECONDS, TO_SECONDS)):
            kills += 1
            if kills % 10 == 0 or kills == given.kills:
                ended = sum(record.state in DONE for record in latest_by_run(records_of(root)).values())
                print(f"{kills} kills, {ended} runs ended", flush=True)
        victim.finish()
        problems = list(problems_of(root, case, data, folder))
        if kills < given.kills:
            problems.insert(0, f"the search came to its end after {kills} kills")
        attempts = sum(record.state == "running" for record in records_of(root))
        of_whom = ", ".join(f"{what} {times}" for what, times in sorted(victim.killed.items()))
        print(f"{kills} kills ({of_whom}), {attempts} starts of {N_RUNS} runs: {'; '.join(problems) or 'all equal'}")
        sys.exit(bool(problems))


if __name__ == "__main__":
    main()
