"""How much memory does training from mapped files take, and how much slower is it? Prints both.

50 million training events of 1,000 each (a text, an integer and a boolean category, two reals) go through `sequifier
preprocess` into Arrow files. `sequifier train` then takes some hundred steps from them with `load_full_data_to_ram:
false`, once with windows that follow each other and once with one window for each event. While it runs, the largest of
three numbers of /proc/PID/status is kept: RssAnon, the process's own memory; RssFile, pages of files that happen to be
mapped, which the system takes back when it needs them; and VmHWM, the peak of all resident memory.

The same on a smaller table, from memory and mapped in turn, gives windows per second. Linux only.

    python benchmarks/mapped.py [--events 50000000] [--steps 300] [--small 2000000] [--rounds 3] [--folder DIR]
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LENGTH, TRAINING_SHARE = 1_000, 0.98
RAW_FILE_SEQUENCES = 5_000
BYTES_PER_EVENT = 120
"""Of disk: raw and encoded, and what preprocessing writes in between."""


def write_table(folder: Path, n_sequences: int) -> None:
    """Raw events as several Parquet files, in a process of its own so that its memory is not counted."""
    import numpy as np
    import polars as pl

    draw = np.random.default_rng(0)
    words = np.array([f"word{number:03}" for number in range(300)])
    for start in range(0, n_sequences, RAW_FILE_SEQUENCES):
        n_here = min(RAW_FILE_SEQUENCES, n_sequences - start)
        n = n_here * LENGTH
        kind = np.cumsum(draw.integers(0, 3, n)) % 300  # something to learn: the next word is one of three
        events = pl.DataFrame(
            {
                "sequenceId": np.repeat(np.arange(start, start + n_here), LENGTH),
                "itemPosition": np.tile(np.arange(LENGTH), n_here),
                "kind": words[kind],
                "code": draw.integers(0, 1000, n),
                "flag": draw.integers(0, 2, n).astype(bool),
                "price": kind + draw.normal(5, 2, n),
                "length": draw.exponential(3, n),
            }
        )
        events.write_parquet(folder / f"events-{start:07}.parquet")


def observed(command: list[str]) -> tuple[float, dict[str, float]]:
    """Seconds of a process, and the largest of each kind of memory in GB."""
    began, peaks = time.perf_counter(), {"RssAnon": 0.0, "RssFile": 0.0, "VmHWM": 0.0}
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while child.poll() is None:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            break
        for line in status.splitlines():
            name = line.split(":")[0]
            if name in peaks:
                peaks[name] = max(peaks[name], int(line.split()[1]) * 1024 / 1e9)
        time.sleep(0.02)
    _, errors = child.communicate()
    if child.returncode:
        raise SystemExit(f"failed: {' '.join(command)}\n{errors[-2000:]}")
    return time.perf_counter() - began, peaks


def memory(peaks: dict[str, float]) -> str:
    """One line of the three numbers."""
    total, own, of_files = peaks["VmHWM"], peaks["RssAnon"], peaks["RssFile"]
    return f"peak resident {total:.2f} GB (own memory {own:.2f}, mapped pages {of_files:.2f})"


def preprocessed(folder: Path, name: str, n_events: int) -> None:
    """Write a table, preprocess it and remove it again."""
    n_sequences = -(-int(n_events / TRAINING_SHARE) // LENGTH)
    raw = folder / name
    raw.mkdir(parents=True)
    subprocess.run([sys.executable, __file__, "--write-table", str(raw), str(n_sequences)], check=True)
    config = folder / f"{name}-preprocess.yaml"
    rest = (1 - TRAINING_SHARE) / 2
    config.write_text(
        f"project_root: {folder}\ndata_path: {raw}\nread_format: parquet\nwrite_format: arrow\nseq_length: 48\n"
        f"split_method: between_sequence\nsplit_ratios: [{TRAINING_SHARE}, {rest:.4g}, {rest:.4g}]\n"
    )
    command = [sys.executable, "-m", "sequifier", "preprocess", "--config-path", str(config)]
    seconds, peaks = observed(command)
    n_rows = n_sequences * LENGTH
    print(f"preprocess: {n_rows:,} events, {seconds:.0f} s, {memory(peaks)}", flush=True)
    shutil.rmtree(raw)


def trained(folder: Path, name: str, *, mapped: bool, steps: int, stride: int) -> tuple[dict[str, float], list[float]]:
    """Peaks of memory; windows per second and validation loss of one run."""
    model = f"{name}-{'mapped' if mapped else 'memory'}-{stride}"
    config = folder / f"{model}.yaml"
    config.write_text(
        f"project_root: {folder}\nmetadata_config_path: configs/metadata_configs/{name}.json\nmodel_name: {model}\n"
        f"target_columns: [kind, price]\nwindow_stride: {stride}\n"
        "model_spec: {dim_model: 64, n_head: 4, num_layers: 2}\n"
        f"training_spec: {{device: cpu, epochs: 1, max_steps: {steps}, batch_size: 128, "
        f"load_full_data_to_ram: {str(not mapped).lower()}, torch_compile: false, continue_training: false}}\n"
    )
    _, peaks = observed([sys.executable, "-m", "sequifier", "train", "--config-path", str(config)])
    entry = json.loads((folder / "logs" / model / "latest" / "metrics.jsonl").read_text().splitlines()[-1])
    return peaks, [entry["windows_per_second"], entry["val_loss"]]


def main() -> None:
    """Print both."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--events", type=int, default=50_000_000)
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--small", type=int, default=2_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--folder", type=Path, help="where the data is made; default: the system's temporary folder")
    options.add_argument("--write-table", nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.write_table:
        return write_table(Path(given.write_table[0]), int(given.write_table[1]))

    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        folder = Path(temporary)
        free, needed = shutil.disk_usage(folder).free, BYTES_PER_EVENT * given.events
        if free < needed:
            raise SystemExit(
                f"{free / 1e9:.1f} GB free below {folder}; about {needed / 1e9:.1f} GB are needed: --folder"
            )
        preprocessed(folder, "large", given.events)
        for stride in (48, 1):
            peaks, (speed, _) = trained(folder, "large", mapped=True, steps=given.steps, stride=stride)
            print(f"mapped, window_stride {stride}: {memory(peaks)}; {speed:,.0f} windows/s", flush=True)
        for path in (folder / "data").iterdir():
            path.unlink()
        preprocessed(folder, "small", given.small)
        results: dict[bool, list[list[float]]] = {False: [], True: []}
        for _ in range(given.rounds):
            for mapped in (False, True):
                peaks, result = trained(folder, "small", mapped=mapped, steps=given.steps, stride=48)
                results[mapped].append(result)
                print(f"{'mapped' if mapped else 'memory'}: {result[0]:,.0f} windows/s, {memory(peaks)}", flush=True)
        speeds = {mapped: statistics.median(speed for speed, _ in runs) for mapped, runs in results.items()}
        print(f"windows per second, mapped / in memory: {speeds[True] / speeds[False]:.3f}")
        losses = {loss for runs in results.values() for _, loss in runs}
        print(f"validation losses of all {2 * given.rounds} runs: {', '.join(map(repr, losses))}")


if __name__ == "__main__":
    main()
