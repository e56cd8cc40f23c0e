"""The findings of `make` about a user's table: its columns and keys, and the choices that follow from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sequifier.config.time_features import CALENDAR
from sequifier.percent import counted
from sequifier.project.column_choice import Choice
from sequifier.project.column_facts import Facts
from sequifier.project.event_times import EventTimes
from sequifier.project.forecast_choice import ForecastChoice
from sequifier.project.inspect_columns import InspectedColumn
from sequifier.project.keys import Keys
from sequifier.project.metric_choice import MetricChoice
from sequifier.project.pilot import Pilot
from sequifier.project.raw_table import RawTable
from sequifier.project.sizes import Sizes
from sequifier.project.split_choice import SplitChoice
from sequifier.project.time_choice import TimeChoice
from sequifier.project.whole_sequences import WholeSequences

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Findings:
    """What `make` found in a table and chose for its configs.

    Attributes:
        table: the table.
        inspected: each column with an expression for its values.
        rows: the rows with the types of their values, without empty ones.
        n_empty: number of rows without any value.
        n_dropped: number of rows that are left out, because they are identical to an earlier one; None: they stay.
        n_identical: number of rows that are identical to an earlier one, where positions repeat.
        facts: statistics of each column.
        keys: the sequence and the order column.
        choices: the use of each other column.
        targets: the columns to predict.
        whole: the columns with one value for each sequence.
        metric: the proposed metric.
        notes: guesses, for the user.
        warnings: what in the table is probably a mistake.
        split: the proposed split.
        seq_length: the proposed window length.
        stride: the proposed step between training windows.
        sizes: the sizes that the proposed search tries.
        time: the proposed time features.
        forecast: the proposed horizon of a regular series.
        event_times: how sequences are observed, where the time to the next event is a target; None: it is not.
        pilot: the measured step of the proposed model; None: not measured.
    """

    table: RawTable
    inspected: dict[str, InspectedColumn]
    rows: "pl.LazyFrame"
    n_empty: int
    n_dropped: int | None
    n_identical: int
    facts: dict[str, Facts]
    keys: Keys
    choices: Sequence[Choice]
    targets: tuple[str, ...]
    whole: WholeSequences
    metric: MetricChoice
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    split: SplitChoice
    seq_length: int
    stride: int
    sizes: Sizes
    time: TimeChoice
    forecast: ForecastChoice
    event_times: EventTimes | None = None
    pilot: Pilot | None = None

    @property
    def used(self) -> list[Choice]:
        """The feature columns."""
        return [choice for choice in self.choices if choice.use != "left out"]

    @property
    def of_targets(self) -> list[Choice]:
        """The targets."""
        return [choice for choice in self.choices if choice.column in self.targets]

    @property
    def labels(self) -> list[str]:
        """The targets that belong to the whole sequence."""
        return [target for target in self.targets if target in self.whole.columns]

    @property
    def attributes(self) -> list[str]:
        """The other columns with one value for each sequence, which models read."""
        return [column for column in self.whole.columns if column not in self.targets]

    @property
    def left_out(self) -> list[Choice]:
        """The columns that are not used."""
        return [c for c in self.choices if c.use == "left out" and c.column not in self.time.features]

    @property
    def minutes(self) -> float:
        """Duration of the proposed search: as measured, else as estimated for two cores."""
        if self.pilot is None:
            return self.sizes.minutes
        at_once = min(self.pilot.at_once, self.sizes.runs)
        sizes, pilot = self.sizes, self.pilot
        seconds = sizes.steps_per_epoch * pilot.seconds + sizes.validation_windows * pilot.validation_seconds
        return sizes.epochs_of_all * seconds / at_once / 60

    @property
    def classes(self) -> dict[str, int]:
        """Number of classes of each column that models read or predict; 0 for numbers."""
        found = {choice.column: 0 if choice.use == "real" else choice.n_categories for choice in self.used}
        for column, features in self.time.features.items():
            of = "time" if self.time.is_position else column
            found |= {f"{of}_{feature}": len(CALENDAR.get(feature, ())) for feature in features}
        return found

    @property
    def n_rows(self) -> int:
        """Number of rows, without empty ones."""
        return next(iter(self.facts.values())).n_rows

    @property
    def n_sequences(self) -> str:
        """Number of sequences, in words."""
        return "one series" if self.keys.sequence is None else counted(len(self.keys.lengths.counts), "sequence")

    @property
    def lengths(self) -> str:
        """Lengths of the sequences, in words."""
        if self.keys.sequence is None:
            return f"{self.n_rows:,} events: the table is one series"
        return self.keys.lengths.text

    @property
    def form(self) -> list[str]:
        """How the table is written, and which keys it lacks, where `preprocess` has to know it."""
        form, lengths, order = self.table.form, self.keys.lengths, self.keys.order
        lines = []
        if form.separator != ",":
            shown = {"\t": "tabs", " ": "spaces"}.get(form.separator, f"`{form.separator}`")
            lines.append(f"its columns are separated by {shown}")
        if form.has_spaces:
            lines.append("spaces around the names of its columns and around values are no part of them")
        if form.column_names is not None:
            lines.append(f"it has no header; its columns are called {', '.join(form.column_names)}")
        if self.n_empty:
            are = "is" if self.n_empty == 1 else "are"
            lines.append(f"{counted(self.n_empty, 'empty row')} {are} left out")
        if self.n_dropped is not None:
            are = "row is" if self.n_dropped == 1 else "rows are"
            lines.append(f"{self.n_dropped:,} {are} left out: identical to an earlier row in every column")
        if self.keys.sequence is None:
            lines.append("it is a single series, whose sequenceId is 1")
        if order is None:
            lines.append("its rows are in order, and are numbered from 0 in each sequence")
        if lengths.n_repeated:
            have = "row has" if lengths.n_repeated == 1 else "rows have"
            example = f" ({lengths.example})" if lengths.example else ""
            lines.append(
                f"{lengths.n_repeated:,} {have} the `{order}` of another one of the same sequence{example}; they keep "
                "the order of the table"
            )
        if self.n_identical:
            lines.append(
                f"{self.n_identical:,} of them are identical to another row in every column; if they are copies, make "
                "the project with --drop-duplicates"
            )
        return lines

    @property
    def formats(self) -> list[str]:
        """Unusual formats of values, of the columns that are used or that would be used as numbers."""
        needed = {choice.column for choice in self.used} | {self.keys.sequence, self.keys.order}
        remarks = {column: content.remark or content.doubt for column, content in self.inspected.items()}
        return [
            f"`{column}`: {remark}"
            for column, remark in remarks.items()
            if remark and (column in needed or self.inspected[column].kind == "text")
        ]

    def missing(self, choice: Choice) -> str:
        """Number of missing values of a column, with a warning for a target."""
        facts = choice.facts
        text = f"{facts.n_missing:,} of {facts.n_rows:,} values are missing"
        if choice.column not in self.targets:
            return text
        if choice.use == "real":
            ahead = " (steps to come are rows for `infer`, not for training)" if self.forecast.is_proposed else ""
            what = "models would learn to predict the mean there; better remove those rows"
            return f"{text} in this target: {what}{ahead}"
        return f"{text}; unknown targets do not count"


def shown_name(column: str) -> str:
    """A column name for a line of text: with escapes where it has other than printable characters."""
    return column if column and column.isprintable() else repr(column)
