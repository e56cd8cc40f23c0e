"""The data of recommenders, as researchers publish them: lines of numbers without a header.

Two forms are recognised: a line for each event (user item), and a line for each user (user item item ...).
"""

import re
from pathlib import Path

from sequifier.artifacts.table_form import TableForm
from sequifier.preprocess.plain_csv import ITEM, USER
from sequifier.preprocess.table_formats import KnownColumns

LINES = 1000
"""First lines by which a file is recognised."""
_LINE = re.compile(r"-?\d+(?:[ \t]-?\d+)+\s*")

OF_LISTS = KnownColumns(USER, None, ITEM, "each line is a user and its items, in order")
OF_PAIRS = KnownColumns(USER, None, ITEM, "each line is a user and an item, in order")


def recognise(file: Path) -> TableForm | None:
    """Return the form of a file of users and items; None for another file."""
    with file.open("rb") as opened:
        lines = [line.decode("ascii", errors="replace").strip() for _, line in zip(range(LINES), opened, strict=False)]
    lines = [line for line in lines if line]
    if not lines or not all(_LINE.fullmatch(line) for line in lines):
        return None
    n_words = {len(line.split()) for line in lines}
    users = [line.split()[0] for line in lines]
    if len(n_words) > 1:
        return TableForm(lists_items=True) if len({*users}) == len(users) else None
    if n_words == {2} and len({*users}) < len(users):
        separator = "\t" if "\t" in lines[0] else " "
        return TableForm.model_validate({"separator": separator, "column_names": [USER, ITEM]})
    return None


def known_columns(form: TableForm) -> KnownColumns | None:
    """Return the columns with a fixed meaning in a file of this form; None in others."""
    if form.lists_items:
        return OF_LISTS
    return OF_PAIRS if form.column_names == [USER, ITEM] else None
