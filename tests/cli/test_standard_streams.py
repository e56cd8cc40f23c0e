"""Standard streams that are closed, full, broken, or of another encoding: nothing is lost, and no traceback shown."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.table import Table

from sequifier.cli.main import cli, main
from sequifier.cli.memory import out_of_memory
from sequifier.cli.output import console, echo
from sequifier.printable import printable
from sequifier.streams import RobustFile

SEQUIFIER = f"{sys.executable} -m sequifier"
BAD = ("Traceback", "BrokenPipe", "Exception ignored", "Bad file descriptor")


def shell(line: str, *, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert not [word for word in BAD if word in (done.stdout + done.stderr).decode(errors="replace")], done
    return done


@pytest.mark.parametrize(
    ("redirected", "code"),
    [
        ("| head -1", 0),
        ("| true", 0),
        (">&-", 0),
        ("2>&-", 0),
        ("<&- >&- 2>&-", 0),
        ("> /dev/full", 1),
        ("> /dev/full 2>&1", 1),
        ("2> /dev/full", 0),
    ],
)
def test_no_stream_is_a_traceback(redirected: str, code: int) -> None:
    done = shell(f"{SEQUIFIER} config reference {redirected}")
    assert done.returncode == code
    if redirected == "> /dev/full":
        assert done.stderr.decode().startswith("error: cannot write the output: No space left on device")


@pytest.mark.parametrize("redirected", ["2>&-", "2> /dev/full", "2>&1 | true", ">&- 2>&-"])
def test_an_error_has_its_exit_code_although_nobody_reads_it(redirected: str, tmp_path: Path) -> None:
    assert shell(f"{SEQUIFIER} config validate none.yaml {redirected}", cwd=tmp_path).returncode == 1


ENCODINGS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii:strict"},
]


@pytest.mark.parametrize("environment", ENCODINGS, ids=["ascii", "latin-1", "C", "POSIX"])
def test_other_encodings_lose_no_letter_and_names_of_files_have_them_all(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "é中😀.yaml").write_text("model_name: é中\nseq_length: 0\n")
    done = shell(f"{SEQUIFIER} config validate é中😀.yaml", cwd=tmp_path, **environment)
    assert done.returncode == 1
    assert b"seq_length" in done.stderr
    assert rb"\u4e2d" in done.stderr, "shown as an escape"


def test_pipes_of_a_program_keep_apart_when_all_streams_are_closed(tmp_path: Path) -> None:
    source = """
import os, sys
for number in (0, 1, 2):
    os.close(number)
sys.stdin = sys.stdout = sys.stderr = None
from sequifier.processes import run_program
ended = run_program(sys.argv[1], "told", cwd=".", environment=dict(os.environ), timeout_seconds=30)
open("found.json", "w").write(__import__("json").dumps([ended.output, ended.errors, ended.code]))
"""
    command = f"""{sys.executable} -c 'import sys; print(sys.stdin.read()); print("no", file=sys.stderr)'"""
    subprocess.run([sys.executable, "-c", source, command], cwd=tmp_path, check=True, timeout=60)
    assert json.loads((tmp_path / "found.json").read_text()) == ["told\n", "no\n", 0]


def test_what_is_written_after_a_stream_broke_is_lost_without_an_error() -> None:
    reading, writing = os.pipe()
    with RobustFile(writing, "wb") as stream:
        assert stream.write(b"one") == 3
        assert os.read(reading, 10) == b"one"
        os.close(reading)
        assert stream.write(b"two") == 3
        assert stream.error is not None
        assert stream.write(b"three") == 5


def test_a_pipe_that_does_not_block_gets_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    content = bytes(range(256)) * 2000
    code = f"import os, time; time.sleep(0.2); open({reading}, 'rb').read(); os._exit(0)"
    with subprocess.Popen(
        [sys.executable, "-c", code.replace("read();", "read() == bytes(range(256)) * 2000 or os._exit(1);")],
        pass_fds=[reading],
    ) as process:
        os.close(reading)
        with RobustFile(writing, "wb") as stream:
            stream.write(content)
        assert process.wait(30) == 0


HOSTILE = "\x1b[31mred\x07\x9b2J\u202eback\r\u2028\ud800"


def test_text_from_elsewhere_cannot_steer_the_terminal() -> None:
    assert printable("é中😀\n\tשלום") == "é中😀\n\tשלום"
    assert printable(HOSTILE) == r"\x1b[31mred\x07\u009b2J\u202eback\x0d\u2028\ud800"
    assert printable(printable(HOSTILE)) == printable(HOSTILE)


def test_json_stays_json() -> None:
    everything = "".join(map(chr, range(0x2100))) + "\ufeff\ud800"
    assert json.loads(printable(json.dumps(everything, ensure_ascii=False))) == everything


@pytest.mark.parametrize("error", [EOFError("\x1b[2J"), RuntimeError("\x1b[2J")])
def test_a_mistake_of_ours_is_shown_as_one(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr("sequifier.api.visualize_training", fail)
    monkeypatch.setattr(sys, "argv", ["sequifier", "visualize-training", "x"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    shown = capfd.readouterr().err
    assert shown.endswith(f"{type(error).__name__}: \\x1b[2J\n")
    assert "interrupted" not in shown


def test_a_file_that_may_not_be_used_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied", "configs/train.yaml")

    monkeypatch.setattr("pathlib.Path.exists", fail)
    monkeypatch.setattr(sys, "argv", ["sequifier", "config", "validate", "configs/train.yaml"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capfd.readouterr().err.startswith("error: Permission denied: configs/train.yaml\n")


def test_every_way_to_print_makes_text_printable(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE)
    echo(HOSTILE, err=True, color="red")
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    for forced in (False, True):
        console(force_terminal=forced, width=500).print(table, HOSTILE, style="bold")
        console(force_terminal=forced, width=500).print(HOSTILE, markup=False)
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert r"\x1b[31mred\x07" in text
        assert not any(letter in text for letter in "\x07\x9b\u202e\r\u2028\ud800")
        assert "\x1b[31m" not in text


@pytest.mark.parametrize(
    "text",
    [
        '"\\e[31mkey\\a": 1\n',
        '"a\\u202eb": {x: 1}\n',
        'model_name: "\\e]0;title\\a"\n',
        'target_columns: ["\\e[2J"]\nseq_length: "\\x9b"\n',
        "seq_length: '\u202e8'\n",
    ],
)
@pytest.mark.parametrize("command", ["validate", "show --config-path"])
def test_keys_and_values_of_a_config_are_shown_printable(command: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(cli, ["config", *command.split(), str(path)], standalone_mode=False)
    shown = done.output + str(done.exception or "")
    assert not any(letter in shown for letter in "\x1b\x07\x9b\u202e"), shown


def test_nothing_else_prints() -> None:
    folder = Path(__file__).parents[2] / "sequifier" / "cli"
    ways = ("click.echo(", "click.secho(", "click.confirm(", "Console(", 'print("', "sys.stdout.write", "error.show()")
    for path in folder.glob("*.py"):
        if path.name != "output.py":
            found = [
                way for way in ways if way in path.read_text().replace("out.print(", "").replace("console().print(", "")
            ]
            assert not found, f"{path.name}: use cli/output.py"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
    ],
)
def test_too_little_memory_is_one_line(error: Exception) -> None:
    try:
        try:
            raise error
        except Exception as first:
            raise ImportError("initialization failed") from first
    except ImportError as second:
        assert out_of_memory(second)
    assert out_of_memory(ValueError("x")) is None


@pytest.mark.parametrize("command", ["preprocess", "train", "infer", "hyperparameter-search", "make x --data x.csv"])
def test_a_limit_under_which_libraries_abort_is_refused_before(command: str, tmp_path: Path) -> None:
    done = shell(f"ulimit -v 400000; {SEQUIFIER} {command}", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("error: there is not enough memory: this process may use 390 MB")
    assert shell(f"ulimit -v 400000; {SEQUIFIER} {command.split()[0]} --help").returncode == 0
