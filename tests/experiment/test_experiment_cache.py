"""The cache: shared by runs, whole or not there, and never a reason to lose a result."""

import gzip
import json
import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequifier.errors import RunError
from sequifier.experiment import CacheBackend, Experiment, ExperimentCache
from sequifier.experiment.cache import age_text


def counted(cache: ExperimentCache, name: str = "n", **options: Any) -> Any:
    calls: list[Any] = []

    @cache.cached(name, **options)
    def compute(value: Any = None) -> Any:
        """Says what it does."""
        calls.append(value)
        return value

    compute.calls = calls
    return compute


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("backend", [CacheBackend.PICKLE, CacheBackend.JSON])
def test_what_is_saved_is_loaded(tmp_path: Path, backend: CacheBackend, compress: bool) -> None:
    cache = ExperimentCache(tmp_path / "cache", compress=compress)
    path = cache.save({"a": [1, 2.5, "ü"]}, "name", ("some", 3), backend)
    suffix = f".{backend.value}" + (".gz" if compress else "")
    assert path == tmp_path / "cache" / "some" / "3" / f"name{suffix}"
    assert cache.load("name", ("some", 3)) == {"a": [1, 2.5, "ü"]}
    assert ExperimentCache(tmp_path / "cache", compress=not compress).load("name", ("some", 3)), "both kinds are read"


@given(st.recursive(st.none() | st.integers() | st.text() | st.floats(allow_nan=False), st.lists))
def test_any_value_comes_back_from_both_backends(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    cache = ExperimentCache(tmp_path_factory.mktemp("cache"))
    for backend in (CacheBackend.PICKLE, CacheBackend.JSON):
        cache.save(value, "value", backend=backend)
        assert cache.load("value") == value


def test_the_newest_entry_counts_whatever_its_backend(tmp_path: Path) -> None:
    cache = ExperimentCache(tmp_path)
    for number, backend in enumerate([CacheBackend.JSON, CacheBackend.PICKLE, CacheBackend.JSON]):
        cache.save(number, "n", backend=backend)
        assert (cache.load("n"), len(list(tmp_path.iterdir()))) == (number, 1)


def test_a_decorated_function_keeps_its_name_and_computes_once(tmp_path: Path) -> None:
    compute = counted(ExperimentCache(tmp_path))
    assert [compute(1), compute(2), compute.calls] == [1, 1, [1]], "arguments are no part of the key"
    assert (compute.__name__, compute.__doc__) == ("compute", "Says what it does.")
    assert counted(ExperimentCache(tmp_path))(3) == 1, "another process finds it"


def test_what_json_changes_is_the_same_from_the_first_call_on(tmp_path: Path) -> None:
    compute = counted(ExperimentCache(tmp_path), backend=CacheBackend.JSON)
    assert compute((1, 2)) == compute() == [1, 2]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    damaged = {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "foreign": b"no gzip at all",
        "flipped": bytes([*content[:-6], content[-6] ^ 0xFF, *content[-5:]]),
        "no pickle": gzip.compress(b"abc"),
        "unknown class": gzip.compress(pickle.dumps(42).replace(b"\x80", b"cnowhere\nThing\n.")),
    }
    path.write_bytes(damaged[how])


@pytest.mark.parametrize("how", ["empty", "cut", "foreign", "flipped", "no pickle", "unknown class"])
def test_a_damaged_entry_is_computed_again_with_a_warning(tmp_path: Path, how: str) -> None:
    with Experiment(tmp_path, "exp", echo=lambda line: None) as e:
        compute = counted(e.cache)
        compute("x" * 1000)
        (path,) = e.cache.path.iterdir()
        damage(path, how)
        with pytest.raises(RunError, match="damaged"):
            e.cache.load("n")
        assert compute("again") == "again"
        assert compute("from the cache") == "again"
    assert "warning: the cache entry 'n' is damaged" in e.log_path.read_text()
    assert str(path) in e.log_path.read_text()


def test_without_an_experiment_warnings_are_pythons(tmp_path: Path) -> None:
    cache = ExperimentCache(tmp_path)
    compute = counted(cache)
    compute(1)
    damage(tmp_path / "n.pkl.gz", "cut")
    with pytest.warns(UserWarning, match="damaged"):
        assert compute(2) == 2


def test_a_result_that_cannot_be_saved_is_not_lost(tmp_path: Path) -> None:
    with Experiment(tmp_path, "exp", echo=lambda line: None) as e:
        lock = threading.Lock()
        assert counted(e.cache)(lock) is lock
    assert "warning: 'n' cannot be cached: TypeError" in e.log_path.read_text()
    assert [path.name for path in e.cache.path.iterdir()] == [], "nothing half-written stays"
    with pytest.raises(TypeError):
        e.cache.save(lock, "n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_loses_no_result(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.warns(UserWarning, match="cannot be cached"):
        assert counted(ExperimentCache(tmp_path / "cache"))(5) == 5


def test_switched_off_nothing_is_loaded_and_nothing_saved(tmp_path: Path) -> None:
    cache = ExperimentCache(tmp_path)
    cache.save(1, "n")
    cache.set_enabled(False)
    assert counted(cache)(2) == 2
    assert cache.save(3, "n") is None
    with pytest.raises(FileNotFoundError, match="switched off"):
        cache.load("n")
    cache.set_enabled(True)
    assert cache.load("n") == 1


def test_a_missing_entry_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"'n' in .*scope"):
        ExperimentCache(tmp_path).load("n", ("scope",))
    assert not (tmp_path / "scope").exists(), "looking makes no folder"


@pytest.mark.parametrize("scope", [("..",), ("a", "../.."), ("/etc",), ("",)])
def test_a_scope_does_not_lead_out_of_the_cache(tmp_path: Path, scope: tuple[str, ...]) -> None:
    cache = ExperimentCache(tmp_path / "cache")
    with pytest.raises(ValueError, match="is outside of the cache"):
        cache.save(1, "n", scope)
    with pytest.raises(ValueError):
        cache.save(1, "../n")


def test_scopes_may_be_functions_texts_or_nothing(tmp_path: Path) -> None:
    e = Experiment(tmp_path, "exp", parameters={"SIZE": 3})
    for scope, place in ((lambda e: ("by", e.SIZE), "by/3/n"), ("text", "text/n"), (None, "n"), ((), "n")):
        path = e.cache.save(1, "n", scope)
        assert path == e.cache.path / f"{place}.pkl.gz"
    with pytest.raises(ValueError, match="needs a cache with an experiment"):
        ExperimentCache(tmp_path).load("n", lambda e: ("a",))


def test_save_at_and_load_from_take_a_folder(tmp_path: Path) -> None:
    cache = ExperimentCache(tmp_path / "cache")
    assert cache.save_at([1], "n", tmp_path / "elsewhere", CacheBackend.JSON) == tmp_path / "elsewhere/n.json.gz"
    assert cache.load_from(tmp_path / "elsewhere", "n") == [1]


def test_a_missing_joblib_is_reported_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)
    compute = counted(ExperimentCache(tmp_path), backend=CacheBackend.JOBLIB)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sequifier-search\[experiment\]'"):
        compute(1)
    assert compute.calls == []


def test_writers_at_the_same_time_leave_one_whole_entry(tmp_path: Path) -> None:
    cache = ExperimentCache(tmp_path)
    threads = [threading.Thread(target=cache.save, args=([n] * 5_000, "n")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(cache.load("n"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["n.pkl.gz"]


def test_equal_data_make_equal_files(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        path = ExperimentCache(tmp_path / name).save({"x": 1}, "n")
        assert path is not None
        files.append(path.read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 seconds"), (1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (7200, "2 hours"), (1e6, "11 days")],
)
def test_ages_are_said_as_people_do(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


def test_numbers_of_numpy_go_into_json(tmp_path: Path) -> None:
    import numpy as np

    cache = ExperimentCache(tmp_path, compress=False)
    cache.save({"a": np.arange(3), "b": np.float32(0.5)}, "n", backend=CacheBackend.JSON)
    assert json.loads((tmp_path / "n.json").read_text()) == {"a": [0, 1, 2], "b": 0.5}
