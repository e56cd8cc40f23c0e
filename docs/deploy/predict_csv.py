"""The next event of each sequence of a CSV file. Needs onnxruntime and numpy alone: the model encodes and decodes.

python predict_csv.py models/sequifier-NAME-best-end-to-end-5.onnx events.csv predictions.csv
"""

import csv
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import onnxruntime

BATCH = 256
MOMENT = re.compile(r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?)(.*)")  # and its time zone


def boolean(text: str) -> bool:
    """True or false; a boolean cannot be missing."""
    if text.lower() not in ("true", "false"):
        sys.exit(f"`{text}` is neither true nor false")
    return text.lower() == "true"


def moment(text: str) -> str:
    """A date or datetime in ISO 8601: it sorts as text, which one that is written otherwise does not."""
    found = MOMENT.fullmatch(text)
    zones.add(found[2] if found else text)
    if not found or len(zones) > 1:
        sys.exit(f"`{text}`: write all dates like 2013-01-31 or 2013-01-31T17:05:00, and in one time zone")
    return found[1].replace("T", " ")


def instant(text: str) -> int:
    """Microseconds since 1970 of a date in ISO 8601; one without an offset from UTC is local time of training."""
    if not text:
        return -(2**63)
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        sys.exit(f"`{text}`: write all dates like 2013-01-31 or 2013-01-31T17:05:00+02:00")
    if date.tzinfo is None:
        date = date.replace(tzinfo=ZoneInfo(data.get("time_zone") or "UTC"))
    return (date - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


VALUES = {  # type of an input -> how a value is read from the text of a cell, which may be empty; type of the array
    "tensor(string)": (str, object),
    "tensor(int64)": (lambda text: int(text or -(2**63)), np.int64),
    "tensor(float)": (lambda text: float(text or "nan"), np.float32),
    "tensor(double)": (lambda text: float(text or "nan"), np.float64),
    "tensor(bool)": (boolean, np.bool_),
}

model_path, events_path, predictions_path = (Path(path) for path in sys.argv[1:])
model = onnxruntime.InferenceSession(str(model_path))
inputs_of_model = {column.name: column for column in model.get_inputs() if column.name != "n_events"}
columns = [column for column in inputs_of_model.values() if len(column.shape) == 2]
length = columns[0].shape[1]  # events that the model sees at once
names = [output.name for output in model.get_outputs()]

properties = model.get_modelmeta().custom_metadata_map
data = json.loads(properties["data"])  # how the table was called in training
# Dates that the model computes columns from: input -> column of the table. Positions are called `position`.
dates = {"position": data["position_column"]} if "position" in inputs_of_model else {}
dates |= {name: name for name in data.get("time_features", {}) if name in inputs_of_model}
styles = json.loads(properties.get("reading", "{}")).get("numbers", {})  # of numbers like 1.234,50 in that table
if styled := [column.name for column in columns if column.name in styles]:
    sys.exit(f"{', '.join(styled)}: training read numbers like 1.234,50 there, and this script reads 1234.50 alone")
sequences: dict[str, list[dict[str, str]]] = {}
with events_path.open(newline="", encoding="utf-8") as file:
    for row in csv.DictReader(file):
        sequences.setdefault(row[data["sequence_column"]], []).append(row)
zones: set[str] = set()
position = int if data["position_type"] == "Int64" else instant if "position" in dates else moment
for events in sequences.values():
    events.sort(key=lambda row: position(row[data["position_column"]]))
ids = sorted(sequences, key=int if data["sequence_type"] == "Int64" else str)

shown = [name for name in names if name.endswith(("_label", "_value"))]
with predictions_path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow([data["sequence_column"], *shown])
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        histories = [sequences[name][-length:] for name in batch]
        inputs = {"n_events": np.array([len(history) for history in histories], np.int64)}
        for column in columns:
            read, dtype = VALUES[column.type]
            name = dates.get(column.name, column.name)
            read = instant if column.name in dates else read
            values = np.full((len(batch), length), "" if dtype is object else 0, dtype)
            for place, history in zip(values, histories, strict=True):  # short histories stand at the right end
                place[length - len(history) :] = [read(row[name] or "") for row in history]
            inputs[column.name] = values
        for name, column in dates.items():  # of the event before the window, and of the first one
            for place, label in ((-length - 1, f"previous_{name}"), (-sys.maxsize, f"first_{name}")):
                if label in inputs_of_model:
                    rows = [sequences[key][max(place, -len(sequences[key]))] for key in batch]
                    inputs[label] = np.array([instant(row[column] or "") for row in rows], np.int64)
        outputs = dict(zip(names, model.run(None, inputs), strict=True))
        # Of `prediction_length` outputs, the last one is the event that nobody has seen; a label is a single one.
        last = [outputs[name].reshape(len(batch), -1)[:, -1].tolist() for name in shown]
        writer.writerows(zip(batch, *last, strict=True))
