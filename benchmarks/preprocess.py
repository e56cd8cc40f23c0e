"""How fast and how small is preprocessing? Prints rows per second of whole processes, start included, and peak memory.

2 million events of 5,000 sequences: a text, an integer and a boolean category, two reals. Each round runs, one after
the other, `sequifier preprocess` and a bare polars script that does the least that could count as the same work (read,
sort, encode, standardise, split, write), so that a busy machine slows both. Ratios are of medians.

A tenth of the events are also read from an XES log (a sequence of it is a trace), where expat and Python do most of the
work; polars does not read XES.

    python benchmarks/preprocess.py [--rounds 5] [--rows 2000000]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SEQUENCES = 5_000

BARE = """
import sys
import polars as pl
path, out = sys.argv[1], sys.argv[2]
rows = pl.read_parquet(path) if path.endswith("parquet") else pl.read_csv(path)
rows = rows.sort("sequenceId", "itemPosition")
step, n = pl.int_range(pl.len()).over("sequenceId"), pl.len().over("sequenceId")
split = pl.when(step < 0.8 * n).then(0).when(step < 0.9 * n).then(1).otherwise(2)
rows = rows.with_columns(split=split)
training = rows.filter(pl.col("split") == 0)
for column in ("kind", "code", "flag"):
    values = rows[column].unique().sort()
    ids = pl.DataFrame({column: values, "id": range(1, len(values) + 1)}).cast({"id": pl.Int32})
    rows = rows.join(ids, on=column, how="left", maintain_order="left").drop(column).rename({"id": column})
for column in ("price", "length"):
    mean, std = training[column].mean(), training[column].std()
    rows = rows.with_columns(((pl.col(column) - mean) / std).cast(pl.Float32))
for number in range(3):
    rows.filter(pl.col("split") == number).drop("split").write_parquet(f"{out}/bare-split{number}.parquet")
"""


def write_table(folder: Path, n_rows: int) -> None:
    """events.parquet and events.csv, in a process of its own so that its memory is not counted."""
    import numpy as np
    import polars as pl

    draw = np.random.default_rng(0)
    length = n_rows // SEQUENCES
    n = length * SEQUENCES
    words = np.array([f"word{number:03}" for number in range(300)])
    events = pl.DataFrame(
        {
            "sequenceId": np.repeat(np.arange(SEQUENCES), length),
            "itemPosition": np.tile(np.arange(length), SEQUENCES),
            "kind": words[draw.integers(0, 300, n)],
            "code": draw.integers(0, 1000, n),
            "flag": draw.integers(0, 2, n).astype(bool),
            "price": draw.normal(5, 2, n),
            "length": draw.exponential(3, n),
        }
    )
    events.write_parquet(folder / "events.parquet")
    events.write_csv(folder / "events.csv")
    write_log(folder, n_rows // 10)


def write_log(folder: Path, n_rows: int) -> None:
    """events.xes: the first events of events.parquet, with a time each."""
    import polars as pl

    events = pl.read_parquet(folder / "events.parquet").head(n_rows)
    with (folder / "events.xes").open("w") as log:
        log.write("<log>\n")
        for trace, rows in events.group_by("sequenceId", maintain_order=True):
            log.write(f'<trace>\n<string key="concept:name" value="{trace[0]}"/>\n')
            for step, (kind, code, flag, price) in enumerate(rows.select("kind", "code", "flag", "price").iter_rows()):
                log.write(
                    f'<event>\n<string key="concept:name" value="{kind}"/>\n<int key="code" value="{code}"/>\n'
                    f'<boolean key="flag" value="{str(flag).lower()}"/>\n<float key="price" value="{price}"/>\n'
                    f'<date key="time:timestamp" value="2024-03-01T{step // 60 % 24:02}:{step % 60:02}:00+01:00"/>\n'
                    "</event>\n"
                )
            log.write("</trace>\n")
        log.write("</log>\n")


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds from start to end, and the largest resident size in MB, of one process."""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(f"failed: {' '.join(command[:4])}")
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return seconds, usage.ru_maxrss * unit / 1e6


def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--rows", type=int, default=2_000_000)
    options.add_argument("--write-table", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.write_table:
        return write_table(given.write_table, given.rows)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        subprocess.run([sys.executable, __file__, "--rows", str(given.rows), "--write-table", str(folder)], check=True)
        (folder / "bare.py").write_text(BARE)
        print(f"{given.rows:,} rows, {os.cpu_count()} cores, {given.rounds} rounds, medians of whole processes")
        for format in ("parquet", "csv"):
            table = str(folder / f"events.{format}")
            config = folder / f"{format}.yaml"
            config.write_text(f"project_root: {folder}\ndata_path: {table}\nread_format: {format}\nseq_length: 48\n")
            commands = {
                "sequifier": [sys.executable, "-m", "sequifier", "preprocess", "--config-path", str(config)],
                "bare polars": [sys.executable, str(folder / "bare.py"), table, str(folder)],
            }
            results: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
            for _ in range(given.rounds):
                for name, command in commands.items():
                    results[name].append(measure(command))
            seconds = {name: statistics.median(time for time, _ in runs) for name, runs in results.items()}
            for name, runs in results.items():
                rate, peak = given.rows / seconds[name] / 1e6, max(memory for _, memory in runs)
                print(f"{format:8} {name:12} {seconds[name]:6.2f} s {rate:6.2f} M rows/s, peak {peak:5.0f} MB")
            print(f"{format:8} ratio        {seconds['bare polars'] / seconds['sequifier']:6.2f} x bare polars")
        config = folder / "xes.yaml"
        config.write_text(
            f"project_root: {folder}\ndata_path: {folder}/events.xes\nread_format: xes\nseq_length: 48\n"
            "sequence_column: case:concept:name\nposition_column: eventNumber\n"
            "selected_columns: [concept:name, code, flag, price]\n"
        )
        command = [sys.executable, "-m", "sequifier", "preprocess", "--config-path", str(config)]
        runs = [measure(command) for _ in range(given.rounds)]
        seconds_of_log, peak = statistics.median(time for time, _ in runs), max(memory for _, memory in runs)
        rate = given.rows // 10 / seconds_of_log / 1e3
        print(f"{'xes':8} {'sequifier':12} {seconds_of_log:6.2f} s {rate:6.0f} k rows/s, peak {peak:5.0f} MB")


if __name__ == "__main__":
    main()
