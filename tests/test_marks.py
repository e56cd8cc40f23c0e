"""benchmarks/marks.py: its configs, its verdicts, and a whole run on little data."""

import math
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from sequifier.config.loading.kinds import KINDS
from sequifier.config.loading.load import load

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs" / "marks").glob("*/*.yaml"))


@pytest.fixture(scope="module")
def marks() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import marks
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return marks


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_each_config_loads(path: Path) -> None:
    load(KINDS[path.stem], path)


def test_each_mark_has_its_configs(marks: ModuleType) -> None:
    assert [path.relative_to(marks.CONFIGS).as_posix() for path in CONFIGS] == [
        f"{name}/{kind}.yaml" for name in sorted(marks.MARKS) for kind in ("preprocess", "train")
    ]
    for mark in marks.MARKS.values():
        assert {len(values) for values in mark.published.values()} <= {len(mark.metrics)}


def test_verdicts_on_published_values(marks: ModuleType) -> None:
    def of(ours: float, *, maximize: bool = True) -> str:
        return str(marks.against_published(ours, 0.01, 0.5, maximize=maximize))

    assert [of(ours) for ours in (0.485, 0.495, 0.515, 0.525)] == ["not reached", "reached", "reached", "beaten"]
    assert marks.against_published(0.4, float("nan"), 0.5, maximize=False) == "beaten", "one seed has no error"
    assert [of(ours, maximize=False) for ours in (0.475, 0.485, 0.505, 0.515)] == [
        *("beaten", "reached", "reached", "not reached"),
    ]


def test_verdicts_on_baselines(marks: ModuleType) -> None:
    def of(ahead: float, *, maximize: bool = True) -> str:
        return str(marks.against_baseline(ahead, 0.01, maximize=maximize))

    assert [of(ahead) for ahead in (0.03, 0.01, -0.01, -0.03)] == [
        "beaten",
        "within the error",
        "within the error",
        "wins",
    ]
    assert [of(ahead, maximize=False) for ahead in (0.03, -0.03)] == ["wins", "beaten"]


def test_events_of_a_case_are_numbered_in_the_order_of_the_file(marks: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "CaseID,ActivityID,CompleteTimestamp\n7,1,2012-04-03\n7,8,2012-04-03\n3,1,2010-10-29\n7,6,2012-04-05\n"
    )
    table = marks.events_of_cases(path)
    assert table.select("CaseID", "event", "ActivityID").rows() == [(7, 0, "1"), (7, 1, "8"), (3, 0, "1"), (7, 2, "6")]


def test_columns_of_a_table_become_sequences_in_units_of_their_training_part(marks: ModuleType, tmp_path: Path) -> None:
    path, n = tmp_path / "hours.csv", 8650
    hours = [datetime(2016, 7, 1) + timedelta(hours=number) for number in range(n)]
    rows = [f"{hour},{number % 2},{5 + 3 * (number % 2)}" for number, hour in enumerate(hours)]
    path.write_text("date,A,B\n" + "\n".join(rows) + "\n")
    table = marks.hours_of_columns(path)
    assert table.columns == ["date", "column", "value"]
    assert table["column"].to_list() == ["A"] * n + ["B"] * n
    assert table["value"].to_list() == pytest.approx([-1.0, 1.0] * n)


def test_the_format_ts_is_read_as_frames(marks: ModuleType, tmp_path: Path) -> None:
    head = "#comment\n@problemName JapaneseVowels\n@data\n"
    (tmp_path / "JapaneseVowels_TRAIN.ts").write_text(head + "1.5,2.5,3.5:-1,-2,-3:7\n4:5:9\n")
    (tmp_path / "JapaneseVowels_TEST.ts").write_text(head + "6,7:8,9:7\n")
    table = marks.frames_of_utterances(tmp_path)
    assert table.select("utterance", "frame", "c01", "c02", "speaker", "part").rows() == [
        ("train 0", 0, 1.5, -1.0, "speaker 7", "train"),
        ("train 0", 1, 2.5, -2.0, "speaker 7", "train"),
        ("train 0", 2, 3.5, -3.0, "speaker 7", "train"),
        ("train 1", 0, 4.0, 5.0, "speaker 9", "train"),
        ("test 0", 0, 6.0, 8.0, "speaker 7", "test"),
        ("test 0", 1, 7.0, 9.0, "speaker 7", "test"),
    ]


def test_sequences_of_times_are_divided_in_the_order_of_the_file(marks: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "times.csv"
    path.write_text("sequence,time,t_end\n" + "".join(f"{n},{t},9\n" for n in range(7) for t in (1, 2.5)))
    table = marks.times_of_sequences(path)
    parts = ["train"] * 4 + ["validation"] + ["test"] * 2  # int(.6 * 7) = 4, int(.8 * 7) = 5
    assert table["part"].to_list() == [part for part in parts for _ in range(2)]


def test_a_whole_run(marks: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each user has the items in the order 1, 2, ..., from another one on: after item i follows i + 1."""
    lines = [f"u{user} " + " ".join(str((user + step) % 12) for step in range(3 + user % 5)) for user in range(40)]
    data = tmp_path / "items.txt"
    data.write_text("\n".join(lines) + "\n")
    small = ["model_spec.dim_model=8", "seq_length=4", "training_spec.epochs=2", "training_spec.device=cpu"]
    marks.run("lastfm", data, n_seeds=2, root=tmp_path / "project", defines=small)
    table = capsys.readouterr().out
    cells = {
        row[0]: row[1:] for line in table.splitlines() if (row := [cell.strip() for cell in line.split("|")[1:-1]])
    }
    seeds = [[float(cell) for cell in cells[f"seed {seed}"]] for seed in (1, 2)]
    ours = [float(re.match(r"\*\*([^*]*)\*\*", cell)[1]) for cell in cells["**ours**, mean of 2 seeds"]]  # type: ignore[index]
    assert ours == pytest.approx([sum(values) / 2 for values in zip(*seeds, strict=True)], abs=1e-4)
    # Counting knows the true item of every user, so its rank is 1 in both metrics.
    assert [cell[:6] for cell in cells["counts: bigram back-off"]] == ["1.0000", "1.0000"]
    assert len({tuple(values) for values in seeds}) == 2, "seeds differ"
    assert all(0 < hit <= 1 and hit / math.log2(11) <= ndcg <= hit for hit, ndcg in seeds)
    assert re.search(r"^Seed 2: \d+ s, of a processor \d+ s; best epoch [12] of 2\.$", table, re.MULTILINE)


@pytest.mark.slow
def test_a_mark_of_quantiles_prints_what_its_intervals_hold(
    marks: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of every column and of some steps, on the validation and the test part."""
    hours = [datetime(2016, 7, 1) + timedelta(hours=number) for number in range(14_400)]
    rows = [f"{hour},{math.sin(number / 4)},{number * 7919 % 101}" for number, hour in enumerate(hours)]
    data = tmp_path / "hours.csv"
    data.write_text("date,A,B\n" + "\n".join(rows) + "\n")
    small = ["seq_length=8", "prediction_horizon=4", "window_stride=200", "training_spec.epochs=1"]
    small += [f"model_spec.{name}=8" for name in ("dim_model", "initial_embedding_dim", "joint_embedding_dim")]
    marks.run("etth1-quantiles", data, n_seeds=1, root=tmp_path / "project", defines=small)
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| 80 % interval"))
    steps = ["", ", step 1", ", step 4"]
    head = ["80 % interval, % of values", *(part + step for part in ("validation", "test") for step in steps)]
    assert lines[start] == f"| {' | '.join(head)} |"
    cells = {
        row[0]: [*map(float, row[1:])] for line in lines[start + 2 : start + 5] if (row := line[2:-2].split(" | "))
    }
    assert list(cells) == ["all", "A", "B"]
    for whole, of_a, of_b in zip(*cells.values(), strict=True):
        assert 0 <= whole <= 100
        assert whole == pytest.approx((of_a + of_b) / 2, abs=0.11)
