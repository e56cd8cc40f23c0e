"""Experiments that extend others: whose parameters, hooks, testing and analyses count."""

import json
import sys
from pathlib import Path

import pytest

from sequifier.errors import ConfigError, RunError
from sequifier.experiment import Experiment, get_experiment, run_experiment
from tests.support.experiment_files import HEADER, last, start, write, write_experiment

EXTEND = (
    "experiment = Experiment.extend({parent!r}, base_path=folder_path(__file__), "
    "namespace=file_namespace(__file__), glob=globals())\n"
)


def write_child(
    folder: Path, below: str = "", *, above: str = "", parent: str = "exp.py", name: str = "child.py"
) -> Path:
    return write(folder, name, f"{HEADER}{above}\n{EXTEND.format(parent=parent)}{below}\nexperiment.run_if_main()\n")


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    body = """
    e["bare"] = [A, B, C]
    e["by name"] = [e.A, e.B, e.C]
    e["hook"] = e.apply_hook("point", value=1, default="nothing")
    """
    return write_experiment(tmp_path, body, above="A: int = 1\nB: int = 2\nC: int = 3\n", name="exp.py")


def test_parameters_before_and_after_the_call_count(parent: Path) -> None:
    child = write_child(parent.parent, above="A = 10", below="B = 20\n")
    e = run_experiment(child)
    assert e["bare"] == e["by name"] == [10, 20, 3]
    start(child, "--B", "21", "--C", "30")
    assert last(parent.parent, "results/child")["bare"] == [10, 21, 30]
    assert e.metadata["parameter_info"]["A"]["type"] == "int", "the parent's annotation holds for its child"


def test_the_parent_stays_as_it_is(parent: Path) -> None:
    child, first = write_child(parent.parent, above="A = 10"), get_experiment(parent)
    run_experiment(child)
    for e in (first, get_experiment(parent)):
        e.run()
        assert e["bare"] == [1, 2, 3]


def test_a_child_of_a_child(parent: Path) -> None:
    write_child(parent.parent, above="A = 10\nB = 20\nNEW = 5\n")
    grandchild = write_child(parent.parent, "B = 200\n", parent="child.py", name="grandchild.py")
    e = run_experiment(grandchild)
    assert (e["bare"], e.NEW, e.namespace) == ([10, 200, 3], 5, "results/grandchild")
    assert sorted(path.name for path in (e.path / "code").iterdir()) == ["child.py", "exp.py", "grandchild.py"]


def test_assigning_in_code_changes_the_bare_variable(parent: Path) -> None:
    e = get_experiment(parent)
    e.A = 5
    e.parameters["B"] = 6
    e.parameters.update(C=7)
    e.run()
    assert e["bare"] == [5, 6, 7]
    assert json.loads(json.dumps(e.parameters))["A"] == 5
    with pytest.raises(AttributeError, match="no parameter `D`"):
        _ = e.D
    assert run_experiment(parent, {"A": 9})["bare"] == [9, 2, 3]


def hook(value: str, options: str = "") -> str:
    function = f"def of_{value}(e, value):\n    e.track('called', '{value}')\n    return '{value}'\n"
    return f"@experiment.hook('point'{options})\n{function}"


def test_hooks_replace_or_append(tmp_path: Path) -> None:
    body = "e['got'] = e.apply_hook('point', value=1, default='nothing')"
    write_experiment(tmp_path, body)
    assert run_experiment(tmp_path / "exp.py")["got"] == "nothing"
    write_experiment(tmp_path, body, below=hook("parent"))
    for options, called in (("", ["child"]), (", replace=False", ["parent", "child"]), (", default=True", ["parent"])):
        e = run_experiment(write_child(tmp_path, hook("child", options)))
        assert (e["called"], e["got"]) == (called, called[-1])


def test_hooks_around_the_run_and_analyses_in_order(tmp_path: Path) -> None:
    def noted(decorator: str, name: str) -> str:
        return f"@experiment.{decorator}\ndef {name}(e): e.track('order', '{name}')\n"

    below = noted("hook('before_run')", "before") + noted("hook('after_run')", "after") + noted("analysis", "first")
    write_experiment(tmp_path, "e.track('order', 'run')", below=below)
    e = run_experiment(write_child(tmp_path, noted("analysis", "second")))
    assert e["order"] == ["before", "run", "after", "first", "second"]


def test_the_childs_testing_takes_the_place_of_its_parents(tmp_path: Path) -> None:
    inside = "@e.testing\ndef quick(e): e.N = 1\ne['n'] = [N, e.N]"
    write_experiment(tmp_path, inside, above="N = 100\n")
    assert run_experiment(tmp_path / "exp.py")["n"] == [100, 100]
    assert run_experiment(tmp_path / "exp.py", {"__TESTING__": True})["n"] == [1, 1]
    child = write_child(tmp_path, "@experiment.testing\ndef quick(e): e.N = 2\n")
    e = run_experiment(child, {"__TESTING__": True})
    assert (e["n"], e.metadata["parameters"]["N"]) == ([2, 2], 2)


def test_a_parent_is_looked_for_beside_its_child_and_then_in_the_working_folder(
    parent: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    child = write_child(elsewhere)
    with pytest.raises(RunError, match=r"the experiment exp\.py does not exist") as caught:
        get_experiment(child)
    assert str(elsewhere / "exp.py") in caught.value.where
    monkeypatch.chdir(parent.parent)
    assert get_experiment(child).A == 1
    write_experiment(elsewhere, "", above="A = 'beside'\n")
    assert get_experiment(child).A == "beside"


def test_what_is_no_experiment_says_so(tmp_path: Path) -> None:
    before = set(sys.modules)
    with pytest.raises(RunError, match="defines no experiment"):
        get_experiment(write(tmp_path, "plain.py", "A = 1\n"))
    with pytest.raises(RunError, match="the experiment does not exist"):
        get_experiment(tmp_path / "missing.py")
    with pytest.raises(RunError, match="extends itself"):
        get_experiment(write_child(tmp_path, parent="child.py"))
    assert set(sys.modules) - before <= {"plain"}, "what could not be imported is not kept"


def test_an_experiment_imports_modules_beside_it_also_when_it_runs(tmp_path: Path) -> None:
    write(tmp_path, "beside_now.py", "VALUE = 1\n")
    write(tmp_path, "beside_later.py", "VALUE = 2\n")
    path = write_experiment(
        tmp_path, "import beside_later\ne['seen'] = [VALUE, beside_later.VALUE]", above="from beside_now import VALUE\n"
    )
    before = list(sys.path)
    assert run_experiment(path)["seen"] == [1, 2]
    assert sys.path == before


def test_modules_classes_and_constants_of_typing_are_no_parameters(tmp_path: Path) -> None:
    above = """
    import os as OS
    from typing import TYPE_CHECKING, TypeVar
    T = TypeVar("T")
    class MLP: pass
    def GO(): pass
    MODEL = MLP
    X = 1
    """
    e = get_experiment(write_experiment(tmp_path, "", above=above))
    assert [name for name in e.parameters if not name.startswith("_")] == ["MODEL", "X"]
    e.run()
    assert "MLP" in e.metadata["parameters"]["MODEL"], "what JSON cannot hold is there as text"


def test_an_experiment_from_yaml(parent: Path) -> None:
    path = write(parent.parent, "fast.yaml", "extend: exp.py\nparameters: {A: 10, B: '7'}\ndescription: Fast.\n")
    e = run_experiment(path)
    assert (e["bare"], e.namespace, e.metadata["description"]) == ([10, 7, 3], "results/fast", "Fast.")
    assert (e.path / "code" / "fast.yaml").read_text() == path.read_text()
    other = write(parent.parent, "other.yaml", "extend: exp.py\nbase_path: out\nnamespace: a/b\n")
    e = Experiment.from_config(other)
    e.run()
    assert e.path.parent == parent.parent / "out" / "a" / "b"


def test_everything_wrong_in_a_yaml_file_is_said_with_its_line(parent: Path) -> None:
    path = write(parent.parent, "wrong.yaml", "extend: exp.py\nparameters:\n  A: many\n  AA: 1\n")
    with pytest.raises(ConfigError) as caught:
        Experiment.from_config(path)
    assert f"{path}:3: `parameters.A`: 'many' does not fit: expected an integer" in str(caught.value)
    assert f"{path}:4: `parameters.AA`: there is no such parameter" in str(caught.value)
    path = write(parent.parent, "wrong.yaml", "extends: exp.py\nparameters: 3\n")
    with pytest.raises(ConfigError) as caught:
        Experiment.from_config(path)
    assert "did you mean `extend`?" in str(caught.value)
    assert "3 is not a map" in str(caught.value)
    assert "`extend`: is missing" in str(caught.value)


@pytest.mark.parametrize("kind", ["code", "yaml"])
def test_values_from_code_and_yaml_are_checked_as_on_the_command_line(tmp_path: Path, kind: str) -> None:
    above = """
    N: int = 1
    RATE: float = 0.5
    ON: bool = False
    NAME: str | None = None
    SIZES: list[int] = []
    PLAIN = 1
    """
    path = write_experiment(tmp_path, "e['got'] = [N, RATE, ON, NAME, SIZES, PLAIN]", above=above)

    def run(values: dict[str, object]) -> Experiment:
        if kind == "code":
            return run_experiment(path, values)
        return run_experiment(write(tmp_path, "x.yaml", json.dumps({"extend": "exp.py", "parameters": values})))

    good = {"N": "7", "RATE": 1e-3, "ON": True, "NAME": "a", "SIZES": [1, 2.0], "PLAIN": "3", "__PREFIX__": "p"}
    assert run(good)["got"] == [7, 1e-3, True, "a", [1, 2], 3]
    assert run({"N": 1e3, "RATE": 2, "NAME": None, "PLAIN": None})["got"] == [1000, 2, False, None, [], None]
    bad = {"N": 1.5, "RATE": True, "ON": 3, "NAME": 4, "SIZES": [1.5], "NN": 1}
    n_runs = len(list(tmp_path.glob("results/*/*")))
    with pytest.raises(ConfigError) as caught:
        run(bad)
    assert [problem.key.removeprefix("parameters.") for problem in caught.value.problems] == list(bad)
    assert "1.5 does not fit: expected an integer" in str(caught.value)
    assert "`N`" in caught.value.problems[-1].fix
    assert len(list(tmp_path.glob("results/*/*"))) == n_runs
