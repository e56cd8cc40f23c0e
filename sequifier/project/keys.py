"""The sequence column, the order column and the targets of a user's table.

Names that are given are checked. Other names are guessed where only one answer makes sense, and each guess is reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sequifier.errors import DataError, SequifierError, nearest
from sequifier.project.column_choice import is_id_like, words_of
from sequifier.project.column_facts import Facts, shown_value
from sequifier.project.inspect_columns import InspectedColumn
from sequifier.project.raw_table import RawTable

if TYPE_CHECKING:
    import polars as pl

NO_COLUMN = "None"
"""`--sequence None`: the table is a single series. `--order None`: its rows are in order."""

SEQUENCE_NAMES = (
    *("sequenceid", "sequence", "series", "seriesid", "session", "sessionid", "user", "userid", "customer"),
    *("customerid", "client", "clientid", "account", "accountid", "patient", "patientid", "subject", "subjectid"),
    *("device", "deviceid", "machine", "machineid", "sensor", "sensorid", "player", "playerid", "visitor"),
    *("visitorid", "case", "caseid", "entity", "entityid", "uniqueid", "tailnum", "vehicleid", "uid"),
)
ORDER_NAMES = (
    *("itemposition", "position", "step", "timestep", "time", "timestamp", "date", "datetime", "ds", "t", "order"),
    *("ts", "eventtime", "createdat", "eventnumber", "visit", "tick", "day"),
)
TARGET_NAMES = ("target", "label", "y", "ot")

ROWS_AT_ONCE = 5_000_000
"""Rows whose keys are in memory at once; a larger table takes several passes."""

Sources = Mapping[str, Facts]


@dataclass(frozen=True)
class Lengths:
    """Lengths of the sequences.

    Attributes:
        counts: number of events of each sequence, in any order.
        n_repeated: number of rows with the same sequence and position as an earlier row.
        example: a repeated sequence and position.
    """

    counts: "pl.Series"
    n_repeated: int
    example: str = ""

    @property
    def quartiles(self) -> tuple[int, int, int]:
        """Lower quartile, median and upper quartile."""
        lower, median, upper = (self.counts.quantile(q, interpolation="nearest") or 0 for q in (0.25, 0.5, 0.75))
        return int(lower), int(median), int(upper)

    @property
    def text(self) -> str:
        """The lengths, in words."""
        shortest: Any = self.counts.min()
        longest: Any = self.counts.max()
        if shortest == longest:
            return f"{shortest:,} events"
        lower, median, upper = self.quartiles
        return f"{shortest:,} to {longest:,} events, median {median:,}, half of them {lower:,} to {upper:,}"


@dataclass(frozen=True)
class Keys:
    """The key columns of a table.

    Attributes:
        sequence: the sequence column; None for a table that is a single series.
        order: the order column; None where the rows of each sequence are in order in the table.
        lengths: lengths of the sequences.
        notes: the guesses, for the user.
    """

    sequence: str | None
    order: str | None
    lengths: Lengths
    notes: tuple[str, ...]


def with_known(
    table: RawTable, keys: tuple[str, str], targets: Sequence[str]
) -> tuple[tuple[str, str], Sequence[str], tuple[str, ...]]:
    """Return sequence and order column and targets, as given or by the format of the table; and notes on the latter."""
    known = table.known
    if known is None:
        return keys, targets, ()
    sequence, order = keys
    known_order = NO_COLUMN if known.order is None else known.order
    chosen = [
        f"{flag} {column}"
        for flag, given, column in (
            ("--sequence", sequence, known.sequence),
            ("--order", order, known_order),
            ("--target", targets, known.target),
        )
        if not given
    ]
    notes = (f"the format of the table gives {', '.join(chosen)} ({known.why})",) if chosen else ()
    return (sequence or known.sequence, order or known_order), targets or (known.target,), notes


def find_keys(
    table: RawTable,
    rows: "pl.LazyFrame",
    facts: Sources,
    inspected: Mapping[str, InspectedColumn],
    given: tuple[str, str],
) -> Keys:
    """Find the sequence and the order column, as given (empty: not given) or guessed.

    Raises:
        DataError: a column does not exist, cannot be a key, has rows without a value, or cannot be guessed.
    """
    sequence_given, order_given = given
    notes = []
    for column, flag in ((sequence_given, "--sequence"), (order_given, "--order")):
        if column and column != NO_COLUMN:
            require(table, facts, column, flag)
    order: str | None = None
    if order_given != NO_COLUMN:
        order = order_given or _guessed_order(table, facts, sequence_given)
        if not order_given:
            notes.append(f"--order was not given: `{order}` is used, the only column that looks like it")
        _check_order(table, rows, order, facts, inspected[order])
    sequence: str | None = sequence_given
    if sequence_given == NO_COLUMN:
        sequence = None
    elif not sequence_given:
        sequence = _guessed_sequence(table, rows, facts, order)
        notes.append(
            f"--sequence was not given: `{sequence}` is used, because of its name"
            if sequence
            else "--sequence was not given: the table is treated as a single series"
            + (f", because every `{order}` occurs once" if order else "")
        )
    if sequence is not None:
        _check_sequence(table, rows, sequence, order, facts)
    lengths = measure(rows, sequence, order, next(iter(facts.values())).n_rows)
    if lengths.counts.max() == 1:
        raise DataError(
            f"each `{sequence}` has one row: a sequence needs at least two events",
            where=f"{table.path}, --sequence {sequence}",
            fix="name the column whose values repeat from event to event; " + listed(facts),
        )
    return Keys(sequence, order, lengths, tuple(notes))


def measure(rows: "pl.LazyFrame", sequence: str | None, order: str | None, n_rows: int) -> Lengths:
    """Count the events of each sequence and repeated positions, in passes over parts of the sequences."""
    import polars as pl

    keys = rows.select(
        sequence=pl.lit(1) if sequence is None else pl.col(sequence),
        order=pl.lit(1) if order is None else pl.col(order),
    )
    distinct = pl.len() if order is None else pl.col("order").n_unique()
    if sequence is None:
        parts = [keys.select(n=pl.len(), distinct=distinct).collect(engine="streaming")]
    else:
        passes = -(-n_rows // ROWS_AT_ONCE)
        grouped = (
            keys.filter(pl.col("sequence").hash(0) % passes == part)
            .group_by("sequence")
            .agg(n=pl.len(), distinct=distinct)
            .select("n", "distinct")
            for part in range(passes)
        )
        parts = [part.collect(engine="streaming") for part in grouped]
    all_parts = pl.concat(parts)
    n_repeated = int((all_parts["n"].cast(pl.Int64) - all_parts["distinct"].cast(pl.Int64)).sum())
    example = _repeated_example(rows, sequence, order) if order and n_repeated and n_rows <= ROWS_AT_ONCE else ""
    return Lengths(all_parts["n"].cast(pl.Int64), n_repeated, example)


def find_targets(
    table: RawTable, facts: Sources, keys: Keys, given: Sequence[str], usable: Sequence[str], computed: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the targets, as given or guessed, and the guesses in words.

    Args:
        table: the table, for errors.
        facts: statistics of each column.
        keys: the sequence and the order column.
        given: the targets; empty: guess.
        usable: the columns that models can read.
        computed: columns that are computed from the times of the events.

    Raises:
        DataError: a target does not exist or is a key column, or no target can be guessed.
    """
    if given:
        for column in given:
            if column in computed:
                continue
            require(table, facts, column, "--target")
            if column in (keys.sequence, keys.order):
                raise DataError(
                    f"`{column}` is the {'sequence' if column == keys.sequence else 'order'} column already",
                    where="--target",
                    fix="name another column to predict, or add a copy of it to the table",
                )
        return tuple(dict.fromkeys(given)), ()
    if len(usable) == 1:
        return (usable[0],), (f"--target was not given: `{usable[0]}` is the only column that can be predicted",)
    named = [column for column in usable if _plain(column) in TARGET_NAMES]
    if len(named) == 1:
        return (named[0],), (f"--target was not given: `{named[0]}` is used, because of its name",)
    if not usable and computed:
        only = f"the table has no other column, so the time to the next event is predicted (`{computed[0]}`)"
        return (computed[0],), (f"--target was not given: {only}",)
    if not usable:
        raise DataError(
            "the table has no column that can be predicted",
            where=str(table.path),
            fix="add a column that varies from event to event, or times of the events; " + listed(facts),
        )
    raise DataError(
        "which column should be predicted?",
        where=str(table.path),
        fix=f"add --target COLUMN (or several); {listed({column: facts[column] for column in usable})}",
    )


def require(table: RawTable, facts: Sources, column: str, flag: str) -> None:
    """Raise DataError where a column does not exist, with the nearest column or all columns."""
    if column in facts:
        return
    near = nearest(column, facts)
    fix = "did you mean " + " or ".join(f"`{name}`" for name in near) + "?" if near else listed(facts)
    raise DataError(f"there is no column `{column}` in the table", where=f"{table.path}, {flag}", fix=fix)


def listed(facts: Sources) -> str:
    """Return the columns with their kinds, for an error."""
    shown = [f"    {column}: {_kind_text(found)}" for column, found in facts.items()]
    if len(shown) > 40:
        shown = [*shown[:40], f"    ... and {len(shown) - 40} more"]
    return "the columns are\n" + "\n".join(shown)


def _kind_text(facts: Facts) -> str:
    if facts.kind in ("empty", "other"):
        return "no values" if facts.kind == "empty" else "a type that cannot be encoded"
    example = f", {shown_value(facts.lowest)} to {shown_value(facts.highest)}" if facts.lowest is not None else ""
    return f"{facts.kind}, {facts.n_distinct:,} distinct value{'s' if facts.n_distinct != 1 else ''}{example[:60]}"


def _plain(column: str) -> str:
    return "".join(letter for letter in column.lower() if letter.isalnum())


def _guessed_order(table: RawTable, facts: Sources, sequence: str) -> str:
    others = {column: found for column, found in facts.items() if column != sequence and found.n_distinct > 1}
    named = [column for column in others if _plain(column) in ORDER_NAMES]
    named = [column for column in named if others[column].kind in ("integer", "number", "date", "datetime")]
    dated = [column for column, found in others.items() if found.kind in ("date", "datetime")]
    for candidates in ([column for column in named if column in dated], dated, named):
        if len(candidates) == 1:
            return candidates[0]
    raise SequifierError(
        "which column orders the events of a sequence?",
        where=str(table.path),
        fix="add --order COLUMN: integers, dates or datetimes; `--order None` if the rows are in order; "
        + listed(facts),
    )


def _guessed_sequence(table: RawTable, rows: "pl.LazyFrame", facts: Sources, order: str | None) -> str | None:
    """Return a column by its name, or None for a single series."""
    others = {column: found for column, found in facts.items() if column != order and found.kind in ("integer", "text")}
    named = [column for column in others if _plain(column) in SEQUENCE_NAMES]
    if len(named) == 1:
        return named[0]
    ids = [column for column, found in others.items() if "id" in words_of(column) and not is_id_like(column, found)]
    if not named and len(ids) == 1:
        return ids[0]
    if not named and not ids and not measure(rows, None, order, 0).n_repeated:
        return None
    raise DataError(
        "which column names the sequence of an event (a customer, a device, a session)?",
        where=str(table.path),
        fix=f"add --sequence COLUMN, or `--sequence {NO_COLUMN}` if the table is a single series; {listed(facts)}",
    )


def _check_order(table: RawTable, rows: "pl.LazyFrame", order: str, facts: Sources, content: InspectedColumn) -> None:
    from sequifier.preprocess.dates import year_last

    found, doubt = facts[order], content.doubt
    where = f"{table.path}, --order {order}"
    if found.kind in ("integer", "text") and (written := year_last(rows, order)):
        doubt = f"its integers are dates in the format {written}, whose order is not the order of time"
    if doubt:
        raise DataError(
            f"`{order}` cannot order events: {doubt}",
            where=where,
            fix="write dates like 2013-01-31 (year, month, day)",
        )
    is_orderable = found.kind in ("integer", "date", "datetime", "number") or content.is_as_text
    if not is_orderable:
        raise DataError(
            f"`{order}` cannot order events: it is {_kind_text(found)}",
            where=where,
            fix="name a column of integers, dates (2013-01-31) or datetimes (2013-01-31 17:05); " + listed(facts),
        )
    _check_known(table, rows, order, found, "order")


def _check_sequence(table: RawTable, rows: "pl.LazyFrame", sequence: str, order: str | None, facts: Sources) -> None:
    if sequence == order:
        raise DataError(
            f"`{sequence}` cannot be both the sequence and the order column",
            where="--sequence and --order",
            fix=f"name another column; for a single series: --sequence {NO_COLUMN}",
        )
    found = facts[sequence]
    if found.kind == "other" or (found.kind == "number" and not found.is_whole):
        raise DataError(
            f"`{sequence}` cannot name sequences: it is {_kind_text(found)}",
            where=f"{table.path}, --sequence",
            fix="name a column of text or integers; " + listed(facts),
        )
    _check_known(table, rows, sequence, found, "sequence")


def _check_known(table: RawTable, rows: "pl.LazyFrame", column: str, found: Facts, role: str) -> None:
    import polars as pl

    if found.n_missing:
        missing = rows.select(is_missing=pl.col(column).is_null()).with_row_index("row", offset=1).filter("is_missing")
        first = missing.select("row").head(1).collect().item()
        raise DataError(
            f"{found.n_missing:,} of {found.n_rows:,} rows have no value in the {role} column `{column}` "
            f"(first: row {first:,})",
            where=str(table.path),
            fix="remove those rows from the table (a row of sums, for instance), or fill them in",
        )


def _repeated_example(rows: "pl.LazyFrame", sequence: str | None, order: str) -> str:
    import polars as pl

    keys = {"order": pl.col(order)} if sequence is None else {"sequence": pl.col(sequence), "order": pl.col(order)}
    counted = rows.select(**keys).group_by(list(keys)).agg(n=pl.len())
    most = counted.sort("n", *keys, descending=[True] + [False] * len(keys)).head(1).collect(engine="streaming")
    row = most.row(0, named=True)
    of = "" if sequence is None else f"{sequence} {row['sequence']} at "
    return f"{of}{order} {row['order']}: {row['n']:,} rows"
