"""The configs that `make` writes for a user's table: templates, filled in with the findings."""

import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from sequifier.config.base import NAME_BYTES
from sequifier.config.dump import inline
from sequifier.config.loading.yaml12 import parse
from sequifier.percent import counted
from sequifier.project.catalogue_choice import softmax_text, tied, tied_text
from sequifier.project.column_choice import Choice
from sequifier.project.event_times import GAP
from sequifier.project.findings import Findings, shown_name
from sequifier.project.forecast_choice import known_text, may_be_planned
from sequifier.project.sizes import REDUCTION, SLOW_MINUTES, middle
from sequifier.project.split_choice import SplitChoice
from sequifier.project.time_choice import TimeChoice

CONFIG_FILES = ("preprocess.yaml", "train.yaml", "infer.yaml", "hyperparameter_search.yaml", "sampler_search.yaml")
_LINE = 116
"""Longest line of a list in a config."""


def table_configs(found: Findings, *, name: str, project: Path) -> dict[str, str]:
    """Return the text of each config, without the comments that come from descriptions of fields.

    Args:
        found: the findings.
        name: name of the project.
        project: folder of the project.
    """
    values = _values(found, name, project)
    return {file: _template(file).substitute(values).rstrip() + "\n" for file in CONFIG_FILES}


def train_values(found: Findings) -> dict[str, Any]:
    """Return the values of the proposed train.yaml."""
    text = _template("train.yaml").substitute(_values(found, "pilot", Path()))
    values: dict[str, Any] = parse(text).values
    return values


def _values(found: Findings, name: str, project: Path) -> dict[str, Any]:
    from sequifier.preprocess.source import named_after

    return {
        **_preprocess_values(found, project),
        **_model_values(found),
        "metadata": inline(f"configs/metadata_configs/{named_after(found.table.path)}.json"),
        "name": model_name(name),
        "search": f"{model_name(name)}-search",
    }


def duration(found: Findings) -> str:
    """The duration of the search, in words."""
    minutes, pilot = found.minutes, found.pilot
    text = "a minute" if minutes < 1.5 else f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.0f} hours"
    if pilot is None:
        return f"roughly {text} on two processor cores without a GPU"
    return f"roughly {text} (a step of the middle model took {pilot.milliseconds} ms on this {pilot.device})"


def training_length(found: Findings) -> str:
    """How long a model of the search trains, in words."""
    sizes = found.sizes
    steps = counted(sizes.steps_per_epoch, "step")
    if sizes.rung is None:
        return f"at most {counted(sizes.epochs, 'epoch')} of {steps}"
    return f"{sizes.rung} to {counted(sizes.epochs, 'epoch')} of {steps}, the better ones longer"


def _preprocess_values(found: Findings, project: Path) -> dict[str, Any]:
    return {
        "table": found.table.path.name,
        "n_rows": f"{found.n_rows:,}",
        "n_sequences": found.n_sequences,
        "source": "\n".join(_source(found)),
        "data_path": inline(path_from(project, found.table.path)),
        "read_format": found.table.format,
        "names": "".join(f"{line}\n" for line in _names(found)),
        "sequence": inline(found.keys.sequence),
        "order": inline(found.keys.order),
        "repeated": "repeated_positions: keep\n" if found.keys.lengths.n_repeated else "",
        "distinct": "" if found.n_dropped is None else "drop_duplicates: true\n",
        "columns": "\n".join((*_columns(found), *_time(found.time), *_observation(found))),
        "lengths": f"A sequence has {found.lengths}",
        "seq_length": found.seq_length,
        "split_why": "\n".join(_comment_lines(f"{found.split.why[0].upper()}{found.split.why[1:]}.", indent="# ")),
        "split_method": found.split.method,
        "split_sizes": "\n".join(_split_sizes(found.split)),
    }


def _split_sizes(split: SplitChoice) -> Iterator[str]:
    if split.method == "last_events":
        yield "split_events: [1, 1]"
    else:
        yield f"split_ratios: {inline(list(split.ratios))}"
    if split.by_start:
        yield "split_order: by_start"
        yield "split_overlap: cut"


def _model_values(found: Findings) -> dict[str, Any]:
    sizes, time = found.sizes, duration(found)
    stride = f"# Training windows overlap; otherwise there would be few.\nwindow_stride: {found.stride}\n"
    if found.forecast.is_proposed:
        why = "Origins of training are this many events apart: an epoch of all of them would take long."
        stride = "" if found.stride == 1 else f"# {why}\nwindow_stride: {found.stride}\n"
    budget = "# No further run starts after two hours; a larger number and the same command continue.\nmax_hours: 2"
    return {
        "targets": inline(list(found.targets)),
        "top": "# The most probable items, in a table of their own.\ntop_k: 10\n" if found.metric.ranks else "",
        "inputs": "all columns"
        + (f" but {', '.join(map(shown_name, found.labels))}" if found.labels else ", also past values of the targets"),
        "question": "".join(f"{line}\n" for line in _question(found)),
        "stride": stride if found.stride < found.seq_length else "",
        "dim_model": middle(sizes.dim_model),
        "n_head": middle(sizes.n_head),
        "num_layers": middle(sizes.num_layers),
        "epochs": sizes.epochs,
        "patience": sizes.patience,
        "batch_size": sizes.batch_size,
        "runs": sizes.runs,
        "length": training_length(found),
        "dim_models": inline(list(sizes.dim_model)),
        "n_heads": inline(list(sizes.n_head)),
        "layers": inline(list(sizes.num_layers)),
        "tied": tied_text(tied(found.of_targets, list(found.classes))) + _distribution(found),
        "softmax": softmax_text(found.of_targets),
        "learning_rates": inline(list(sizes.learning_rate)),
        "pruner": "" if sizes.rung is None else _pruner(sizes.rung),
        "dropouts": inline(list(sizes.dropout)),
        "time": f"{time[0].upper()}{time[1:]}.",
        "budget": budget if found.minutes > SLOW_MINUTES else "",
    }


def _distribution(found: Findings) -> str:
    """The part of model_spec about the distributions of the targets."""
    if found.event_times is not None:
        learned = "  # Learned positions would show how many events follow.\n  positional_encoding: rope\n"
        return f"{learned if found.event_times.end else ''}  distribution: {inline({GAP: 'lognormal_mixture'})}\n"
    if not found.forecast.is_proposed:
        return ""
    return f"  distribution: {inline(dict.fromkeys(found.targets, 'quantiles'))}\n"


def _pruner(rung: int) -> str:
    why = f"Models are compared after {counted(rung, 'epoch')}, and the best third is trained further, again and again."
    return f"# {why}\npruner: {{type: asha, min_epochs: {rung}, reduction: {REDUCTION}}}\n"


def attributes_note(found: Findings) -> str:
    """What to consider about columns with one value for each sequence that models read."""
    names = [shown_name(column) for column in found.attributes]
    return (
        f"Models read {', '.join(names)} from the first event on. Remove what is only known later, or predict it: "
        f"sequifier make ... --target {names[0] if len(names) == 1 else 'COLUMN'}"
    )


def _question(found: Findings) -> Iterator[str]:
    """The part of train.yaml and of the search about labels and the metric."""
    if found.labels:
        yield from _comment_lines(
            "Labels of whole sequences are predicted after each event, and never read.", indent="# "
        )
        yield f"target_positions: {inline(dict.fromkeys(found.labels, 'every'))}"
    if found.forecast.is_proposed:
        yield from _comment_lines(f"{found.forecast.why[0].upper()}{found.forecast.why[1:]}.", indent="# ")
        yield f"prediction_horizon: {found.forecast.horizon}"
        yield "# The level and the spread of a window are those of its own values, so that both may drift."
        yield "window_normalization: mean_std"
        read = [choice.column for choice in found.used if choice.column not in (*found.targets, *found.whole.columns)]
        yield from _comment_lines(known_text([shown_name(column) for column in may_be_planned(read)]), indent="# ")
    chosen = found.metric
    if chosen.metric:
        yield from _comment_lines(f"{chosen.why[0].upper()}{chosen.why[1:]}.", indent="# ")
        yield f"metric: {inline(chosen.metric)}"
        yield f"direction: {'maximize' if chosen.is_larger_better else 'minimize'}"
    if chosen.ranks:
        yield from _comment_lines(f"{chosen.why_seen}.", indent="# ")
        ranked = {"k": [5, 10, 20], "exclude_seen": chosen.excludes_seen}
        yield f"ranking: {inline({found.targets[0]: ranked})}"


def _source(found: Findings) -> Iterator[str]:
    """The comment on the data path."""
    yield "# The table itself is read; it is not copied."
    for line in found.form:
        yield from _comment_lines(f"- {line}", indent="# ")


def _names(found: Findings) -> Iterator[str]:
    """The names of the columns of a file without a header."""
    if found.table.form.column_names is not None:
        yield from _wrapped_list("column_names", found.table.form.column_names)


def _columns(found: Findings) -> Iterator[str]:
    """The part of preprocess.yaml about columns."""
    yield from _wrapped_list("selected_columns", [choice.column for choice in found.used])
    if found.whole.columns:
        yield "# One value for each sequence:"
        yield from _wrapped_list("sequence_columns", [c.column for c in found.used if c.column in found.whole.columns])
    if found.attributes:
        yield from _comment_lines(attributes_note(found), indent="# ")
    if found.left_out:
        yield "# Left out; to use a column nonetheless, add it above:"
        for choice in found.left_out:
            yield from _comment_lines(f"{shown_name(choice.column)}: {choice.why}.", indent="#   ")
    yield from _map("column_types", [(c, c.declared, c.why) for c in found.used if c.declared])
    yield from _map("fill_null", [(c, c.fill, found.missing(c)) for c in found.used if c.fill])
    yield from _map("transforms", [(c, c.transform, c.skewed) for c in found.used if c.transform])
    yield from _map("min_count", [(c, c.min_count, c.rare) for c in found.used if c.min_count])


def _time(time: TimeChoice) -> Iterator[str]:
    """The part of preprocess.yaml about time features."""
    if not time.features:
        return
    yield from _comment_lines(f"{time.why}.", indent="# ")
    features = {column: list(features) for column, features in time.features.items()}
    yield f"time_features: {inline(next(iter(features.values())) if time.is_position else features)}"
    yield f"time_unit: {time.unit}"


def _observation(found: Findings) -> Iterator[str]:
    """The part of preprocess.yaml about the observation of sequences."""
    if found.event_times is not None and found.event_times.is_observed:
        why = found.event_times.why
        yield from _comment_lines(f"{why[0].upper()}{why[1:]}.", indent="# ")
        yield found.event_times.observation


def _map(key: str, entries: Sequence[tuple[Choice, Any, str]]) -> Iterator[str]:
    """A map by column, with a comment above each entry that has one."""
    if not entries:
        return
    yield f"{key}:"
    for choice, value, why in entries:
        if why:
            yield from _comment_lines(f"{why[0].upper()}{why[1:]}.", indent="  # ")
        yield f"  {inline(choice.column)}: {inline(value)}"


def _wrapped_list(key: str, columns: Sequence[str]) -> Iterator[str]:
    """A list on one line, or with one entry on each line where it is long."""
    line = f"{key}: {inline(list(columns))}"
    if len(line) <= _LINE:
        yield line
        return
    yield f"{key}:"
    yield from (f"  - {inline(column)}" for column in columns)


def _comment_lines(text: str, *, indent: str) -> list[str]:
    # On one line with a value, behind two spaces, a comment would be replaced as a generated one.
    lines = textwrap.wrap(" ".join(text.split()), 112, break_long_words=False) or [""]
    return [indent + line if number == 0 else f"{indent}  {line}" for number, line in enumerate(lines)]


def path_from(project: Path, data: Path) -> str:
    """A relative path where both are in one folder, so that they can be moved together; absolute otherwise."""
    absolute = data.expanduser().resolve()
    if absolute.is_relative_to(project.parent.resolve()):
        return Path(os.path.relpath(absolute, project.resolve())).as_posix()
    return absolute.as_posix()


def model_name(name: str) -> str:
    """The project's name as the name of a model, without characters that file names cannot have."""
    safe = re.sub(r"[^\w.-]+", "-", Path(name).name).lstrip(".").replace("embedding", "emb")
    return safe.encode()[: NAME_BYTES // 2].decode(errors="ignore") or "first"


def _template(file: str) -> Template:
    return Template((files("sequifier.project") / "templates" / f"data-{file}").read_text(encoding="utf-8"))
