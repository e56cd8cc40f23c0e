"""Which column names the sequence, which one orders its events, and what is to be predicted.

Given names are checked, names left out are guessed where only one answer makes sense; what was guessed is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sequifier.errors import DataError, SequifierError, nearest
from sequifier.project.columns import Facts, is_id_like, shown_value, words_of
from sequifier.project.inspect_columns import InspectedColumn
from sequifier.project.raw_table import RawTable

if TYPE_CHECKING:
    import polars as pl

ONE_SERIES = "None"
"""`--sequence None`: the table is a single series."""

SEQUENCE_NAMES = (
    *("sequenceid", "sequence", "series", "seriesid", "session", "sessionid", "user", "userid", "customer"),
    *("customerid", "client", "clientid", "account", "accountid", "patient", "patientid", "subject", "subjectid"),
    *("device", "deviceid", "machine", "machineid", "sensor", "sensorid", "player", "playerid", "visitor"),
    *("visitorid", "case", "caseid", "entity", "entityid", "uniqueid", "tailnum", "vehicleid", "uid"),
)
ORDER_NAMES = (
    *("itemposition", "position", "step", "timestep", "time", "timestamp", "date", "datetime", "ds", "t", "order"),
    *("eventtime", "createdat", "eventnumber", "visit", "tick", "day"),
)
TARGET_NAMES = ("target", "label", "y", "ot")

ROWS_AT_ONCE = 5_000_000
"""Keys that are compared in memory at once; a larger table is gone through in several passes."""

Sources = Mapping[str, Facts]


@dataclass(frozen=True)
class Lengths:
    """How many events the sequences have.

    Attributes:
        counts: events of each sequence, in any order.
        n_repeated: rows that have the same sequence and position as another one before them.
        example: one such sequence and position.
    """

    counts: "pl.Series"
    n_repeated: int
    example: str = ""

    @property
    def quartiles(self) -> tuple[int, int, int]:
        """Lower quartile, median and upper quartile."""
        lower, median, upper = (self.counts.quantile(q, interpolation="nearest") or 0 for q in (0.25, 0.5, 0.75))
        return int(lower), int(median), int(upper)


@dataclass(frozen=True)
class Keys:
    """The columns of the table's events.

    Attributes:
        sequence: None for a table that is one series.
        lengths: of the sequences.
        notes: what was guessed.
    """

    sequence: str | None
    order: str
    lengths: Lengths
    notes: tuple[str, ...]


def find_keys(
    table: RawTable,
    rows: "pl.LazyFrame",
    facts: Sources,
    inspected: Mapping[str, InspectedColumn],
    given: tuple[str, str],
) -> Keys:
    """Sequence and order column, as given (empty: not given) or guessed.

    Raises:
        DataError: a column does not exist, cannot be what it should be, has rows without a value, or nothing can be
            guessed.
    """
    sequence_given, order_given = given
    notes = []
    for column, flag in ((sequence_given, "--sequence"), (order_given, "--order")):
        if column and column != ONE_SERIES:
            require(table, facts, column, flag)
    order = order_given or _guessed_order(table, facts, sequence_given)
    if not order_given:
        notes.append(f"--order was not given: `{order}` is taken, the only column that looks like it")
    _check_order(table, rows, order, facts, inspected[order])
    sequence: str | None = sequence_given
    if sequence_given == ONE_SERIES:
        sequence = None
    elif not sequence_given:
        sequence = _guessed_sequence(table, rows, facts, order)
        notes.append(
            f"--sequence was not given: `{sequence}` is taken, by its name"
            if sequence
            else f"--sequence was not given: every `{order}` occurs once, so the table is taken as one single series"
        )
    if sequence is not None:
        _check_sequence(table, sequence, order, facts)
    lengths = measure(rows, sequence, order, facts[order].n_rows)
    if lengths.counts.max() == 1:
        raise DataError(
            f"each `{sequence}` has one row: a sequence needs at least two events",
            where=f"{table.path}, --sequence {sequence}",
            fix="name the column whose values repeat from event to event; " + listed(facts),
        )
    return Keys(sequence, order, lengths, tuple(notes))


def measure(rows: "pl.LazyFrame", sequence: str | None, order: str, n_rows: int) -> Lengths:
    """Length of each sequence and repeated positions, in passes over shares of the sequences."""
    import polars as pl

    if sequence is None:
        found = rows.select(n=pl.len(), distinct=pl.col(order).n_unique()).collect(engine="streaming")
        shares = [found]
    else:
        passes = -(-n_rows // ROWS_AT_ONCE)
        keys = rows.select(sequence=pl.col(sequence), order=pl.col(order))
        grouped = (
            keys.filter(pl.col("sequence").hash(0) % passes == share)
            .group_by("sequence")
            .agg(n=pl.len(), distinct=pl.col("order").n_unique())
            .select("n", "distinct")
            for share in range(passes)
        )
        shares = [share.collect(engine="streaming") for share in grouped]
    all_shares = pl.concat(shares)
    n_repeated = int((all_shares["n"].cast(pl.Int64) - all_shares["distinct"].cast(pl.Int64)).sum())
    example = _repeated_example(rows, sequence, order) if n_repeated and n_rows <= ROWS_AT_ONCE else ""
    return Lengths(all_shares["n"].cast(pl.Int64), n_repeated, example)


def find_targets(
    table: RawTable, facts: Sources, keys: Keys, given: Sequence[str], usable: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What to predict, as given or guessed, and what was guessed.

    Raises:
        DataError: a target does not exist or is one of the keys, or nothing can be guessed.
    """
    if given:
        for column in given:
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
        return (named[0],), (f"--target was not given: `{named[0]}` is taken, by its name",)
    raise DataError(
        "which column should be predicted?",
        where=str(table.path),
        fix=f"add --target COLUMN (or several); {listed({column: facts[column] for column in usable})}",
    )


def require(table: RawTable, facts: Sources, column: str, flag: str) -> None:
    """Raises DataError: there is no such column; the nearest is named, or all are listed."""
    if column in facts:
        return
    near = nearest(column, facts)
    fix = "did you mean " + " or ".join(f"`{name}`" for name in near) + "?" if near else listed(facts)
    raise DataError(f"there is no column `{column}` in the table", where=f"{table.path}, {flag}", fix=fix)


def listed(facts: Sources) -> str:
    """The columns with their kinds, for an error."""
    shown = [f"    {column}: {_kind_text(found)}" for column, found in facts.items()]
    if len(shown) > 40:
        shown = [*shown[:40], f"    ... and {len(shown) - 40} more"]
    return "the columns are\n" + "\n".join(shown)


def _kind_text(facts: Facts) -> str:
    if facts.kind in ("empty", "other"):
        return "no values" if facts.kind == "empty" else "a type that cannot be encoded"
    example = f", {shown_value(facts.lowest)} to {shown_value(facts.highest)}" if facts.lowest is not None else ""
    return f"{facts.kind}, {facts.n_distinct:,} different value{'s' if facts.n_distinct != 1 else ''}{example[:60]}"


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
        fix=f"add --order COLUMN: integers, dates or datetimes; {listed(facts)}",
    )


def _guessed_sequence(table: RawTable, rows: "pl.LazyFrame", facts: Sources, order: str) -> str | None:
    """A column by its name, or None for one series."""
    others = {column: found for column, found in facts.items() if column != order and found.kind in ("integer", "text")}
    named = [column for column in others if _plain(column) in SEQUENCE_NAMES]
    if len(named) == 1:
        return named[0]
    ids = [column for column, found in others.items() if "id" in words_of(column) and not is_id_like(column, found)]
    if not named and len(ids) == 1:
        return ids[0]
    if not named and not ids and not measure(rows, None, order, facts[order].n_rows).n_repeated:
        return None
    raise DataError(
        "which column says what sequence an event belongs to (a customer, a device, a session)?",
        where=str(table.path),
        fix=f"add --sequence COLUMN, or `--sequence {ONE_SERIES}` if the table is one single series; {listed(facts)}",
    )


def _check_order(table: RawTable, rows: "pl.LazyFrame", order: str, facts: Sources, content: InspectedColumn) -> None:
    from sequifier.preprocess.dates import year_last

    found, doubt = facts[order], content.doubt
    where = f"{table.path}, --order {order}"
    if found.kind in ("integer", "text") and (written := year_last(rows, order)):
        doubt = f"its integers are dates that are written {written}, and do not stand in the order of time"
    if doubt:
        raise DataError(
            f"`{order}` cannot order events: {doubt}",
            where=where,
            fix="write dates like 2013-01-31 (year, month, day), which have one meaning",
        )
    is_orderable = found.kind in ("integer", "date", "datetime", "number") or content.is_as_text
    if not is_orderable:
        raise DataError(
            f"`{order}` cannot order events: it is {_kind_text(found)}",
            where=where,
            fix="name a column of integers, dates (2013-01-31) or datetimes (2013-01-31 17:05); " + listed(facts),
        )
    _check_known(table, order, found, "order")


def _check_sequence(table: RawTable, sequence: str, order: str, facts: Sources) -> None:
    if sequence == order:
        raise DataError(
            f"`{sequence}` cannot be both the sequence and the order column",
            where="--sequence and --order",
            fix=f"name another one; for a single series: --sequence {ONE_SERIES}",
        )
    found = facts[sequence]
    if found.kind == "other":
        raise DataError(
            f"`{sequence}` cannot name sequences: it is {_kind_text(found)}",
            where=f"{table.path}, --sequence",
            fix="name a column of text or integers; " + listed(facts),
        )
    _check_known(table, sequence, found, "sequence")


def _check_known(table: RawTable, column: str, found: Facts, role: str) -> None:
    if found.n_missing:
        raise DataError(
            f"{found.n_missing:,} of {found.n_rows:,} rows have no value in the {role} column `{column}`",
            where=str(table.path),
            fix="remove those rows from the table, or fill them in",
        )


def _repeated_example(rows: "pl.LazyFrame", sequence: str | None, order: str) -> str:
    import polars as pl

    keys = {"order": pl.col(order)} if sequence is None else {"sequence": pl.col(sequence), "order": pl.col(order)}
    counted = rows.select(**keys).group_by(list(keys)).agg(n=pl.len())
    most = counted.sort("n", *keys, descending=[True] + [False] * len(keys)).head(1).collect(engine="streaming")
    row = most.row(0, named=True)
    of = "" if sequence is None else f"{sequence} {row['sequence']} at "
    return f"{of}{order} {row['order']}: {row['n']:,} rows"
