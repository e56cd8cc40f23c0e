"""The next event of each sequence of a CSV file. Needs onnxruntime and numpy alone: the model encodes and decodes.

It reads the file that training read: its separator, dates, numbers and marks of missing values are in the model. The
file may also be compressed (.csv.gz), a folder of such files, or plain CSV with commas.

python predict_csv.py models/sequifier-NAME-best-end-to-end-5.onnx events.csv predictions.csv
"""

import csv
import gzip
import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import onnxruntime

BATCH = 256
MISSING = -(2**63)  # a missing integer or date
MARKS = {  # of missing numbers and dates
    *("", "na", "n/a", "#n/a", "#n/a n/a", "#na", "#nv", "n.a.", "<na>", "nat", "null", "(null)", "none", "missing"),
    *("-", "--", "–", "—", "?", ".", "\\n", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
}
DATE = re.compile(
    r"(\d{1,4})[-/.](\d{1,2})[-/.](\d{1,4})(?:(?:T| +)(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?"
    r" *(?:Z|UTC|GMT)? *(?:([+-])(\d\d):?(\d\d))?",
    re.IGNORECASE,
)


def is_missing(text: str) -> bool:
    """Whether a text among numbers or dates means that there is no value."""
    return text.strip().lower() in MARKS


def instant(text: str, written: str) -> int:
    """Microseconds since 1970 of a date, whose parts are in the order of `written`, such as DD.MM.YYYY.

    A date without an offset from UTC is local time of the zone of training.
    """
    if is_missing(text):
        return MISSING
    order = re.findall("YYYY|MM|DD", written or "YYYY-MM-DD")
    found = DATE.fullmatch(text.strip())
    if not found or sorted(order) != ["DD", "MM", "YYYY"] or len(found[1 + order.index("YYYY")]) != 4:
        sys.exit(f"`{text}` is not a date like {written or '2013-01-31 or 2013-01-31T17:05:00'}")
    parts = dict(zip(order, map(int, found.group(1, 2, 3)), strict=True))
    clock = (int(part or 0) for part in found.group(4, 5, 6))
    try:
        date = datetime(parts["YYYY"], parts["MM"], parts["DD"], *clock, int((found[7] or "").ljust(6, "0")[:6]))
    except ValueError as error:
        sys.exit(f"`{text}` is not a date: {error}")
    if found[8]:
        offset = timedelta(hours=int(found[9]), minutes=int(found[10]))
        date = (date - offset if found[8] == "+" else date + offset).replace(tzinfo=UTC)
    else:
        zone = UTC if re.search("[a-z]$", text.strip(), re.IGNORECASE) else ZoneInfo(data.get("time_zone") or "UTC")
        date = date.replace(tzinfo=zone)
    return (date - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def number(text: str, style: dict[str, Any]) -> float:
    """A number, with the separators and the unit of its column."""
    value = text.strip().replace("\u2212", "-")
    if is_missing(value):
        return float("nan")
    body = value.replace(style.get("currency") or "%", "").replace("%", "").strip("() ").strip()
    is_negative = value.startswith("(") or body.startswith("-") or body.endswith("-")
    body = re.sub(r"[\s’]", lambda space: "'" if space[0] == "’" else " ", body.strip("-+ "))
    thousands, decimal = style.get("thousands") or "_", style.get("decimal", ".")
    body = body.replace(thousands, "").replace(".", "?" if decimal == "," else ".").replace(decimal, ".")
    try:
        return -float(body) if is_negative else float(body)
    except ValueError:
        sys.exit(f"`{text}` is not a number like those of training")


def integer(text: str) -> int:
    """An integer; 7.0 is one too."""
    if is_missing(text):
        return MISSING
    value = text.strip().replace("\u2212", "-").removesuffix(".0")
    return int(value) if re.fullmatch("[+-]?[0-9]+", value) else sys.exit(f"`{text}` is not an integer")


def boolean(text: str) -> bool:
    """True or false; a boolean cannot be missing."""
    if text.strip().lower() not in ("true", "false"):
        sys.exit(f"`{text}` is neither true nor false")
    return text.strip().lower() == "true"


def reader(column: Any) -> tuple[Callable[[str], Any], Any]:
    """How a value of an input is read from the text of a cell, and the type of its array."""
    name = column.name
    of_date = next((date for date in dates if name in (date, f"previous_{date}", f"first_{date}")), None)
    match column.type:
        case "tensor(int64)" if of_date is not None:
            return lambda text: instant(text, date_formats.get(of_date, "")), np.int64
        case "tensor(int64)":
            return integer, np.int64
        case "tensor(float)" | "tensor(double)":
            style = styles.get(dates.get(of_date or "", name), {})
            return lambda text: number(text, style), np.float32 if column.type == "tensor(float)" else np.float64
        case "tensor(bool)":
            return boolean, np.bool_
        case _ if True in vocabularies.get(name, []):  # a boolean that may be missing
            return lambda text: "" if is_missing(text) else str(boolean(text)).lower(), object
        case _:
            return str, object


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a file, as text by column; rows without a value are left out."""
    encoding = "utf-8" if is_of_characters else "utf-8-sig"
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding=encoding) as file:
        if is_of_characters and not re.search(r"\.csv(\.gz)?$", path.name):
            keys_of_text = {sequence_column: str(paths.index(path))}
            yield from ({**keys_of_text, position_column: str(n), "char": c} for n, c in enumerate(file.read()))
            return
        if table.get("lists_items"):
            for line in file:
                user, *items = line.split() or [""]
                yield from ({"user": user, "item": item} for item in items)
            return
        first = file.readline()
        separators = (table.get("separator", ","), ",")
        strip = str.strip if table.get("has_spaces") else str
        headers = [[strip(name) for name in next(csv.reader([first], delimiter=mark))] for mark in separators]
        number = next((number for number, names in enumerate(headers) if {*keys} <= {*names}), 0)
        names = headers[number]
        lines = csv.reader(file, delimiter=separators[number])
        if table.get("column_names") and names != table["column_names"]:
            names = table["column_names"]
            lines = csv.reader(chain([first], file), delimiter=separators[number])
        elif lacking := {*keys, *(dates.get(column.name, column.name) for column in columns)} - {*names}:
            sys.exit(f"{path.name} has no column {', '.join(sorted(lacking))}: it has {', '.join(names)}")
        for values in lines:
            if any(map(strip, values)):
                yield dict(zip(names, map(strip, values), strict=True))


model_path, events_path, predictions_path = (Path(path) for path in sys.argv[1:])
model = onnxruntime.InferenceSession(str(model_path))
inputs_of_model = {column.name: column for column in model.get_inputs() if column.name != "n_events"}
if ahead := [
    name for name in inputs_of_model if name.startswith("future_") and name[len("future_") :] in inputs_of_model
]:
    sys.exit(f"the model takes the steps to come ({', '.join(ahead)}), which this script does not make")
columns = [column for column in inputs_of_model.values() if len(column.shape) == 2]
is_of_characters = [column.name for column in columns] == ["char"]  # then a file is a text
length = columns[0].shape[1]  # events that the model sees at once
names = [output.name for output in model.get_outputs()]

properties = model.get_modelmeta().custom_metadata_map
data = json.loads(properties["data"])  # how the table was called in training
reading = json.loads(properties.get("reading", "{}"))  # how its values were written
styles = reading.get("numbers", {})  # of columns whose numbers are not like 1234.5
vocabularies = json.loads(properties.get("vocabularies", "{}"))
table = reading.get("table", {})  # how its files were written, and which keys it did not have
has_sequences, has_positions = table.get("has_sequences", True), table.get("has_positions", True)
sequence_column, position_column = data["sequence_column"], data["position_column"]
if (data.get("observation") or {}).get("start") is not None:
    sys.exit("sequences begin with an event START (observation), which this script does not add: use sequifier infer")
keys = [name for name, is_there in ((sequence_column, has_sequences), (position_column, has_positions)) if is_there]
# Dates that the model computes columns from: input -> column of the table. Positions are called `position`.
dates = {"position": position_column} if "position" in inputs_of_model else {}
dates |= {name: name for name in data.get("time_features", {}) if name in inputs_of_model}
date_formats = {"position": reading.get("dates", ""), **data.get("date_formats", {})}

paths = [events_path]
if events_path.is_dir():
    paths = sorted(path for path in events_path.rglob("*") if re.search(r"\.(csv|tsv|txt)(\.gz)?$", path.name))
sequences: dict[str, list[dict[str, str]]] = {}
for path in paths:
    for row in rows_of(path):
        sequences.setdefault(row[sequence_column] if has_sequences else "1", []).append(row)
if table.get("drop_duplicates"):  # identical rows are one event
    for key, rows in sequences.items():
        sequences[key] = list({tuple(sorted(row.items())): row for row in rows}.values())
if has_positions:
    style = styles.get(position_column, {})
    read_number = partial(number, style=style)
    types: dict[str, Callable[[str], float]] = {"Int64": read_number if style else integer, "Float64": read_number}
    position = types.get(data["position_type"], lambda text: instant(text, date_formats["position"]))
    for events in sequences.values():  # equal positions stay in order
        events.sort(key=lambda row: position(row[position_column]))
ids = sorted(sequences, key=integer if data["sequence_type"] == "Int64" else str)

shown = [name for name in names if name.endswith(("_label", "_value"))]
sizes = {output.name: output.shape[2] if len(output.shape) == 3 else 0 for output in model.get_outputs()}  # steps
heads = [head for name in shown for head in ([f"{name}_{n + 1}" for n in range(sizes[name])] or [name])]
readers = {name: reader(column) for name, column in inputs_of_model.items()}
with predictions_path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow([sequence_column, *heads])
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        histories = [sequences[name][-length:] for name in batch]
        inputs = {"n_events": np.array([len(history) for history in histories], np.int64)}
        for column in columns:
            read, dtype = readers[column.name]
            name = dates.get(column.name, column.name)
            values = np.full((len(batch), length), "" if dtype is object else 0, dtype)
            for place, history in zip(values, histories, strict=True):  # short histories stand at the right end
                place[length - len(history) :] = [read(row[name]) for row in history]
            inputs[column.name] = values
        for name, column in dates.items():  # of the event before the window, and of the first one
            for place, label in ((-length - 1, f"previous_{name}"), (-sys.maxsize, f"first_{name}")):
                if label in inputs_of_model:
                    read, dtype = readers[label]
                    rows = [sequences[key][max(place, -len(sequences[key]))] for key in batch]
                    inputs[label] = np.array([read(row[column]) for row in rows], dtype)
        outputs = dict(zip(names, model.run(None, inputs), strict=True))
        # Of `prediction_length` outputs, the last one is the event that nobody has seen; a label is a single one.
        # A forecast of several steps (prediction_horizon) has a column for each.
        last = [outputs[name].reshape(len(batch), -1)[:, -max(sizes[name], 1) :].T.tolist() for name in shown]
        writer.writerows(zip(batch, *(step for steps in last for step in steps), strict=True))
