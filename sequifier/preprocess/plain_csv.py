"""CSV files in another form, written as plain CSV: with commas, a header, and without spaces around values.

The other forms: compressed by gzip, other separators, spaces around names and values, no header, and lists of items.
All other code reads plain CSV alone.
"""

import gzip
import re
import shutil
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from sequifier.artifacts.atomic import atomic_path
from sequifier.artifacts.table_form import PLAIN_TABLE, TableForm
from sequifier.errors import DataError
from sequifier.preprocess.csv_file import check_names, header, line_end, scan_csv
from sequifier.preprocess.damaged_csv import check_first_line, damage

USER, ITEM = "user", "item"
"""The columns of lists of items."""

SEPARATORS = (",", ";", "\t", "|")
_HEADER_BYTES = 1 << 16
_ONE_COLUMN = "\x1f"  # a separator that no text has


def form_of(
    file: Path, keys: Collection[str] | None, known: TableForm, *, shown: Path, features: Collection[str] = ()
) -> TableForm:
    """Return the form of a CSV file: of those in which its header has the key columns, the first with most features.

    Args:
        file: a CSV file, not compressed.
        keys: the key columns; None: they are not known yet, so the header alone decides.
        known: the form of the table of training, or the names of columns; its form is tried first.
        shown: the name of the file for the user.
        features: the other columns that are known.

    Raises:
        DataError: the first line of a file without a header has another number of columns, or a name occurs twice.
    """
    if known.lists_items:
        return known
    if known.column_names is not None:
        return _without_header(file, known.column_names, (known.separator, *SEPARATORS, " "), shown)
    try:
        check_first_line(file, header(file), shown=shown)
        likely = _likely_form(file)
        if keys is None:
            form = likely
        else:
            forms = (
                TableForm(separator=known.separator, has_spaces=known.has_spaces),
                PLAIN_TABLE,
                TableForm(has_spaces=True),
                TableForm(separator=likely.separator),
                likely,
            )
            fitting = [(form, names) for form in forms if {*keys} <= (names := {*names_in(file, form)})]
            form, _ = max(fitting, key=lambda found: len({*features} & found[1]), default=(PLAIN_TABLE, ()))
    except pl.exceptions.PolarsError as error:
        if found := damage(file, _likely_separator(file), shown=shown, reason=str(error)):
            raise found from error
        return PLAIN_TABLE  # whoever reads it reports what is wrong
    if form != PLAIN_TABLE:
        check_names(shown, names_in(file, form))
    return form


def names_in(file: Path, form: TableForm) -> list[str]:
    """Return the names of the columns of a file in this form."""
    if form.lists_items:
        return [USER, ITEM]
    if form.column_names is not None:
        return form.column_names
    names = [name or "" for name in header(file, form.separator)]
    return [name.strip() for name in names] if form.has_spaces else names


def write_plain(file: Path, form: TableForm, output: Path, *, shown: Path) -> None:
    """Write a file of this form, which is called `shown` in errors, as plain CSV, in a stream.

    Raises:
        DataError: it is not UTF-8, or a row has more values than the header has names.
    """
    rows = _rows(file, form)
    try:
        with atomic_path(output) as temporary:
            rows.sink_csv(temporary)
    except pl.exceptions.PolarsError as error:
        raise (damage(file, form.separator, shown=shown, reason=str(error)) or error) from error


def unpack(file: Path, output: Path) -> None:
    """Write the content of a file that gzip compressed.

    Raises:
        DataError: it is damaged.
    """
    with atomic_path(output) as temporary:
        try:
            with gzip.open(file) as packed, temporary.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"the file cannot be unpacked: {error}", where=str(file), fix="copy it again; `gunzip -t` checks it"
            ) from error


def _rows(file: Path, form: TableForm) -> pl.LazyFrame:
    if form.lists_items:
        words = pl.col("line").str.extract_all(r"\S+")
        lines = _lines(file).select(words.list.first().alias(USER), words.list.slice(1).alias(ITEM))
        return lines.filter(pl.col(ITEM).list.len() > 0).explode(ITEM)
    if form.column_names is not None:
        rows = pl.scan_csv(
            file,
            glob=False,
            separator=form.separator,
            eol_char=line_end(file),
            has_header=False,
            new_columns=form.column_names,
            null_values=[""],
            infer_schema=False,
        )
    else:
        rows = scan_csv(file, separator=form.separator)
    if form.has_spaces:
        text = pl.all().str.strip_chars()
        rows = rows.select(pl.when(text != "").then(text).name.keep()).rename(str.strip)
    return rows


def _lines(file: Path) -> pl.LazyFrame:
    return pl.scan_csv(
        file,
        glob=False,
        separator=_ONE_COLUMN,
        quote_char=None,
        eol_char=line_end(file),
        has_header=False,
        new_columns=["line"],
        infer_schema=False,
    ).filter(pl.col("line").is_not_null())


def _likely_form(file: Path) -> TableForm:
    """Return the form by the header: the separator that it has most often, a comma in doubt."""
    form = TableForm.model_validate({"separator": _likely_separator(file)})
    names = names_in(file, form)
    stripped = [name.strip() for name in names]
    has_spaces = stripped != names and len({*stripped}) == len(names)
    return form.model_copy(update={"has_spaces": has_spaces})


def _likely_separator(file: Path) -> str:
    with file.open("rb") as opened:
        start = opened.read(_HEADER_BYTES).decode("utf-8-sig", errors="replace")
    unquoted = re.sub(r'"[^"]*"', "", start.partition(line_end(file))[0])
    return max(SEPARATORS, key=lambda mark: (unquoted.count(mark), -SEPARATORS.index(mark)))


def _without_header(file: Path, names: Sequence[str], separators: Sequence[str], shown: Path) -> TableForm:
    for separator in separators:
        form = TableForm.model_validate({"separator": separator})
        first = names_in(file, form)
        if len(first) == len(names):
            has_header = first == list(names)
            return form if has_header else form.model_copy(update={"column_names": list(names)})
    n_columns = max(len(header(file, separator)) for separator in separators)
    raise DataError(
        f"{len(names)} names are given for the columns ({', '.join(names)}), but the first line has {n_columns}",
        where=str(shown),
        fix="give as many names as the file has columns",
    )
