"""Our results on public data beside published ones, by the published protocol, and beside counting baselines.

    python benchmarks/marks.py NAME FILE [--seeds 3] [--root FOLDER]

| NAME | FILE | from |
|---|---|---|
| lastfm, beauty | LastFM.txt, Beauty.txt: "user item item ..." | github.com/RUCAIBox/CIKM2020-S3Rec, folder data |
| helpdesk | helpdesk.csv: CaseID, ActivityID, CompleteTimestamp | github.com/verenich/ProcessSequencePrediction |
| taxi, hawkes1 | taxi.csv, hawkes1.csv: sequence, time, t_end | the data of arxiv.org/abs/2006.12631 |
| etth1, etth1-336, etth1-quantiles | ETTh1.csv: an hour in a row | github.com/zhouhaoyi/ETDataset |
| japanesevowels | a folder with JapaneseVowels_TRAIN.ts and _TEST.ts | the wheel of aeon, aeon/datasets/data |

The file is written as a table of events. All else of the protocol is in the configs of `configs/marks/NAME/`, with
which `sequifier preprocess` and `sequifier train` do the same. Each seed's best epoch on the validation split is scored
once on the test split, and the seeds are averaged. FOLDER keeps tables, models and logs.

A published value is reached where our mean is at most one standard error of ours behind it, and beaten where ours is at
least two ahead. The standard error is over test sequences and training seeds; over the seeds alone where the sequences
are no sample, as the columns of ETTh1. Baselines are compared sequence by sequence.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sequifier import api
from sequifier.artifacts.metadata import read_metadata
from sequifier.artifacts.sequence_losses import ONE_MODEL, Units, read_unit_sums
from sequifier.config.inference import InferConfig
from sequifier.config.loading.load import load
from sequifier.config.preprocess import PreprocessConfig
from sequifier.config.train import TrainConfig
from sequifier.machine import cores
from sequifier.percent import counted
from sequifier.results.comparison import Seeds, compare, difference
from sequifier.score import score
from sequifier.training.baselines.scores import PREFIX
from sequifier.training.shared import Shared

CONFIGS = Path(__file__).parents[1] / "configs" / "marks"
FIRST_SEED = 1


@dataclass(frozen=True)
class Metric:
    """A metric of the test split.

    Attributes:
        name: in the results of a run.
        title: in the printed table.
        maximize: whether higher is better.
    """

    name: str
    title: str
    maximize: bool = True


@dataclass(frozen=True)
class Mark:
    """Public data with published results.

    Attributes:
        table: file -> the events, with the columns that the preprocess config names.
        metrics: what is compared.
        published: source -> its value of each metric.
        is_sample: whether the sequences are a sample of many.
        intervals_of: column by whose values the coverage of the intervals is printed too; None: there are none.
    """

    table: Callable[[Path], pl.DataFrame]
    metrics: tuple[Metric, ...]
    published: Mapping[str, tuple[float, ...]]
    is_sample: bool = True
    intervals_of: str | None = None


def items_of_users(path: Path) -> pl.DataFrame:
    """Read lines "user item item ...", oldest item first, as one row for each item."""
    users, steps, items = [], [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        user, *of_user = line.split()
        users += [user] * len(of_user)
        steps += range(len(of_user))
        items += of_user
    return pl.DataFrame({"user": users, "step": steps, "item": items})


def events_of_cases(path: Path) -> pl.DataFrame:
    """Read a table of cases, whose events are in order, and number the events of each case."""
    table = pl.read_csv(path, schema_overrides={"ActivityID": pl.String})
    return table.with_columns(event=pl.int_range(pl.len()).over("CaseID"))


def hours_of_columns(path: Path) -> pl.DataFrame:
    """Read a table with an hour in each row as one sequence for each column.

    Values are standardised by mean and deviation of the column's first 8,640 hours, its training part, because the
    protocol measures errors in these units.
    """
    table = pl.read_csv(path).with_columns(pl.col("date").str.to_datetime())
    columns = [name for name in table.columns if name != "date"]
    training = table.head(8640)
    scaled = [(pl.col(name) - training[name].mean()) / training[name].std(ddof=0) for name in columns]
    return table.select("date", *scaled).unpivot(columns, index="date", variable_name="column")


def frames_of_utterances(folder: Path) -> pl.DataFrame:
    """Read both parts of a data set in the format .ts: a line has one series, its dimensions divided by colons."""
    tables = []
    for part in ("train", "test"):
        text = (folder / f"JapaneseVowels_{part.upper()}.ts").read_text(encoding="utf-8")
        for number, line in enumerate(text.partition("@data\n")[2].splitlines()):
            *dimensions, speaker = line.split(":")
            values = [[float(value) for value in dimension.split(",")] for dimension in dimensions]
            table = pl.DataFrame({f"c{place:02}": of_frame for place, of_frame in enumerate(values, start=1)})
            tables.append(
                table.with_row_index("frame").with_columns(
                    pl.col("frame").cast(pl.Int64),
                    utterance=pl.lit(f"{part} {number}"),
                    speaker=pl.lit(f"speaker {speaker}"),
                    part=pl.lit(part),
                )
            )
    return pl.concat(tables)


def times_of_sequences(path: Path) -> pl.DataFrame:
    """Read the times of sequences; the first int(.6 N) sequences train, those up to int(.8 N) validate."""
    table = pl.read_csv(path)
    number = pl.col("sequence").rank("dense") - 1
    n = table["sequence"].n_unique()
    part = pl.when(number < int(0.6 * n)).then(pl.lit("train")).when(number < int(0.8 * n)).then(pl.lit("validation"))
    return table.with_columns(part=part.otherwise(pl.lit("test")))


def pick_ups(path: Path) -> pl.DataFrame:
    """Read times in hours of a day, as `times_of_sequences`, with the half hour that each is in."""
    return times_of_sequences(path).with_columns(half_hour=(pl.col("time") * 2).cast(pl.Int64).cast(pl.String))


NLL_PER_EVENT = (Metric("val_time_gap_nll_per_event", "NLL per event", maximize=False),)
ERRORS = (
    Metric("val_value_mse_standardised", "MSE", maximize=False),
    Metric("val_value_mae_standardised", "MAE", maximize=False),
)
INTERVALS = (
    Metric("val_value_crps", "CRPS", maximize=False),
    Metric("val_value_mae_standardised", "MAE", maximize=False),
)
TOP_10 = (Metric("val_item_hit_rate_10", "HR@10"), Metric("val_item_ndcg_10", "NDCG@10"))

MARKS = {
    "lastfm": Mark(items_of_users, TOP_10, {"SASRec, one negative (Zhou et al. 2020, S3-Rec)": (0.0688, 0.0390)}),
    "beauty": Mark(
        items_of_users,
        TOP_10,
        {
            "SASRec, one negative (Zhou et al. 2020, S3-Rec)": (0.0605, 0.0318),
            "S3-Rec (Zhou et al. 2020)": (0.0647, 0.0327),
        },
    ),
    "helpdesk": Mark(
        events_of_cases,
        (
            Metric("val_ActivityID_accuracy", "accuracy"),
            Metric("val_CompleteTimestamp_gap_mae", "MAE, days", maximize=False),
        ),
        {"LSTM (Tax et al. 2017)": (0.7123, 3.75)},
    ),
    "etth1": Mark(
        hours_of_columns,
        ERRORS,
        {
            "iTransformer, look-back 96 (Liu et al. 2024)": (0.386, 0.405),
            "DLinear, look-back 96 (as Liu et al. 2024 give it)": (0.386, 0.400),
            "PatchTST, look-back 96 (as Liu et al. 2024 give it)": (0.414, 0.419),
        },
        is_sample=False,
    ),
    "etth1-336": Mark(
        hours_of_columns,
        ERRORS,
        {
            "DLinear, look-back 336 (Zeng et al. 2023)": (0.375, 0.399),
            "PatchTST, look-back 512 (Nie et al. 2023)": (0.370, 0.400),
        },
        is_sample=False,
    ),
    "etth1-quantiles": Mark(hours_of_columns, INTERVALS, {}, is_sample=False, intervals_of="column"),
    "japanesevowels": Mark(
        frames_of_utterances,
        (Metric("val_speaker_accuracy", "accuracy"),),
        {
            "ROCKET (as Wu et al. 2023 give it)": (0.962,),
            "TimesNet, epoch chosen on the test part (Wu et al. 2023)": (0.984,),
        },
    ),
    "taxi": Mark(pick_ups, NLL_PER_EVENT, {}),
    "hawkes1": Mark(times_of_sequences, NLL_PER_EVENT, {"the process that made the data": (0.488,)}),
}


@dataclass(frozen=True)
class Trained:
    """One seed: its config, its model and what it took."""

    config: TrainConfig
    model: Path
    best_epoch: int
    last_epoch: int
    seconds: float
    processor_seconds: float


def train(config: TrainConfig) -> Trained:
    """Train one seed."""
    began, processor = time.perf_counter(), time.process_time()

    def emit(event: str, **fields: Any) -> None:
        if event == "log":
            print(fields["line"], file=sys.stderr, flush=True)

    result = api.train(config, resume="never", emit=emit)
    model = next(config.root / path for path in result.files.values() if "-best-" in path and path.endswith(".onnx"))
    return Trained(
        config,
        model,
        result.best_epoch,
        result.last_epoch,
        time.perf_counter() - began,
        time.process_time() - processor,
    )


def scored(trained: Mapping[int, Trained], metric: Metric, test_split: str, folder: Path) -> dict[str, Seeds]:
    """Return the sums of a metric on the test split: model or baseline -> seed -> sums by sequence."""
    shared, sums = Shared(), folder / "test_sums.npz"
    found: dict[str, dict[int, Units]] = {}
    for seed, of_seed in trained.items():
        ranks = {"metric": metric.name, "direction": "maximize" if metric.maximize else "minimize"}
        config = of_seed.config.model_copy(update=ranks)
        score(config, of_seed.model, test_split, sums=sums, shared=shared)
        for model, units in read_unit_sums(sums).items():
            found.setdefault(model, {})[seed] = units[metric.name]
    return found


def rows(mark: Mark, by_metric: Mapping[str, Mapping[str, Seeds]]) -> Iterator[list[str]]:
    """Yield the rows of the table: ours, published, baselines.

    Args:
        mark: the metrics and published values.
        by_metric: metric -> what `scored` returns.
    """
    scores = [by_metric[metric.name] for metric in mark.metrics]
    ours = [found[ONE_MODEL] for found in scores]
    errors = [
        (compare([seeds])[0].standard_error if mark.is_sample else seed_error(seeds)) or float("nan") for seeds in ours
    ]
    margins = ["" if math.isnan(error) else f" ± {error:.4f}" for error in errors]
    yield [
        f"**ours**, mean of {counted(len(ours[0]), 'seed')}",
        *(f"**{mean(seeds):.4f}**{margin}" for seeds, margin in zip(ours, margins, strict=True)),
    ]
    for seed in ours[0]:
        yield [f"seed {seed}", *(f"{seeds[seed].value:.4f}" for seeds in ours)]
    for source, values in mark.published.items():
        cells = []
        for metric, seeds, error, value in zip(mark.metrics, ours, errors, values, strict=True):
            verdict = against_published(mean(seeds), error, value, maximize=metric.maximize)
            cells.append(f"{value:.4f}: {verdict}")
        yield [source, *cells]
    for name in scores[0]:
        if name == ONE_MODEL:
            continue
        cells = []
        for metric, seeds, found in zip(mark.metrics, ours, scores, strict=True):
            ahead = difference(seeds, found[name])
            verdict = against_baseline(ahead.value, ahead.standard_error, maximize=metric.maximize)
            cells.append(f"{mean(found[name]):.4f}: {verdict} ({ahead.value:+.4f} ± {ahead.standard_error:.4f})")
        yield [name.replace(PREFIX, "counts: "), *cells]


def coverage(trained: Trained, splits: Mapping[str, str], column: str) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a table: the values in the interval of 80 %, by the values of a column.

    Args:
        trained: a model of quantiles with a horizon.
        splits: title -> split.
        column: whose values.
    """
    root, cells = trained.config.root, dict[str, list[str]]()
    steps: list[int] = []
    for split in splits.values():
        values = {
            "project_root": str(root),
            "model_path": str(trained.model),
            "data_path": split,
            "evaluate_by": column,
        }
        (found,) = api.infer(InferConfig.model_validate(values), log=lambda line: print(line, file=sys.stderr))
        assert found.evaluation_table is not None
        table = pl.read_csv(found.evaluation_table).with_columns(pl.col("value").fill_null("all"))
        last = int(table["step"].max())  # type: ignore[arg-type]
        steps = [1, *(step for step in (24, 48) if step < last), last]
        for (value,), of_value in table.group_by("value", maintain_order=True):
            by_step = dict(of_value.select("step", "coverage_80").iter_rows())
            cells.setdefault(str(value), []).extend(f"{100 * by_step[step]:.1f}" for step in (None, *steps))
    of_steps = ["", *(f", step {step}" for step in steps)]
    return ["80 % interval, % of values", *(title + of for title in splits for of in of_steps)], [
        [value, *of_value] for value, of_value in cells.items()
    ]


def mean(seeds: Seeds) -> float:
    """Return the mean of a metric over seeds."""
    return sum(units.value for units in seeds.values()) / len(seeds)


def seed_error(seeds: Seeds) -> float | None:
    """Return the standard error of the mean over seeds; None with one."""
    values = [units.value for units in seeds.values()]
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None


def against_published(ours: float, error: float, published: float, *, maximize: bool) -> str:
    """Return the verdict on our mean with its standard error."""
    ahead = (ours - published) * (1 if maximize else -1)
    ahead = ahead / error if error > 0 else math.copysign(math.inf, ahead)
    return "beaten" if ahead >= 2 else "reached" if ahead >= -1 else "not reached"


def against_baseline(difference: float, error: float, *, maximize: bool) -> str:
    """Return the verdict on a baseline, from the paired difference, ours less the baseline, and its standard error."""
    ahead = difference / error * (1 if maximize else -1) if error else 0.0
    return "beaten" if ahead >= 2 else "wins" if ahead <= -2 else "within the error"


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print(f"\n| {' | '.join(head)} |\n|---|{'---|' * (len(head) - 1)}")
    for cells in rows:
        print(f"| {' | '.join(cells)} |")


def run(name: str, path: Path, *, n_seeds: int, root: Path, defines: Sequence[str] = ()) -> None:
    """Preprocess, train, score and print.

    Args:
        name: a key of MARKS.
        path: the file with the data.
        n_seeds: trainings.
        root: folder of table, models and logs.
        defines: `key=value` that replace fields of the train config.
    """
    mark = MARKS[name]
    (root / "data").mkdir(parents=True, exist_ok=True)
    mark.table(path).write_parquet(root / "data" / f"{name}.parquet")
    here = f"project_root={root}"
    encoded = load(PreprocessConfig, CONFIGS / name / "preprocess.yaml", defines=[here]).config
    metadata = api.preprocess(encoded, log=lambda line: print(line, file=sys.stderr))
    trained = {}
    for seed in range(FIRST_SEED, FIRST_SEED + n_seeds):
        of_seed = [here, f"seed={seed}", f"model_name={name}-seed-{seed}", *defines]
        trained[seed] = train(load(TrainConfig, CONFIGS / name / "train.yaml", defines=of_seed).config)
    test_split = read_metadata(metadata).split_paths[-1]
    by_metric = {metric.name: scored(trained, metric, test_split, root) for metric in mark.metrics}
    print_table([f"{name}, test split", *(metric.title for metric in mark.metrics)], rows(mark, by_metric))
    if mark.intervals_of is not None:
        splits = dict(zip(("validation", "test"), read_metadata(metadata).split_paths[1:], strict=True))
        print_table(*coverage(trained[FIRST_SEED], splits, mark.intervals_of))
    print(f"\n{cores()} cores.")
    for seed, of_seed in trained.items():
        print(
            f"Seed {seed}: {of_seed.seconds:.0f} s, of a processor {of_seed.processor_seconds:.0f} s; "
            f"best epoch {of_seed.best_epoch} of {of_seed.last_epoch}."
        )


def main() -> None:
    """Read the command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("name", choices=MARKS)
    options.add_argument("file", type=Path, help="the data, as published")
    options.add_argument("--seeds", type=int, default=3, help="number of trainings (default 3)")
    options.add_argument("--root", type=Path, help="folder that keeps tables, models and logs; default: none is kept")
    options.add_argument(
        "-D", "--define", action="append", default=[], help="KEY=VALUE of the train config; repeatable"
    )
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (given.root or Path(temporary)).resolve()
        run(given.name, given.file, n_seeds=given.seeds, root=root, defines=given.define)


if __name__ == "__main__":
    main()
