"""The founding page of `sequifier.params`, block by block as printed, but for the import line."""

import asyncio
import concurrent.futures
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sequifier.params import auto_param, param_scope

IMPORT = "from sequifier.params import auto_param, param_scope\n"


def test_reading_with_defaults() -> None:
    # Use | operator to provide default values
    lr = param_scope.train.lr | 0.001
    batch_size = param_scope.train.batch_size | 32

    # Use function call syntax (equivalent to |)
    use_cache = param_scope.model.cache(True)

    assert (lr, batch_size, use_cache) == (0.001, 32, True)
    # Call without arguments: raises KeyError if missing
    with pytest.raises(KeyError, match=r"`model\.required_key` is required"):
        param_scope.model.required_key()


def test_scoping_and_rollback(capsys: pytest.CaptureFixture[str]) -> None:
    print(param_scope.model.dropout | 0.1)  # 0.1

    with param_scope(**{"model.dropout": 0.3}):
        print(param_scope.model.dropout | 0.1)  # 0.3

    print(param_scope.model.dropout | 0.1)  # 0.1, auto-rollback on scope exit
    assert capsys.readouterr().out.split() == ["0.1", "0.3", "0.1"]


def test_automatic_parameter_binding(capsys: pytest.CaptureFixture[str]) -> None:
    @auto_param("train")
    def train(lr=1e-3, batch_size=32, epochs=10):  # type: ignore[no-untyped-def]
        print(f"lr={lr}, batch_size={batch_size}, epochs={epochs}")

    train()  # Uses function signature defaults

    with param_scope(**{"train.lr": 5e-4, "train.batch_size": 64}):
        train()  # lr=0.0005, batch_size=64, epochs=10

    train(lr=1e-2)  # Direct arguments take highest priority
    assert capsys.readouterr().out.splitlines() == [
        "lr=0.001, batch_size=32, epochs=10",
        "lr=0.0005, batch_size=64, epochs=10",
        "lr=0.01, batch_size=32, epochs=10",
    ]


SCRIPT = """
@auto_param("train")
def train(lr=1e-3, batch_size=32, warmup_steps=500):
    print(f"lr={lr}, batch_size={batch_size}, warmup={warmup_steps}")

if __name__ == "__main__":
    import argparse
    parser = argparse.ArgumentParser()
    parser.add_argument("-D", "--define", nargs="*", default=[], action="extend")
    args = parser.parse_args()

    with param_scope(*args.define):
        train()
"""


def test_command_line_override(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(IMPORT + SCRIPT)

    def printed(*words: str) -> str:
        command = [sys.executable, "train.py", *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    assert printed("-D", "train.lr=5e-4", "-D", "train.batch_size=64") == "lr=0.0005, batch_size=64, warmup=500"
    assert printed() == "lr=0.001, batch_size=32, warmup=500"


def test_multi_model_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    @auto_param("modelA")
    def run_model_a(dropout=0.1, hidden=128):  # type: ignore[no-untyped-def]
        print(f"ModelA: dropout={dropout}, hidden={hidden}")

    @auto_param("modelB")
    def run_model_b(dropout=0.2, hidden=256):  # type: ignore[no-untyped-def]
        print(f"ModelB: dropout={dropout}, hidden={hidden}")

    base: dict[str, Any] = {"data.path": "/data/mnist"}
    variants: list[dict[str, Any]] = [
        {"modelA.dropout": 0.3},
        {"modelB.hidden": 512, "modelB.dropout": 0.15},
    ]

    with param_scope(**base):
        for cfg in variants:
            with param_scope(**cfg):
                run_model_a()
                run_model_b()
                assert param_scope.data.path() == "/data/mnist"
    assert capsys.readouterr().out.splitlines() == [
        "ModelA: dropout=0.3, hidden=128",
        "ModelB: dropout=0.2, hidden=256",
        "ModelA: dropout=0.1, hidden=128",
        "ModelB: dropout=0.15, hidden=512",
    ]
    assert variants == [{"modelA.dropout": 0.3}, {"modelB.hidden": 512, "modelB.dropout": 0.15}]


def test_dynamic_keys(capsys: pytest.CaptureFixture[str]) -> None:
    def train_task(task_name: str) -> None:
        lr = param_scope[f"task.{task_name}.lr"] | 1e-3
        wd = param_scope[f"task.{task_name}.weight_decay"] | 0.01
        print(f"{task_name}: lr={lr}, weight_decay={wd}")

    with param_scope(
        **{
            "task.cls.lr": 1e-3,
            "task.cls.weight_decay": 0.01,
            "task.seg.lr": 5e-4,
            "task.seg.weight_decay": 0.001,
        }
    ):
        train_task("cls")
        train_task("seg")
    train_task("seg")
    assert capsys.readouterr().out.splitlines() == [
        "cls: lr=0.001, weight_decay=0.01",
        "seg: lr=0.0005, weight_decay=0.001",
        "seg: lr=0.001, weight_decay=0.01",
    ]


def test_isolated_requests() -> None:
    def rerank(items: list[Any]) -> list[Any]:
        use_new = param_scope.rerank.use_new(False)
        threshold = param_scope.rerank.threshold | 0.8
        if use_new:
            return [x for x in items if x.score >= threshold]
        return items

    def handle_request(request: Any) -> list[Any]:
        with param_scope(**request.overrides):
            return rerank(request.items)

    items = [SimpleNamespace(score=score / 10) for score in range(10)]
    overrides = [{}, {"rerank.use_new": True}, {"rerank.use_new": True, "rerank.threshold": 0.3}] * 20
    requests = [SimpleNamespace(overrides=given, items=items) for given in overrides]
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as executor:
        lengths = [len(found) for found in executor.map(handle_request, requests)]
    assert lengths == [10, 2, 7] * 20

    async def answer(request: Any) -> int:
        with param_scope(**request.overrides):
            await asyncio.sleep(0)
            return len(rerank(request.items))

    async def answer_all() -> list[int]:
        return await asyncio.gather(*map(answer, requests))

    assert asyncio.run(answer_all()) == [10, 2, 7] * 20


def test_multi_threaded_data_processing() -> None:
    def preprocess(shard: str, cfg: dict[str, Any]) -> tuple[str, bool, str]:
        with param_scope(**cfg):
            clean = param_scope.pre.clean_noise(False)
            norm = param_scope.pre.norm | "zscore"
            # Processing logic
            return shard, clean, norm

    cfg = {"pre.clean_noise": True, "pre.norm": "minmax"}
    shards = [f"shard {n}" for n in range(40)]

    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as executor:
        results = list(executor.map(lambda s: preprocess(s, cfg), shards))
    assert results == [(shard, True, "minmax") for shard in shards]
    assert cfg == {"pre.clean_noise": True, "pre.norm": "minmax"}
    assert "pre.norm" not in param_scope


def test_llm_inference_configuration() -> None:
    def llm_call(prompt: str, **options: Any) -> dict[str, Any]:
        return options

    def generate(prompt: str) -> dict[str, Any]:
        max_tokens = param_scope.llm.max_tokens | 256
        temperature = param_scope.llm.temperature | 0.7
        return llm_call(prompt, max_tokens=max_tokens, temperature=temperature)

    # Default configuration
    assert generate("hello") == {"max_tokens": 256, "temperature": 0.7}

    # Temporary override
    with param_scope(**{"llm.max_tokens": 64, "llm.temperature": 0.2}):
        assert generate("short answer") == {"max_tokens": 64, "temperature": 0.2}


def test_ab_testing() -> None:
    def get_experiment_config(user_id: int) -> dict[str, Any]:
        if hash(user_id) % 100 < 10:  # 10% traffic
            return {"search.algo": "v2", "search.boost": 1.5}
        return {}

    def search(query: str) -> tuple[str, float]:
        algo = param_scope.search.algo | "v1"
        boost = param_scope.search.boost | 1.0
        return algo, boost

    def handle_request(user_id: int, query: str) -> tuple[str, float]:
        with param_scope(**get_experiment_config(user_id)):
            return search(query)

    found = [handle_request(user, "shoes") for user in range(1000)]
    assert found.count(("v2", 1.5)) == 100
    assert found.count(("v1", 1.0)) == 900


def test_etl_jobs() -> None:
    def run_job(name: str, overrides: dict[str, Any] | None = None) -> tuple[int, int, int]:
        with param_scope(**(overrides or {})):
            batch = param_scope.etl.batch_size | 500
            retry = param_scope.etl.retry | 3
            timeout = param_scope.etl.timeout | 30
            return batch, retry, timeout

    assert run_job("daily") == (500, 3, 30)
    assert run_job("full_rebuild", {"etl.batch_size": 5000, "etl.timeout": 300}) == (5000, 3, 300)


def test_early_stopping() -> None:
    def check_early_stop(metric: float, best: float, wait: int) -> tuple[bool, float, int]:
        patience = param_scope.scheduler.patience | 5
        delta = param_scope.scheduler.min_delta | 0.001

        if metric > best + delta:
            return False, metric, 0
        wait += 1
        return wait >= patience, best, wait

    assert check_early_stop(0.5, 0.4, 4) == (False, 0.5, 0)
    assert check_early_stop(0.4005, 0.4, 4) == (True, 0.4, 5)
    with param_scope("scheduler.patience=8", "scheduler.min_delta=1e-4"):
        assert check_early_stop(0.4005, 0.4, 4) == (False, 0.4005, 0)
        assert check_early_stop(0.4, 0.4, 4) == (False, 0.4, 5)


@pytest.mark.parametrize(
    "read",
    [
        lambda: param_scope.a.b | 0,
        lambda: param_scope.a.b(0),
        lambda: param_scope.a.b(),
        lambda: param_scope["a.b"] | 0,
        lambda: param_scope["a.b"](),
        lambda: auto_param("a")(lambda b=0: b)(),
    ],
)
def test_the_reference_table(read: Callable[[], int]) -> None:
    with param_scope(**{"a.b": 1}):
        assert read() == 1
    with param_scope("a.b=1"):
        assert read() in (1, "1")  # text, where no default says what it is
