// The next event of each sequence of a CSV file, in JavaScript. Needs onnxruntime-node alone:
//   npm install --ignore-scripts onnxruntime-node
//   node predict_csv.mjs MODEL-end-to-end.onnx EVENTS.csv PREDICTIONS.csv SEQUENCE_COLUMN POSITION_COLUMN
// The table is plain: no quotes, no commas inside values, numbers like 1234.5 whatever the table of training has.
import { readFileSync, writeFileSync } from "node:fs";
import * as ort from "onnxruntime-node";

const BATCH = 256;
const number = (text) => (text === "" ? NaN : Number(text)); // an empty cell is a missing value
const boolean = (text) => {
  if (!/^(true|false)$/i.test(text)) throw new Error(`"${text}" is neither true nor false`);
  return text.toLowerCase() === "true" ? 1 : 0;
};
// Microseconds since 1970 of a date in ISO 8601; without an offset it is UTC, so local times need theirs.
const instant = (text) => {
  if (text === "") return -(2n ** 63n);
  const parts = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,6}))?)?(Z|[+-]\d\d:\d\d)?$/.exec(text);
  if (!parts) throw new Error(`"${text}": write all dates like 2013-01-31 or 2013-01-31T17:05:00+02:00`);
  const [, date, time = "00:00", fraction = "", zone = "Z"] = parts;
  return BigInt(Date.parse(`${date}T${time}${zone}`)) * 1000n + BigInt(fraction.padEnd(6, "0"));
};
const integer = (text) => (/^\d{4}-\d\d-\d\d/.test(text) ? instant(text) : BigInt(text));
// type of an input -> an array of n paddings, and how a value is read from the text of a cell
const VALUES = {
  string: [(n) => new Array(n).fill(""), (text) => text],
  int64: [(n) => new BigInt64Array(n), (text) => (text === "" ? -(2n ** 63n) : integer(text))],
  float32: [(n) => new Float32Array(n), number],
  float64: [(n) => new Float64Array(n), number],
  bool: [(n) => new Uint8Array(n), boolean],
};

const [modelPath, eventsPath, predictionsPath, sequenceColumn, positionColumn] = process.argv.slice(2);
const model = await ort.InferenceSession.create(modelPath);
const columns = model.inputMetadata.filter(({ shape }) => shape.length === 2);
// Models with time features take dates: `position`, and of single events `previous_position`, `first_position`, ...
const single = model.inputMetadata.filter(({ name, shape }) => name !== "n_events" && shape.length === 1);
const takesPositions = single.some(({ name }) => name === "first_position");
const inputs = new Set(model.inputNames);
const ahead = model.inputNames.filter((name) => name.startsWith("future_") && inputs.has(name.slice("future_".length)));
if (ahead.length) throw new Error(`the model takes the steps to come (${ahead}), which this script does not make`);
const columnOf = (name) => (takesPositions && name === "position" ? positionColumn : name);
const length = columns[0].shape[1]; // events that the model sees at once

const [header, ...rows] = readFileSync(eventsPath, "utf8").trim().split(/\r?\n/).map((line) => line.split(","));
const at = Object.fromEntries(header.map((name, index) => [name, index]));
const sequences = new Map();
for (const row of rows) {
  const id = row[at[sequenceColumn]];
  if (!sequences.has(id)) sequences.set(id, []);
  sequences.get(id).push(row);
}
const positions = rows.map((row) => row[at[positionColumn]]);
const isNumber = positions.every((text) => /^-?\d+$/.test(text));
// Dates in ISO 8601 sort as text, those that are written otherwise do not.
const MOMENT = /^(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?)(.*)$/; // and its time zone
const zones = new Set(positions.map((text) => MOMENT.exec(text)?.[2]));
if (!isNumber && !takesPositions && (zones.size > 1 || zones.has(undefined)))
  throw new Error("write all dates like 2013-01-31 or 2013-01-31T17:05:00, and in one time zone");
const moment = (text) => MOMENT.exec(text)[1].replace("T", " ");
const comparable = takesPositions ? instant : isNumber ? Number : moment;
const key = (row) => comparable(row[at[positionColumn]]);
for (const events of sequences.values()) events.sort((a, b) => (key(a) < key(b) ? -1 : 1));

const shown = model.outputNames.filter((name) => /_(label|value)$/.test(name));
// A forecast of several steps (prediction_horizon) has a column for each.
const steps = Object.fromEntries(model.outputMetadata.map(({ name, shape }) => [name, shape.length === 3 ? shape[2] : 0]));
const heads = shown.flatMap((name) => (steps[name] ? [...Array(steps[name]).keys()].map((n) => `${name}_${n + 1}`) : [name]));
const lines = [[sequenceColumn, ...heads].join(",")];
const ids = [...sequences.keys()];
for (let start = 0; start < ids.length; start += BATCH) {
  const batch = ids.slice(start, start + BATCH);
  const histories = batch.map((id) => sequences.get(id).slice(-length));
  const counts = BigInt64Array.from(histories, (history) => BigInt(history.length));
  const given = { n_events: new ort.Tensor("int64", counts, [batch.length]) };
  for (const { name, type } of columns) {
    const [padded, read] = VALUES[type];
    const values = padded(batch.length * length); // short histories stand at the right end of their row
    histories.forEach((history, index) => {
      const first = (index + 1) * length - history.length;
      history.forEach((row, step) => (values[first + step] = read(row[at[columnOf(name)]])));
    });
    given[name] = new ort.Tensor(type, values, [batch.length, length]);
  }
  for (const { name } of single) {
    const [kind, column] = [name.split("_", 1)[0], columnOf(name.slice(name.indexOf("_") + 1))];
    const dates = batch.map((id) => {
      const events = sequences.get(id);
      return instant(events[kind === "first" ? 0 : Math.max(events.length - length - 1, 0)][at[column]]);
    });
    given[name] = new ort.Tensor("int64", BigInt64Array.from(dates), [batch.length]);
  }
  const outputs = await model.run(given, shown);
  batch.forEach((id, index) => {
    // Of `prediction_length` outputs, the last one is the event that nobody has seen; a label is a single one.
    const values = shown.flatMap((name) => {
      const { data, type } = outputs[name];
      const end = (index + 1) * (data.length / batch.length);
      const last = [...data.slice(end - Math.max(steps[name], 1), end)];
      return type === "bool" ? last.map((value) => value === 1) : last;
    });
    lines.push([id, ...values].join(","));
  });
}
writeFileSync(predictionsPath, lines.join("\n") + "\n");
