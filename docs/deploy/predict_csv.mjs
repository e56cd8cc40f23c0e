// The next event of each sequence of a CSV file, in JavaScript. Needs onnxruntime-node alone:
//   npm install --ignore-scripts onnxruntime-node
//   node predict_csv.mjs MODEL-end-to-end.onnx EVENTS.csv PREDICTIONS.csv SEQUENCE_COLUMN POSITION_COLUMN
// The table is plain: no quotes, no separators inside values, numbers like 1234.5.
import { readFileSync, writeFileSync } from "node:fs";
import * as ort from "onnxruntime-node";

const BATCH = 256;
const number = (text) => {
  const value = text.trim() === "" ? NaN : Number(text); // an empty cell is a missing value
  if (Number.isNaN(value) && !/^\s*(nan)?\s*$/i.test(text)) throw new Error(`"${text}" is not a number like 1234.5`);
  return value;
};
const boolean = (text) => {
  if (!/^(true|false)$/i.test(text)) throw new Error(`"${text}" is neither true nor false`);
  return text.toLowerCase() === "true" ? 1 : 0;
};
// Microseconds since 1970 of a date in ISO 8601; without an offset it is UTC, so local times need theirs.
const instant = (text) => {
  if (text === "") return -(2n ** 63n);
  const parts = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,6}))?)?(Z|[+-]\d\d:\d\d)?$/.exec(text);
  if (!parts) throw new Error(`"${text}": write all dates like 2013-01-31 or 2013-01-31T17:05:00+02:00`);
  const [, date, time = "00:00", fraction = "", zone = data.time_zone ? "" : "Z"] = parts;
  if (!zone) throw new Error(`"${text}" is local time of ${data.time_zone}: write all dates with their offset from UTC`);
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

// What the file knows of the table of training. onnxruntime-node does not show the properties of a model: they are the
// fields 14 of the protobuf message that the file is.
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1, more = true; more; factor *= 128) {
      const byte = bytes[at++];
      more = byte > 127;
      value += (byte % 128) * factor;
    }
    return value;
  };
  while (at < bytes.length) {
    const [tag, value] = [varint(), varint()];
    if (tag % 8 !== 2) continue; // a number; all other fields are bytes
    yield [tag >> 3, bytes.subarray(at, at + value)];
    at += value;
  }
}
const properties = {};
for (const [number, entry] of fields(readFileSync(modelPath))) {
  if (number !== 14) continue;
  const [key, value] = [...fields(entry)].map(([, bytes]) => new TextDecoder().decode(bytes));
  properties[key] = value;
}
const data = JSON.parse(properties.data);
const reading = JSON.parse(properties.reading ?? "{}");
const table = reading.table ?? {};
const understood = ["separator", "drop_duplicates", "repeated_positions"];
const others = Object.keys(table).filter((name) => !understood.includes(name));
if (others.length) throw new Error(`training read another kind of table (${others}), as predict_csv.py does`);
if (data.observation && data.observation.start !== null)
  throw new Error("sequences begin with an event START (observation), which this script does not add: use sequifier infer");
const columns = model.inputMetadata.filter(({ shape }) => shape.length === 2);
// Models with time features take dates: `position`, and of single events `previous_position`, `first_position`, ...
const single = model.inputMetadata.filter(({ name, shape }) => name !== "n_events" && shape.length === 1);
const takesPositions = single.some(({ name }) => name === "first_position");
const inputs = new Set(model.inputNames);
const ahead = model.inputNames.filter((name) => name.startsWith("future_") && inputs.has(name.slice("future_".length)));
if (ahead.length) throw new Error(`the model takes the steps to come (${ahead}), which this script does not make`);
const columnOf = (name) => (takesPositions && name === "position" ? positionColumn : name);
const length = columns[0].shape[1]; // events that the model sees at once

const styled = [positionColumn, ...columns.map(({ name }) => name)].filter((name) => name in (reading.numbers ?? {}));
if (styled.length) throw new Error(`${styled}: training read numbers like 1.234,50 there, and this script reads 1234.5 alone`);

const text = readFileSync(eventsPath, "utf8").replace(/^\uFEFF/, "").trim();
if (text.includes('"')) throw new Error("the table has quotes, which predict_csv.py reads");
const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
const separator = table.separator && lines[0].includes(table.separator) ? table.separator : ",";
// Identical rows are one event, where they were in training.
const [header, ...rows] = (table.drop_duplicates ? [...new Set(lines)] : lines).map((line) => line.split(separator));
const odd = rows.find((row) => row.length !== header.length);
if (odd) throw new Error(`a row has ${odd.length} values, and the table ${header.length} columns: ${odd}`);
const at = Object.fromEntries(header.map((name, index) => [name, index]));
const needed = [sequenceColumn, positionColumn, ...columns.map(({ name }) => columnOf(name))];
const lacking = needed.filter((name) => !(name in at));
if (lacking.length) throw new Error(`the table has no column ${lacking}: it has ${header}`);
const sequences = new Map();
for (const row of rows) {
  const id = row[at[sequenceColumn]];
  if (!sequences.has(id)) sequences.set(id, []);
  sequences.get(id).push(row);
}
const positions = rows.map((row) => row[at[positionColumn]]);
const isNumber = positions.every((text) => /^-?\d+(\.\d+)?$/.test(text));
// Dates in ISO 8601 sort as text, those that are written otherwise do not.
const MOMENT = /^(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?)(.*)$/; // and its time zone
const zones = new Set(positions.map((text) => MOMENT.exec(text)?.[2]));
if (!isNumber && !takesPositions && (zones.size > 1 || zones.has(undefined)))
  throw new Error("write all dates like 2013-01-31 or 2013-01-31T17:05:00, and in one time zone");
const moment = (text) => MOMENT.exec(text)[1].replace("T", " ");
const comparable = isNumber ? Number : takesPositions ? instant : moment;
const key = (row) => comparable(row[at[positionColumn]]);
for (const events of sequences.values()) // equal positions stay in order
  events.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));

const shown = model.outputNames.filter((name) => /_(label|value)$/.test(name));
// A forecast of several steps (prediction_horizon) has a column for each.
const steps = Object.fromEntries(model.outputMetadata.map(({ name, shape }) => [name, shape.length === 3 ? shape[2] : 0]));
const heads = shown.flatMap((name) => (steps[name] ? [...Array(steps[name]).keys()].map((n) => `${name}_${n + 1}`) : [name]));
const predictions = [[sequenceColumn, ...heads].join(",")];
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
  for (const { name, type } of single) {
    const [padded, read] = VALUES[type];
    const values = padded(batch.length);
    const [kind, column] = [name.split("_", 1)[0], columnOf(name.slice(name.indexOf("_") + 1))];
    batch.forEach((id, index) => {
      const events = sequences.get(id);
      values[index] = read(events[kind === "first" ? 0 : Math.max(events.length - length - 1, 0)][at[column]]);
    });
    given[name] = new ort.Tensor(type, values, [batch.length]);
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
    predictions.push([id, ...values].join(","));
  });
}
writeFileSync(predictionsPath, predictions.join("\n") + "\n");
