"""The tables of one model: predictions in original labels and units, probabilities, or embeddings; the evaluation."""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequifier.artifacts.events import POSITION, SEQUENCE, Events, ends_with_end, is_known, scale_at
from sequifier.artifacts.transforms import Scale
from sequifier.callbacks import Log
from sequifier.config.architecture import Target
from sequifier.config.catalogue.distributions import LEVELS, quantile_column
from sequifier.config.inference import InferConfig
from sequifier.config.scoring import Scoring
from sequifier.errors import DataError
from sequifier.inference.check import Job
from sequifier.inference.clock import as_positions
from sequifier.inference.compute import Chunk
from sequifier.inference.decode import label_series, probability_headers
from sequifier.inference.evaluate import (
    Ends,
    LabelPredictions,
    class_predictions,
    predictions_of_distribution,
    value_predictions,
)
from sequifier.inference.evaluation_table import EvaluationTable
from sequifier.inference.forecast_dates import ORIGIN, STEP, positions_of
from sequifier.inference.naive import naive_errors_of
from sequifier.inference.ranking import Histories, ranked, ranking_of
from sequifier.inference.tables import Table, file_name
from sequifier.inference.top_classes import top_classes, unseen
from sequifier.inference.v1_windows import SUBSEQUENCE
from sequifier.metrics.predictions import SCORED, AtPositions, Predictions, Sums, ValuePredictions, at_positions
from sequifier.metrics.scoring import Scored, scored_targets
from sequifier.metrics.steps import StepSums

SCENARIO = "scenario"


class Outputs:
    """Writes the tables of one model, and evaluates its predictions.

    Args:
        config: write_format, map_to_id and output_probabilities are used.
        job: the model.
        files: the tables get their names when it is closed.
        log: receives lines for the user.

    Attributes:
        main: the table of predictions or embeddings.
        probabilities: categorical target -> table.
        top: categorical target -> table of its most probable classes.
        evaluation: the table of metrics by value and step; None where none is requested.
        n_rows: rows of `main` so far.
        n_irregular: sequences whose forecasts have no positions, because their events are not regular.
    """

    def __init__(self, config: InferConfig, job: Job, files: ExitStack, log: Log) -> None:
        self._config, self._job, self.n_rows = config, job, 0
        self._horizon = horizon = job.request.horizon
        self._shard, self._is_empty = -1, False
        kind = "embeddings" if job.request.embedding else "predictions"
        outputs = config.root / "outputs"

        def table(kind: str, target: str = "") -> Table:
            shard_name = (lambda shard: f"{job.path.stem}-{shard}-{kind}") if job.source.is_folder else None
            name = f"{job.name}-{file_name(target)}-{kind}" if target else f"{job.name}-{kind}"
            return Table(files, outputs / kind / name, config.write_format, shard_name)

        self.main = table(kind)
        shown = [target.name for target in job.targets if target.kind == "categorical"]
        self.probabilities = {
            name: table("probabilities", name) for name in (shown if config.output_probabilities else ())
        }
        self.top = {name: table("top_k", name) for name in (shown if config.top_k is not None else ())}
        self._by_value = EvaluationTable(config.evaluate_by or (), job)
        self.evaluation = None
        if config.evaluate_by is not None:
            self.evaluation = Table(files, outputs / "predictions" / f"{job.name}-evaluation", config.write_format)
        self._headers = {
            name: probability_headers(
                job.file.vocabularies[name], taken=[SEQUENCE, POSITION, *([ORIGIN, STEP] if horizon > 1 else [])]
            )
            for name in self.probabilities
        }
        self._labels = {name: label_series(job.file.vocabularies[name]) for name in shown}
        self._evaluated = [(target, Sums()) for target in job.source.evaluated]
        self._by_step = {target.name: StepSums(horizon) for target in job.source.evaluated} if horizon > 1 else {}
        self.n_irregular = 0
        self._labelled = {
            target.name: LabelPredictions()
            for target in job.source.evaluated
            if target.of_sequence and target.kind == "categorical"
        }
        chosen = LEVELS if config.quantiles is None else config.quantiles
        self._quantiles = {level: place for place, level in enumerate(LEVELS) if level in chosen}
        self._n_unknown = {target.name: np.zeros(horizon, np.int64) for target in job.source.evaluated}
        self._scored = _scored_targets(job)
        self._ranking, self._histories = ranking_of(config, job, log), Histories(config, job)
        self._still_open, self._errors = job.source.still_open(config), naive_errors_of(config, job)

    def begin(self, shard: int, events: Events) -> None:
        """Begin a part of the events.

        Args:
            shard: number of the file; shards come in order.
            events: of the part.
        """
        if shard != self._shard:
            self._end_shard()
        self._shard, self._events = shard, events
        ids = events.sequence_ids
        text = pl.String if ids.dtype == object else None
        self._sequence_ids = pl.Series(SEQUENCE, ids.tolist() if text else ids, dtype=text)
        isolated = self._config.evaluation_context == "split"  # without the events of earlier splits
        self._begin = events.offsets[:-1] + events.n_context * isolated
        self._last = events.offsets[1:] - 1 - ends_with_end(events, self._job.source.end_ids)
        if self._config.exclude_seen:
            is_whole = self._job.source.is_raw
            self._missing = {name: {} if is_whole else self._histories.missing(events, name) for name in self.top}
        self._candidates = self._histories.candidates(events, self._ranking)
        self._naive = {target: errors.of(ids) for target, errors in self._errors.items()}
        self._is_empty = True

    def add(self, chunk: Chunk) -> None:
        """Write and evaluate a chunk of the part."""
        self.n_rows += len(chunk.row)
        self._is_empty = False
        keys: dict[str, Any] = {SEQUENCE: self._sequence_ids.gather(pl.Series(chunk.sequence))}
        if chunk.embedding is not None:
            keys[SUBSEQUENCE] = chunk.window
        if chunk.scenario is not None:
            keys[SCENARIO] = chunk.scenario
        if chunk.origin is None or chunk.step is None:
            keys[POSITION] = _positions(self._events, self._last, chunk)
        else:
            keys |= {ORIGIN: self._events.positions[chunk.origin], STEP: chunk.step}
            zone = self._job.file.time.time_zone
            keys[POSITION], n_irregular = positions_of(self._events, chunk.sequence, chunk.row, zone)
            self.n_irregular += n_irregular
        if chunk.embedding is not None:
            self.main.add(self._shard, keys | {str(d): values for d, values in enumerate(chunk.embedding.T)})
            return
        decoded = {}
        for target in self._job.targets:
            decoded[target.name] = self._decoded(target, chunk.values[target.name], chunk.sequence)
            if target.name in chunk.quantiles:
                for level, place in self._quantiles.items():
                    of_level = self._decoded(target, chunk.quantiles[target.name][:, place], chunk.sequence)
                    decoded[quantile_column(target.name, level)] = of_level
        for target in self._job.targets:
            if target.of_sequence and target.kind == "categorical":
                # Unknown is never predicted.
                _, *headers = probability_headers(self._job.file.vocabularies[target.name])
                columns = (f"{target.name}={header}" for header in headers)
                decoded |= dict(zip(columns, chunk.probabilities[target.name][:, 1:].T, strict=True))
        self.main.add(self._shard, keys | decoded)
        for name, table in self.probabilities.items():
            table.add(self._shard, keys | dict(zip(self._headers[name], chunk.probabilities[name].T, strict=True)))
        for name, table in self.top.items():
            self._add_top(name, table, keys, chunk)
        self._evaluate(chunk)

    def _add_top(self, name: str, table: Table, keys: dict[str, Any], chunk: Chunk) -> None:
        """Write the most probable classes of a chunk."""
        probabilities = chunk.probabilities[name]
        is_candidate = np.ones(probabilities.shape, dtype=bool)
        if self._config.exclude_seen:
            classes, offsets, missing = self._events.columns[name], self._events.offsets, self._missing[name]
            is_candidate = unseen(classes, offsets, missing, chunk.sequence, chunk.row, probabilities.shape[1])
        assert self._config.top_k is not None
        found = top_classes(probabilities, self._config.top_k, is_candidate)
        of_prediction = {name: pl.Series(values).gather(pl.Series(found.prediction)) for name, values in keys.items()}
        if len(none_left := np.setdiff1d(np.arange(len(chunk.row)), found.prediction)):
            raise DataError(
                f"no class of `{name}` is left: every one of them is among the earlier events",
                where=f"{self._job.source.path}, sequenceId={keys[SEQUENCE][int(none_left[0])]}",
                fix="exclude_seen: false, where items are repeated",
            )
        label = self._labels[name].gather(pl.Series(found.class_id)) if self._config.map_to_id else found.class_id
        rows = {"rank": found.rank, "label": label, "probability": found.probability}
        table.add(self._shard, of_prediction | rows)

    def add_ends(self, chunk: Chunk) -> None:
        """Evaluate the times from the last events to the ends of observation, in which nothing happened.

        Args:
            chunk: predictions of what follows the last event of each sequence.
        """
        n_before = chunk.row - self._begin[chunk.sequence]
        for target, sums in self._evaluated:
            if target.name in self._still_open:
                truth = self._events.columns[self._still_open[target.name]][chunk.row - 1]
                found = self._compared(target, chunk, np.arange(len(chunk.row)), truth, is_open=True)
                sums.add(at_positions(self._scored.get(target.name, Scored()).marked(found, n_before)))

    def _evaluate(self, chunk: Chunk) -> None:
        """Compare the events whose truth is known."""
        stored = np.flatnonzero(chunk.row < self._events.offsets[chunk.sequence + 1])
        n_before = (chunk.row if chunk.origin is None else chunk.origin + 1) - self._begin[chunk.sequence]
        step = np.zeros_like(chunk.row) if chunk.step is None else chunk.step - 1
        for target, sums in self._evaluated:
            rules, column = self._scored.get(target.name, Scored()), self._events.columns[target.name]
            truth = column[chunk.row[stored]]
            unknown = truth == 0
            if rules.min_events > 1:
                unknown &= n_before[stored] >= rules.min_events
            self._n_unknown[target.name] += np.bincount(step[stored][unknown], minlength=self._horizon)
            here = stored[is_known(truth)]
            truth = column[chunk.row[here]]
            found: Predictions
            if target.kind == "real":
                found = self._compared(target, chunk, here, truth)
            else:
                probabilities = chunk.probabilities[target.name][here]
                values = chunk.values[target.name][here]
                found = class_predictions(values, probabilities, truth, of_sequence=target.of_sequence)
                if target.name in self._labelled:
                    self._labelled[target.name].add(found)
                if target.name in self._candidates:
                    found = ranked(self._candidates[target.name], found, probabilities, truth, chunk.row[here])
            parts = at_positions(rules.marked(found, n_before[here]))
            sums.add(parts)
            if target.name in self._by_step:
                self._by_step[target.name].add(parts, AtPositions(np.ones(len(here))), step[here])
            if self.evaluation is not None:
                self._by_value.add(target.name, self._events, chunk, here, stored[unknown], parts)

    def _compared(
        self, target: Target, chunk: Chunk, here: NDArray[np.int64], truth: NDArray[Any], *, is_open: bool = False
    ) -> ValuePredictions:
        """Compare the predictions of a real target at some places of a chunk with the truth.

        With `is_open`, the truth is a lower bound.
        """
        scale, standardised = self._scale(target, chunk.sequence[here]), self._horizon > 1
        values = chunk.values[target.name][here]
        if target.name not in chunk.quantiles:
            found = value_predictions(values, truth, scale, standardised=standardised)
        else:
            observed = target.name in self._still_open
            found = predictions_of_distribution(
                target,
                values,
                chunk.quantiles[target.name][here],
                chunk.parameters[target.name][here],
                truth,
                scale,
                self._job.file.distributions.get(target.name, ()),
                standardised=standardised,
                ends=Ends(is_open, self._job.file.events_per_sequence) if observed else None,
            )
        naive = self._naive.get(target.name)
        return found if naive is None else replace(found, naive=naive[chunk.sequence[here]])

    def finish(self) -> dict[str, dict[str, float]]:
        """Finish the tables; returns target -> metric -> value."""
        self._end_shard()
        for table in (self.main, *self.probabilities.values(), *self.top.values()):
            table.finish()
        if self.evaluation is not None:
            self.evaluation.add(0, self._by_value.frame().to_dict())
            self.evaluation.finish()
        return {target.name: self._metrics(target, sums) for target, sums in self._evaluated}

    def _metrics(self, target: Target, sums: Sums) -> dict[str, float]:
        """Return the metrics of a target in its own units, by name, then the number of events, and of unknown ones."""
        unit = self._job.file.scale(target.name).error_unit if target.kind == "real" else 1.0
        unknown = self._n_unknown[target.name].tolist()
        n_unknown = sum(unknown)
        found = sums.metrics(unit=unit, n_unknown=n_unknown)
        if target.name in self._labelled:
            positive = self._job.file.config["positive_class"][target.name]
            found |= self._labelled[target.name].metrics(self._job.file.class_ids(target.name)[positive] - 1)
        counted = sums.by_name.get(SCORED, sums.count)
        found = dict(sorted(found.items())) | {"n": int(counted)} | ({"n_unknown": n_unknown} if n_unknown else {})
        if target.name in self._by_step:
            found |= self._by_step[target.name].metrics(unit=unit, n_unknown=unknown)
        return found

    def _end_shard(self) -> None:
        """Write empty tables for a shard without predictions."""
        if not self._is_empty:
            return
        none, shape = np.empty(0, np.int64), self._job.file.architecture
        values = {
            target.name: none.astype(np.float32 if target.kind == "real" else np.int64) for target in shape.targets
        }
        wide = {target.name: np.empty((0, target.n_classes), np.float32) for target in shape.targets}
        embedding = np.empty((0, shape.dim_model), np.float32) if self._job.request.embedding else None
        scenario = none if self._job.request.n_scenarios > 1 else None
        ahead = None if self._horizon == 1 else none
        quantiles, parameters = (
            {}
            if self._config.autoregression
            else {target.name: np.empty((0, n or target.output_width)) for target in shape.targets if target.shape}
            for n in (len(LEVELS), 0)
        )
        empty = Chunk(none, none, none, values, wide, quantiles, parameters, embedding, scenario=scenario)
        self.add(replace(empty, origin=ahead, step=ahead))

    def _scale(self, target: Target, sequence: NDArray[np.int64]) -> Scale:
        """Return how a real target is standardised in the sequences of some events, (M,)."""
        columns, rows = self._events.columns, self._events.offsets[sequence]
        return scale_at(self._job.file.scale(target.name), target.name, columns, rows)

    def _decoded(self, target: Target, values: NDArray[Any], sequence: NDArray[np.int64]) -> Any:
        """Return values in original units or labels; null at an END, where there is none."""
        if target.kind == "real":
            original = self._scale(target, sequence).original(values.astype(np.float64))
            return pl.Series(original).fill_nan(None)
        ids = pl.Series(values, dtype=pl.Int64)
        ids = ids.set(ids < 0, None)
        return self._labels[target.name].gather(ids) if self._config.map_to_id else ids


def _positions(events: Events, last_rows: NDArray[np.int64], chunk: Chunk) -> pl.Series:
    """Return itemPosition of each event.

    Generated events have their predicted times, if any. Otherwise integers continue after the last known event, and
    dates and other numbers, which are times, are null there.

    Args:
        events: of the part.
        last_rows: row of the last event of each sequence, without END.
        chunk: of the part.
    """
    if chunk.times is not None:
        return pl.Series(as_positions(chunk.times, events.positions.dtype), nan_to_null=True)
    last = last_rows[chunk.sequence]
    positions: NDArray[Any] = events.positions[np.minimum(chunk.row, last)]
    beyond = np.maximum(chunk.row - last, 0)
    if positions.dtype.kind == "i":
        return pl.Series(positions + beyond)
    return pl.Series(positions).set(pl.Series(beyond > 0), None)


def _scored_targets(job: Job) -> dict[str, Scored]:
    """Return which targets count in metrics: those that did in training."""
    file, stored = job.file, job.file.config.get("scoring")
    scoring = None if stored is None else Scoring.model_validate(stored)
    ids = {target: file.class_ids(target) for target in (scoring.left_out if scoring else ())}
    targets = [target.name for target in job.source.evaluated if not target.of_sequence]
    return scored_targets(scoring, targets, file.end_ids, ids)
