"""What follows `for i in range (`? Needs onnxruntime and numpy alone: what the model knows stands in its file."""

import csv
import json
from pathlib import Path

import numpy as np
import onnxruntime

with Path("logs/python-search/results.csv").open() as results:
    best = next(row for row in csv.DictReader(results) if row["model_path"])
model = onnxruntime.InferenceSession(best["model_path"])
stored = {key: json.loads(text) for key, text in model.get_modelmeta().custom_metadata_map.items() if text[0] in "{["}
labels, scale = stored["vocabularies"], stored["statistics"]

events = {
    "kind": ["NEWLINE", "for", "NAME", "in", "NAME", "("],
    "length": [1, 3, 1, 2, 5, 1],
    "indentation": [0, 0, 0, 0, 0, 0],
}
for _ in range(9):
    inputs = {"n_events": np.array([len(events["kind"])])}
    for column in (column for column in model.get_inputs() if column.name in events):
        window = np.zeros((1, column.shape[1]), np.int64 if column.name in labels else np.float32)
        for step, value in zip(range(-len(events["kind"]), 0), events[column.name], strict=True):
            if column.name in labels:  # a category: its id is its place in the list, counted from 1
                window[0, step] = labels[column.name].index(value) + 1
            else:
                window[0, step] = (value - scale[column.name]["mean"]) / scale[column.name]["std"]
        inputs[column.name] = window
    probabilities, length = model.run(["kind_probabilities", "length_value"], inputs)
    events["kind"].append(labels["kind"][probabilities.argmax() - 1])
    events["length"].append(length.item() * scale["length"]["std"] + scale["length"]["mean"])
    events["indentation"].append(events["indentation"][-1] + (events["kind"][-1] == "INDENT"))

print("\nAfter `for i in range (` the best model expects:", *events["kind"][6:])
