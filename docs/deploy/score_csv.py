"""Scores a whole CSV file with polars: the next event of each sequence, and how sure the model is of it.

A forecast of several steps (prediction_horizon) has a list for each output, with all steps.

python score_csv.py models/sequifier-NAME-best-end-to-end-5.onnx events.csv scores.parquet
"""

import json
import sys

import onnxruntime
import polars as pl

BATCH = 4096
NUMBERS = ("Int64", "Float64")
MOMENT = r"^(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?)(.*)$"  # and its time zone
TYPES = {  # type of an input -> type of the column, of its array, and what stands for a missing value; padding too
    "tensor(string)": (pl.String, "object", ""),
    "tensor(int64)": (pl.Int64, "int64", -(2**63)),
    "tensor(float)": (pl.Float64, "float32", float("nan")),
    "tensor(double)": (pl.Float64, "float64", float("nan")),
    "tensor(bool)": (pl.Boolean, "bool", False),  # for padding alone: a boolean cannot be missing
}

model_path, events_path, scores_path = sys.argv[1:]
model = onnxruntime.InferenceSession(model_path)
columns = {column.name: column for column in model.get_inputs() if column.name != "n_events"}
if dated := [name for name, column in columns.items() if len(column.shape) == 1]:
    sys.exit(f"the model takes dates ({', '.join(dated)}): predict_csv.py makes its inputs")
if ahead := [name for name in columns if name.startswith("future_") and name.removeprefix("future_") in columns]:
    sys.exit(f"the model takes the steps to come ({', '.join(ahead)}), which this script does not make")
length = next(iter(columns.values())).shape[1]
names = [output.name for output in model.get_outputs()]
has_steps = any(len(each.shape) == 3 for each in model.get_outputs() if each.name.endswith(("_label", "_value")))
properties = model.get_modelmeta().custom_metadata_map
data = json.loads(properties["data"])
sequence, position = data["sequence_column"], data["position_column"]
if (data.get("observation") or {}).get("start") is not None:
    sys.exit("sequences begin with an event START (observation), which this script does not add: use sequifier infer")
reading = json.loads(properties.get("reading", "{}"))
table = reading.get("table", {})
if others := sorted({*table} - {"repeated_positions", "drop_duplicates"}):
    sys.exit(f"the table of training was no plain CSV file ({', '.join(others)}): predict_csv.py reads such tables")
styles = reading.get("numbers", {})
if styled := [name for name in (position, *columns) if name in styles]:
    sys.exit(f"{', '.join(styled)}: training read numbers like 1.234,50 there, and this script reads 1234.50 alone")

types = {name: TYPES[column.type][0] for name, column in columns.items()}
keys = {sequence: data["sequence_type"], position: data["position_type"]}
types_of_keys = {name: getattr(pl, dtype) if dtype in NUMBERS else pl.String for name, dtype in keys.items()}
events = pl.scan_csv(events_path, schema_overrides=types | types_of_keys)
if table.get("drop_duplicates"):
    events = events.unique(keep="first", maintain_order=True)
events = events.select(sequence, position, *columns)
if keys[position] not in NUMBERS:  # dates in ISO 8601 sort as text, those that are written otherwise do not
    zones = pl.col(position).str.extract(MOMENT, 2)
    if events.select(zones.has_nulls() | (zones.n_unique() > 1)).collect().item():
        sys.exit(f"{position}: write all dates like 2013-01-31 or 2013-01-31T17:05:00, and in one time zone")
    events = events.with_columns(pl.col(position).str.extract(MOMENT, 1).str.replace("T", " "))
booleans = [name for name, dtype in types.items() if dtype == pl.Boolean]
if booleans and events.select(pl.col(booleans).has_nulls()).collect().transpose().to_series().any():
    sys.exit(f"{', '.join(booleans)}: a boolean cannot be missing")
missing = length - pl.col("n_events")
histories = (
    events.with_columns(pl.col(name).fill_null(TYPES[column.type][2]) for name, column in columns.items())
    .sort(sequence, position, maintain_order=True)
    .group_by(sequence, maintain_order=True)
    .agg(pl.len().clip(upper_bound=length).cast(pl.Int64).alias("n_events"), pl.col(*columns).tail(length))
    # Short histories stand at the right end of their row.
    .with_columns(
        pl.concat_list(pl.lit(TYPES[column.type][2]).cast(types[name]).repeat_by(missing), name).alias(name)
        for name, column in columns.items()
    )
    .collect()
)

parts = []
for batch in histories.iter_slices(BATCH):
    inputs = {"n_events": batch["n_events"].to_numpy()}
    for name, column in columns.items():
        values = batch[name].explode().to_numpy().astype(TYPES[column.type][1])
        inputs[name] = values.reshape(-1, length)
    outputs = dict(zip(names, model.run(None, inputs), strict=True))
    scores = {sequence: batch[sequence]}
    for name, values in outputs.items():
        # Of `prediction_length` events, the last one is what nobody has seen; a label is a single value.
        if name.endswith(("_label", "_value")):
            scores[name] = (values[:, -1] if has_steps else values.reshape(len(batch), -1)[:, -1]).tolist()
            continue
        last = values[:, -1] if has_steps else values.reshape(len(batch), -1, values.shape[-1])[:, -1]
        is_of_top_k = name.removesuffix("probabilities") + "labels" in names
        if name.endswith("_probabilities") and not is_of_top_k:
            name, last = name.replace("_probabilities", "_probability"), last.max(-1)
        scores[name] = last.tolist()
    parts.append(pl.DataFrame(scores))
pl.concat(parts).write_parquet(scores_path)
