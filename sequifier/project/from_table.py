"""`sequifier make --data`: a look at the user's own table, and configs that fit it.

The table stays where it is. Only where `preprocess` could not read it as it stands (another separator, dates in another
order, no sequence column, positions that repeat) is a Parquet copy written into the project, and what was changed is
said.
"""

import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from sequifier.artifacts.atomic import atomic_path
from sequifier.config.base import NAME_BYTES
from sequifier.config.dump import inline
from sequifier.errors import DataError
from sequifier.project import sizes as rules
from sequifier.project.columns import Choice, Facts, choose, lengths_text, look, shown_value, typed, without_rare
from sequifier.project.inspect_columns import InspectedColumn, inspect_columns
from sequifier.project.keys import Keys, find_keys, find_targets
from sequifier.project.raw_table import RawTable, open_raw, unreadable

if TYPE_CHECKING:
    import polars as pl

SORTED_BYTES = 2 << 30
"""Size of the largest table whose repeated positions are numbered: that takes a sort in memory."""

CONFIG_FILES = ("preprocess.yaml", "train.yaml", "infer.yaml", "hyperparameter_search.yaml", "sampler_search.yaml")

_SLOW_MINUTES = 20
_FEW_TARGETS = 200


@dataclass(frozen=True)
class Proposal:
    """What a look at a table came to.

    Attributes:
        configs: file name -> text, not yet annotated.
        lines: for the user.
        copy: rows to write into the project, and where below it; None where the table is used as it is.
    """

    configs: dict[str, str]
    lines: tuple[str, ...]
    copy: "tuple[pl.LazyFrame, str] | None"

    def write_copy(self, project: Path, table: Path) -> None:
        """Write the changed rows, part by part."""
        import polars as pl

        if self.copy is None:
            return
        rows, path = self.copy
        try:
            with atomic_path(project / path) as temporary:
                rows.sink_parquet(temporary)
        except pl.exceptions.PolarsError as error:
            raise unreadable(table, error) from error


def propose(data: Path, *, sequence: str, order: str, targets: Sequence[str], name: str, project: Path) -> Proposal:
    """Look at a table and fill in the configs of a project.

    Args:
        data: a CSV or Parquet file, or a folder of them.
        sequence: column; empty: guess; `None` (as a word): the table is a single series.
        order: column; empty: guess.
        targets: columns; empty: guess.
        name: of the project.
        project: its folder, which need not exist yet.

    Raises:
        DataError: the table cannot be used, or a column has to be named.
    """
    table = open_raw(data)
    found = inspect_columns(table)
    raw, empty = _without_empty_rows(table)
    facts = look(table, raw, found)
    rows = typed(raw, found)
    if not next(iter(facts.values())).n_rows:
        raise DataError("the table has no rows", where=str(table.path), fix="give a table with one row for each event")
    keys = find_keys(table, rows, facts, found, (sequence, order))
    features = [column for column in facts if column not in (keys.sequence, keys.order)]
    first_look = {column: choose(column, facts[column], found[column], is_target=False) for column in features}
    usable = [column for column, choice in first_look.items() if choice.use != "left out"]
    chosen_targets, notes = find_targets(table, facts, keys, targets, usable)
    choices = []
    for column in features:
        is_target = column in chosen_targets
        choice = choose(column, facts[column], found[column], is_target=is_target)
        choice = without_rare(choice, rows, is_target=is_target)
        if is_target and choice.use == "left out":
            raise DataError(f"`{column}` cannot be predicted: {choice.why}", where=f"{table.path}, --target")
        choices.append(choice)
    return _Writer(table, found, rows, empty, facts, keys, choices, chosen_targets, (*keys.notes, *notes)).proposal(
        name, project
    )


def _without_empty_rows(table: RawTable) -> "tuple[pl.LazyFrame, int]":
    """The rows as they are in the files, and how many rows without any value were left out."""
    import polars as pl

    rows, empty = table.rows, 0
    if table.format == "csv":
        is_empty = pl.all_horizontal(pl.all().is_null())
        try:
            empty = int(rows.select(is_empty.sum()).collect(engine="streaming").item())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise unreadable(table.path, error) from error
        rows = rows.filter(is_empty.not_()) if empty else rows
    return rows, empty


@dataclass(frozen=True)
class _Writer:
    """Turns decisions into configs, a copy where one is needed, and lines for the user."""

    table: RawTable
    inspected: dict[str, InspectedColumn]
    rows: "pl.LazyFrame"
    n_empty: int
    facts: dict[str, Facts]
    keys: Keys
    choices: Sequence[Choice]
    targets: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def used(self) -> list[Choice]:
        """The features."""
        return [choice for choice in self.choices if choice.use != "left out"]

    def proposal(self, name: str, project: Path) -> Proposal:
        """The whole of it."""
        from sequifier.preprocess.source import named_after

        counts = self.keys.lengths.counts
        split = rules.choose_split(counts)
        seq_length = rules.choose_seq_length(counts, split)
        n_outputs = sum(choice.n_categories for choice in self.used if choice.column in self.targets)
        stride = rules.choose_stride(counts, seq_length, split)
        sizes = rules.choose_sizes(counts, seq_length, stride, split, n_outputs)
        stem = named_after(self.table.path)
        copy, sequence, order, changes = self._copy()
        copied = f"data/{stem}.parquet"
        time = f"roughly {_minutes(sizes.minutes)} on two processor cores without a GPU"
        values = {
            "table": self.table.path.name,
            "n_rows": f"{self._n_rows:,}",
            "n_sequences": self._n_sequences,
            "source": "\n".join(self._source(changes)),
            "data_path": inline(copied if copy is not None else _path_from(project, self.table.path)),
            "read_format": "parquet" if copy is not None else self.table.format,
            "sequence": inline(sequence),
            "order": inline(order),
            "columns": "\n".join(self._columns(is_copied=copy is not None)),
            "lengths": f"A sequence has {self._lengths}",
            "seq_length": seq_length,
            "split_why": split.why[0].upper() + split.why[1:] + ".",
            "split_method": split.method,
            "split_ratios": inline(list(split.ratios)),
            "metadata": inline(f"configs/metadata_configs/{stem}.json"),
            "name": _run_name(name),
            "search": f"{_run_name(name)}-search",
            "targets": inline(list(self.targets)),
            "stride": f"# Training windows overlap: side by side there would be few of them.\nwindow_stride: {stride}\n"
            if stride < seq_length
            else "",
            "dim_model": rules.middle(sizes.dim_model),
            "n_head": rules.middle(sizes.n_head),
            "num_layers": rules.middle(sizes.num_layers),
            "epochs": sizes.epochs[1],
            "batch_size": sizes.batch_size,
            "runs": rules.RUNS,
            "dim_models": inline(list(sizes.dim_model)),
            "n_heads": inline(list(sizes.n_head)),
            "layers": inline(list(sizes.num_layers)),
            "learning_rates": inline(list(sizes.learning_rate)),
            "many_epochs": inline(list(sizes.epochs)),
            "dropouts": inline(list(sizes.dropout)),
            "time": f"{time[0].upper()}{time[1:]}.",
            "budget": "# After two hours no further run is started; the same command goes on later.\nmax_hours: 2"
            if sizes.minutes > _SLOW_MINUTES
            else "",
        }
        configs = {file: _template(file).substitute(values).rstrip() + "\n" for file in CONFIG_FILES}
        lines = (
            *self._said(changes, split, seq_length, sizes),
            f"search: {rules.RUNS} models, {time}",
        )
        return Proposal(configs, lines, None if copy is None else (copy, copied))

    @property
    def _n_rows(self) -> int:
        return next(iter(self.facts.values())).n_rows

    @property
    def _n_sequences(self) -> str:
        n = len(self.keys.lengths.counts)
        return "one series" if self.keys.sequence is None else _counted(n, "sequence")

    @property
    def _lengths(self) -> str:
        counts: Any = self.keys.lengths.counts
        if self.keys.sequence is None:
            return f"{self._n_rows:,} events: the table is one series"
        return lengths_text(self.keys.lengths.quartiles, counts.min(), counts.max())

    def _source(self, changes: Sequence[str]) -> Iterator[str]:
        if not changes:
            yield "# The table itself is read; it is not copied."
            return
        yield from _comment_lines(
            f"A copy of {self.table.path} that `sequifier make` wrote. What it changed:", indent="# "
        )
        for change in changes:
            yield from _comment_lines(f"- {change}", indent="# ")

    def _copy(self) -> "tuple[pl.LazyFrame | None, str, str, list[str]]":
        """Rows to write where the table cannot be used as it is, the names of the keys, and what was changed."""
        import polars as pl

        rows, sequence, order = self.rows, self.keys.sequence, self.keys.order
        changes = [*self.table.repairs]
        if self.n_empty:
            changes.append(
                "an empty row is left out" if self.n_empty == 1 else f"{self.n_empty:,} empty rows are left out"
            )
        if sequence is None:
            sequence = _free_name("sequenceId", self.facts)
            rows = rows.with_columns(pl.lit(1, pl.Int64).alias(sequence))
            changes.append(f"the column `{sequence}`, always 1, is new, because the table is one single series")
        elif self.facts[sequence].kind not in ("integer", "text") and not self._is_whole(sequence):
            rows = rows.with_columns(pl.col(sequence).cast(pl.String))
            changes.append(f"`{sequence}` is written as text, because a sequence is named by text or integers")
        if self.facts[order].kind == "number" and not self._is_whole(order):
            rows = rows.with_columns(_whole(order, self.facts[order], self.table))
            unit = "" if self.facts[order].is_whole else " millionths"
            changes.append(f"`{order}` is written as integers{unit and ', in' + unit}, because positions are integers")
        if self.keys.lengths.n_repeated:
            rows, order, change = self._numbered(rows, sequence, order)
            changes.append(change)
        if changes and self.table.format == "csv":
            changes += self._remarks
        return (rows if changes else None), sequence, order, changes

    def _is_whole(self, column: str) -> bool:
        """Numbers without a fraction, which `preprocess` takes for integers where they are keys."""
        from sequifier.preprocess.keys import LARGEST_WHOLE

        facts = self.facts[column]
        return facts.kind == "number" and facts.is_whole and max(abs(facts.lowest), abs(facts.highest)) <= LARGEST_WHOLE

    @property
    def _remarks(self) -> list[str]:
        """How values are written that are not plain, of the columns that are used or would be as numbers."""
        needed = {choice.column for choice in self.used} | {self.keys.sequence, self.keys.order}
        found = {column: content.remark or content.doubt for column, content in self.inspected.items()}
        return [
            f"`{column}`: {remark}"
            for column, remark in found.items()
            if remark and (column in needed or self.inspected[column].kind == "text")
        ]

    def _numbered(self, rows: "pl.LazyFrame", sequence: str, order: str) -> "tuple[pl.LazyFrame, str, str]":
        """Positions that tell events apart: their numbers, in the order of the table where the old ones are equal."""
        import polars as pl

        lengths = self.keys.lengths
        what = f"{lengths.n_repeated:,} of {self._n_rows:,} rows have the `{order}` of another row of their sequence"
        if lengths.example:
            what += f" ({lengths.example})"
        if self.table.n_bytes > SORTED_BYTES:
            raise DataError(
                what,
                where=str(self.table.path),
                fix="drop double rows, or add a column that numbers the events of each sequence and name it with "
                "--order (make does so itself for tables of up to 2 GB)",
            )
        number = _free_name("eventNumber", self.facts)
        n_identical = self._n_rows - int(rows.unique().select(pl.len()).collect(engine="streaming").item())
        position = pl.int_range(pl.len(), dtype=pl.Int64).over(sequence).alias(number)
        numbered = rows.sort(sequence, order, maintain_order=True).with_columns(position)
        change = (
            f"{what}, so events are ordered by the new column `{number}`; equal ones stay in the order of the table"
        )
        if n_identical:
            change += f" (identical in every column: {n_identical:,}; if they were entered twice, remove them and "
            change += "make the project again)"
        return numbered, number, change

    def _columns(self, *, is_copied: bool) -> Iterator[str]:
        """The part of preprocess.yaml about columns."""
        yield from _wrapped_list("selected_columns", [choice.column for choice in self.used])
        left_out = [choice for choice in self.choices if choice.use == "left out"]
        if left_out:
            yield "# Left out; to use one nonetheless, add it above:"
            for choice in left_out:
                yield from _comment_lines(f"{_shown(choice.column)}: {choice.why}.", indent="#   ")
        # In a Parquet copy codes are text already.
        declared = [
            choice for choice in self.used if choice.declared and not (is_copied and choice.declared == "String")
        ]
        yield from _map("column_types", [(choice, choice.declared, choice.why) for choice in declared])
        yield from _map(
            "fill_null", [(choice, choice.fill, self._missing(choice)) for choice in self.used if choice.fill]
        )
        yield from _map("min_count", [(c, c.min_count, c.rare) for c in self.used if c.min_count])
        yield from _map("max_categories", [(c, c.max_categories, "") for c in self.used if c.max_categories])

    def _missing(self, choice: Choice) -> str:
        facts = choice.facts
        text = f"{facts.n_missing:,} of {facts.n_rows:,} values are missing"
        if choice.column not in self.targets:
            return text
        if choice.use == "real":
            return f"{text}, and this is a target: models learn to predict the mean there; better drop those rows"
        return f"{text}; unknown targets do not count"

    def _said(
        self, changes: Sequence[str], split: rules.SplitChoice, seq_length: int, sizes: rules.Sizes
    ) -> Iterator[str]:
        sequence = "" if self.keys.sequence is None else f" of `{self.keys.sequence}`"
        yield (
            f"{self.table.path.name}: {self._n_rows:,} rows, {self._n_sequences}{sequence}, "
            f"ordered by `{self.keys.order}`"
        )
        if self.keys.sequence is not None:
            yield f"a sequence has {self._lengths}"
        yield from (f"note: {note}" for note in self.notes)
        yield "columns:"
        width = min(max(len(_shown(choice.column)) for choice in self.choices), 30)
        for choice in sorted(self.used, key=lambda choice: choice.column not in self.targets):
            role = "target" if choice.column in self.targets else "input"
            line = f"  {_shown(choice.column):<{width}}  {role:<6}  {choice.use:<11}  {choice.summary}"
            filled = f"{self._missing(choice)}; filled with: {choice.fill}" if choice.fill else ""
            remarks = [choice.why, choice.rare, filled]
            yield line + "".join(f"; {remark}" for remark in remarks if remark)
        left_out = [choice for choice in self.choices if choice.use == "left out"]
        if left_out:
            yield "left out:"
            yield from (f"  {_shown(choice.column):<{width}}  {choice.why}" for choice in left_out)
        if changes:
            yield "`preprocess` needs a changed copy of the table, which is written into the project:"
            yield from (f"  {change}" for change in changes)
        elif self._remarks:
            yield "how values are written (`preprocess` reads them so):"
            yield from (f"  {remark}" for remark in self._remarks)
        yield f"windows of {_counted(seq_length, 'event')}; {split.why}"
        n_validation = int(sum(self.keys.lengths.counts) * split.ratios[1])
        if n_validation < _FEW_TARGETS:
            yield (
                f"warning: models will be compared on about {n_validation:,} events only; "
                "small differences between them will mean little"
            )
        if sizes.minutes > _SLOW_MINUTES:
            yield (
                f"note: the table is large for a processor; use a GPU, or try a part of it first: "
                f"sequifier preprocess -D max_rows={_quick_rows(self._n_rows)}"
            )


def _whole(order: str, facts: Facts, table: RawTable) -> "pl.Expr":
    import polars as pl

    if facts.is_whole:
        return pl.col(order).cast(pl.Int64)
    if max(abs(facts.lowest), abs(facts.highest)) > 9e12:
        raise DataError(
            f"`{order}` has fractions and goes up to {shown_value(facts.highest)}",
            where=f"{table.path}, --order",
            fix="write positions as integers, dates or datetimes",
        )
    return (pl.col(order) * 1e6).round().cast(pl.Int64)


def _path_from(project: Path, data: Path) -> str:
    """Relative where both lie in one folder, so that they can be moved together; absolute otherwise."""
    absolute = data.expanduser().resolve()
    if absolute.is_relative_to(project.parent.resolve()):
        return Path(os.path.relpath(absolute, project.resolve())).as_posix()
    return absolute.as_posix()


def _free_name(name: str, taken: dict[str, Facts]) -> str:
    while name in taken:
        name += "_"
    return name


def _run_name(name: str) -> str:
    """The project's name as the name of a model: without what file names cannot have."""
    safe = re.sub(r"[^\w.-]+", "-", Path(name).name).lstrip(".").replace("embedding", "emb")
    return safe.encode()[: NAME_BYTES // 2].decode(errors="ignore") or "first"


def _template(file: str) -> Template:
    text = (files("sequifier.project") / "templates" / f"data-{file}").read_text(encoding="utf-8")
    return Template(text)


def _shown(column: str) -> str:
    """A name in a line of text, whatever it holds."""
    return column if column and column.isprintable() else repr(column)


def _comment_lines(text: str, *, indent: str) -> list[str]:
    # Two spaces and a # would be taken for a generated comment, and this is the author's own.
    lines = textwrap.wrap(" ".join(text.split()), 112, break_long_words=False) or [""]
    return [indent + line if number == 0 else f"{indent}  {line}" for number, line in enumerate(lines)]


def _map(key: str, entries: Sequence[tuple[Choice, Any, str]]) -> Iterator[str]:
    """A map by column, each entry with its reason above it."""
    if not entries:
        return
    yield f"{key}:"
    for choice, value, why in entries:
        if why:
            yield from _comment_lines(f"{why[0].upper()}{why[1:]}.", indent="  # ")
        yield f"  {inline(choice.column)}: {inline(value)}"


def _wrapped_list(key: str, columns: Sequence[str]) -> Iterator[str]:
    """A list in one line, or one entry a line where it is long."""
    line = f"{key}: {inline(list(columns))}"
    if len(line) <= 116:
        yield line
        return
    yield f"{key}:"
    yield from (f"  - {inline(column)}" for column in columns)


def _minutes(minutes: float) -> str:
    if minutes < 1.5:
        return "a minute"
    if minutes < 90:
        return f"{minutes:.0f} minutes"
    return f"{minutes / 60:.0f} hours"


def _counted(n: int, unit: str) -> str:
    return f"{n:,} {unit}" if n == 1 else f"{n:,} {unit}s"


def _quick_rows(n_rows: int) -> int:
    return min(n_rows, 200_000)
