"""Hooks: found under the project's folder, imported afresh when they changed, and clear about what is wrong."""

import os
import sys
from pathlib import Path

import pytest

from sequifier.errors import ConfigError, RunError
from sequifier.experiment.experiment import Experiment
from sequifier.experiment.hooks import bind_hooks, check_hooks, load_hooks
from sequifier.experiment.record import LOG


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def called(root: Path, name: str) -> object:
    ((_, hook),) = load_hooks({"after_epoch": [name]}, root)["after_epoch"]
    return hook(None)


def test_a_module_is_found_in_the_project_with_what_it_imports_there(tmp_path: Path) -> None:
    write(tmp_path, "hooks_a.py", "import hooks_helper\ndef f(e): return hooks_helper.VALUE\n")
    write(tmp_path, "hooks_helper.py", "VALUE = 1\n")
    write(tmp_path, "hooks_package/__init__.py", "")
    write(tmp_path, "hooks_package/inner.py", "from hooks_helper import VALUE\ndef f(e): return VALUE + 1\n")
    before = list(sys.path)
    assert (called(tmp_path, "hooks_a:f"), called(tmp_path, "hooks_package.inner:f")) == (1, 2)
    assert sys.path == before
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_changed_file_is_imported_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    write(
        tmp_path, "hooks_b.py", "import hooks_helper_b\ncalls = []\ndef f(e):\n    calls.append(1)\n    return calls\n"
    )
    helper = write(tmp_path, "hooks_helper_b.py", "VALUE = 1\n")
    first = called(tmp_path, "hooks_b:f")
    assert called(tmp_path, "hooks_b:f") is first, "a module keeps what it holds"
    # Same size, and on coarse clocks the same time: set it.
    helper.write_text("VALUE = 2\n")
    os.utime(helper, (1, 1))
    assert called(tmp_path, "hooks_b:f") is not first


def test_projects_may_use_the_same_name(tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path / str(number), "hooks_c.py", f"def f(e): return {number}\n")
    assert [called(tmp_path / str(number), "hooks_c:f") for number in (1, 2, 1)] == [1, 2, 1]


def test_a_hook_may_import_when_it_is_called(tmp_path: Path) -> None:
    write(
        tmp_path, "hooks_d.py", "def f(e, **context):\n    import hooks_late\n    e.track('late', hooks_late.VALUE)\n"
    )
    write(tmp_path, "hooks_late.py", "VALUE = 3\n")
    record = Experiment(tmp_path, "logs")
    record.start()
    bind_hooks(load_hooks({"after_epoch": ["hooks_d:f"]}, tmp_path), record, tmp_path)["after_epoch"](epoch=1)
    record.finish("done")
    assert record.data["late"] == [3]
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("look", [load_hooks, check_hooks])
def test_what_is_missing_is_said_all_at_once(tmp_path: Path, look: object) -> None:
    write(tmp_path, "hooks_e.py", "def report(e): ...\n")
    hooks = {"after_epoch": ["hooks_x:report", "hooks_e:reprot"], "after_step": ["hooks_e:report"]}
    with pytest.raises(ConfigError) as caught:
        look(hooks, tmp_path)  # type: ignore[operator]
    message = str(caught.value)
    assert f"`hooks.after_epoch[0]`: there is no module `hooks_x` in {tmp_path}" in message
    assert "did you mean `hooks_e`" in message
    assert "`hooks.after_epoch[1]`: `hooks_e`" in message
    assert "has no function `reprot`" in message
    assert "did you mean `report`?" in message


def test_a_module_that_cannot_be_imported_is_named_with_its_error(tmp_path: Path) -> None:
    write(tmp_path, "hooks_f.py", "import there_is_no_such_thing\ndef f(e): ...\n")
    with pytest.raises(ConfigError, match=r"cannot be imported: ModuleNotFoundError.*hooks_f\.py:1"):
        load_hooks({"after_step": ["hooks_f:f"]}, tmp_path)
    write(tmp_path, "json.py", "def f(e): ...\n")
    with pytest.raises(ConfigError, match="`json` is already the name of"):
        load_hooks({"after_step": ["json:f"]}, tmp_path)


def test_checking_runs_no_code(tmp_path: Path) -> None:
    write(tmp_path, "hooks_g.py", "raise SystemExit\ndef f(e): ...\nfrom math import sqrt as g\nh = f\n")
    check_hooks({"after_step": ["hooks_g:f", "hooks_g:g", "hooks_g:h"]}, tmp_path)
    write(tmp_path, "hooks_h.py", "def f(e:\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        check_hooks({"after_step": ["hooks_h:f"]}, tmp_path)


def test_a_hook_that_fails_is_named_and_its_traceback_is_in_the_log(tmp_path: Path) -> None:
    write(tmp_path, "hooks_i.py", "def f(e, **context):\n    raise ValueError(context['epoch'])\n")
    shown: list[str] = []
    record = Experiment(tmp_path, "logs", echo=shown.append)
    record.start()
    hooks = bind_hooks(load_hooks({"after_epoch": ["hooks_i:f"]}, tmp_path), record, tmp_path)
    with pytest.raises(RunError, match=r"the hook `hooks_i:f` failed at after_epoch: ValueError: 7") as caught:
        hooks["after_epoch"](epoch=7)
    assert "hooks_i.py:2" in caught.value.where
    record.finish("failed")
    assert "raise ValueError" in (record.path / LOG).read_text()
    assert shown == []


def test_a_record_keeps_series_by_group_and_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    record = Experiment(tmp_path, "logs", parameters={"user": {"threshold": 0.5}})
    record.start()
    record.track("mine/norm", 1.0)
    record.track("mine/norm", 2.0)
    assert record.data == {"mine": {"norm": [1.0, 2.0]}}
    assert record.parameters["user"]["threshold"] == 0.5
    with pytest.raises(TypeError):
        record.track("mine/other", object())
    with pytest.raises(ValueError, match="is not a series"):
        record.track("mine", 1.0)
    with pytest.raises(ValueError, match="is not a group"):
        record.track("mine/norm/deeper", 1.0)
    record.finish("done")
