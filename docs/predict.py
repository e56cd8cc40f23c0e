"""What follows `for i in range (`? Needs onnxruntime and numpy alone: what the model knows stands in its file."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

if sys.argv[1:]:
    path = sys.argv[1]
else:
    with Path("logs/python-search/results.csv").open() as results:
        finished = [run for run in csv.DictReader(results) if run["state"] == "finished"]
    path = min(finished, key=lambda run: float(run["best_val_loss"]))["model_path"]
model = onnxruntime.InferenceSession(path)
stored = model.get_modelmeta().custom_metadata_map
labels, scale = json.loads(stored["vocabularies"]), json.loads(stored["statistics"])

events = {"kind": ["for", "NAME", "in", "NAME", "("], "length": [3, 1, 2, 5, 1], "indentation": [0] * 5}
chances = []
for _ in range(5):
    inputs = {"n_events": np.array([len(events["kind"])])}
    for column in (entry for entry in model.get_inputs() if entry.name in events):
        if column.name in labels:  # a category: its id is its place in the list, counted from 1
            row = np.array([labels[column.name].index(value) + 1 for value in events[column.name]])
        else:
            row = (np.array(events[column.name]) - scale[column.name]["mean"]) / scale[column.name]["std"]
        padded = np.pad(row, (column.shape[1] - len(row), 0))[None]
        inputs[column.name] = padded.astype(np.int64 if column.name in labels else np.float32)
    probabilities, length = model.run(["kind_probabilities", "length_value"], inputs)
    chances.append(probabilities.max())
    events["kind"].append(labels["kind"][probabilities.argmax() - 1])
    events["length"].append(float(length.item() * scale["length"]["std"] + scale["length"]["mean"]))
    block = {"INDENT": 1, "DEDENT": -1}.get(events["kind"][-1], 0)
    events["indentation"].append(events["indentation"][-1] + block)

print(
    f"After `for i in range (` the model expects {events['kind'][5]} ({chances[0]:.0%} sure, about "
    f"{events['length'][5]:.0f} characters), then {' '.join(events['kind'][6:])}."
)
