"""The prompts of a local model: events cut out of held-out sequences, or encoded from texts.

Shapes: S sequences, P prompts, L seq_length, H events that are compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import Events, ends_with_end, without_ends
from sequifier.artifacts.model_file import ModelFile
from sequifier.callbacks import Log
from sequifier.config.architecture import Target
from sequifier.config.inference import InferConfig
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.errors import ConfigError, DataError, Problem
from sequifier.inference.check import find_targets
from sequifier.inference.clock import TimeClock, clock_of
from sequifier.inference.reader import Reader
from sequifier.inference.source import find_source, metadata_of
from sequifier.percent import counted
from sequifier.sampler_search.prompts import (
    Places,
    choose_places,
    encode_text,
    fitting_horizon,
    own_lengths,
    places_of,
)

Array = NDArray[Any]

_ROWS_PER_PART = 1 << 20


@dataclass(frozen=True)
class HeldOut:
    """Prompts and their true continuations.

    Attributes:
        targets: the scored targets.
        windows: input -> (P, L + H) history, aligned on its last event, and true continuation.
        truths: scored target -> (P, H) true continuation; empty for texts.
        n_events: (P,) number of events of the history.
        n_truth: (P,) number of events of the true continuation.
        horizon: H.
        length: number of events to generate.
        clock: of the prompts; None where no column follows from the times of events, or these are not dates.
    """

    targets: list[Target]
    windows: dict[str, Array]
    truths: dict[str, Array]
    n_events: Array
    n_truth: Array
    horizon: int
    length: int
    clock: TimeClock | None = None


class HeldOutReader:
    """Finds and reads the prompts.

    Args:
        config: of the search.
        file: the model.
        path: of the model.
        seed: of the choice of prompts.
        log: receives lines for the user.
    """

    def __init__(self, config: SamplerSearchConfig, file: ModelFile, path: Path, *, seed: int, log: Log) -> None:
        self._config, self._file, self._path, self._seed, self._log = config, file, path, seed, log
        self._inference = as_inference(config, file)
        self._targets = find_targets(self._inference, file)
        self._seq_length = file.architecture.seq_length
        self._prompt_length = config.prompt_length or max(1, self._seq_length // 2)
        problems = []
        if self._prompt_length > self._seq_length:
            what = f"{self._prompt_length} is more than the model's seq_length {self._seq_length}"
            problems.append(Problem("prompt_length", what))
        if config.horizon and config.generated_length and config.horizon > config.generated_length:
            what = f"{config.horizon} is more than max_tokens {config.generated_length}, the generated events"
            problems.append(Problem("horizon", what))
        if problems:
            raise ConfigError(problems)

    def read(self) -> HeldOut:
        """Return the prompts of the config.

        Raises:
            ConfigError, DataError: no prompt exists, or a prompt does not fit the model.
        """
        prompts = self._config.test_prompts
        if prompts is None or any(isinstance(prompt, int) for prompt in prompts):
            return self._places(prompts)
        texts = [str(prompt) for prompt in prompts]
        known = self._known_ids()
        are_ids = [text in known for text in texts]
        try:
            return self._places(prompts) if all(are_ids) else self._texts(texts)
        except ConfigError:
            if any(are_ids):
                return self._places(prompts)  # names those that are not ids
            raise

    def _known_ids(self) -> set[str]:
        """Return the ids of the data; none where there are no data, which a text does not need."""
        try:
            reader = self._reader(lambda line: None)
        except (ConfigError, DataError):
            return set()
        return {str(name) for _, events in reader.parts() for name in events.sequence_ids.tolist()}

    def _texts(self, prompts: Sequence[str]) -> HeldOut:
        encoded = [
            encode_text(text, self._file, f"test_prompts[{number}]")[-self._seq_length :]
            for number, text in enumerate(prompts)
        ]
        window = np.zeros((len(encoded), self._seq_length), np.int64)
        for row, ids in zip(window, encoded, strict=True):
            row[-len(ids) :] = ids
        return HeldOut(
            self._targets,
            {self._file.architecture.input_columns[0]: window},
            {},
            np.array([len(ids) for ids in encoded]),
            np.zeros(len(encoded), np.int64),
            0,
            self._config.generated_length or self._seq_length,
        )

    def _places(self, ids: Sequence[str | int] | None) -> HeldOut:
        config, length = self._config, self._config.generated_length
        offsets, n_context, sequence_ids = self._outline(self._reader(self._log))
        horizon = config.horizon or length or self._seq_length
        if ids is not None:
            places = places_of(
                ids, sequence_ids, offsets, n_context, prompt_length=self._prompt_length, horizon=horizon
            )
            horizon = int((places.end - places.cut).max())
        else:
            if config.horizon is None and length is None:
                wanted = horizon
                horizon = fitting_horizon(offsets, n_context, wanted=wanted, n_prompts=config.n_prompts)
                if horizon < wanted:
                    self._log(f"note: max_tokens is {horizon}: held-out sequences are too short for {wanted}")
            places = choose_places(
                offsets,
                n_context,
                prompt_length=self._prompt_length,
                horizon=max(horizon, 1),
                n_prompts=config.n_prompts,
                seed=self._seed,
            )
            self._check_places(places, int(own_lengths(offsets, n_context).max(initial=0)), max(horizon, 1))
        return self._cut(places, horizon, length or horizon)

    def _check_places(self, places: Places, longest: int, horizon: int) -> None:
        count, wanted = len(places.cut), self._config.n_prompts
        if count == 0:
            raise DataError(
                f"no held-out sequence has {horizon} events to compare with; the longest has {longest}",
                where=str(self._inference.data_path),
                fix="set a smaller horizon or max_tokens, or another data_path",
            )
        if count < wanted:
            self._log(
                f"note: n_prompts is {count}, not {wanted}: the data has no more places of {counted(horizon, 'event')}"
            )

    def _reader(self, log: Log) -> Reader:
        source = find_source(self._inference, self._file, self._path, self._targets, log)
        if source.hashes is None and not source.evaluated:
            raise DataError("the data has none of the model's targets", where=str(source.path))
        if not any(target.kind == "categorical" for target in source.evaluated):
            raise DataError(
                "the data has no categorical target of the model, so there is nothing to compare with",
                where=str(source.path),
                fix="preprocess the data with all columns that the model predicts",
            )
        self._targets = list(source.evaluated)
        return Reader(source, self._file, self._inference, _no_raw, _ROWS_PER_PART)

    def _outline(self, reader: Reader) -> tuple[Array, Array, Array]:
        """offsets (S + 1,), n_context (S,) and ids (S,) of all sequences of the data."""
        lengths, contexts, ids = [], [], []
        for events in _whole_sequences(reader):
            lengths.append(np.diff(events.offsets))
            contexts.append(events.n_context)
            ids.append(events.sequence_ids)
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        return offsets, np.concatenate(contexts), np.concatenate(ids)

    def _cut(self, places: Places, horizon: int, length: int) -> HeldOut:
        """Copy the rows of all prompts and true continuations from the data."""
        shape, count = self._file.architecture, len(places.cut)
        kinds = {name: np.int64 for name, _ in shape.categorical} | dict.fromkeys(shape.real, np.float32)
        held_out = HeldOut(
            self._targets,
            {name: np.zeros((count, shape.seq_length + horizon), kind) for name, kind in kinds.items()},
            {
                target.name: np.zeros((count, horizon), np.int64 if target.kind == "categorical" else np.float32)
                for target in self._targets
            },
            places.cut - places.first,
            places.end - places.cut,
            horizon,
            length,
        )
        done, clocks = 0, []
        for events in _whole_sequences(self._reader(lambda line: None)):
            rows = int(events.offsets[-1])
            numbers = np.flatnonzero((places.cut >= done) & (places.cut < done + rows))
            clocks.append((numbers, self._clock(events, places.cut[numbers] - 1 - done)))
            for number in numbers.tolist():
                first, cut, end = (int(each[number]) - done for each in (places.first, places.cut, places.end))
                for name, window in held_out.windows.items():
                    begin = shape.seq_length - (cut - first)
                    window[number, begin : begin + end - first] = events.columns[name][first:end]
                for name, truth in held_out.truths.items():
                    truth[number, : end - cut] = events.columns[name][cut:end]
            done += rows
        return replace(held_out, clock=_joined(clocks))

    def _clock(self, events: Events, last: Array) -> TimeClock | None:
        """Return the clock of the prompts that end with these rows; None where none is needed or possible."""
        has_dates = events.positions.dtype.kind == "M"
        return clock_of(self._file, events, last) if self._file.clocked and has_dates else None


def _joined(clocks: Sequence[tuple[Array, TimeClock | None]]) -> TimeClock | None:
    """Return the clock of all prompts, in order, from the numbers and the clock of the prompts of each part."""
    order = np.argsort(np.concatenate([numbers for numbers, _ in clocks]))
    found = [clock for _, clock in clocks if clock is not None]
    if not found:
        return None
    elapsed = [clock.elapsed for clock in found if clock.elapsed is not None]
    times = np.concatenate([clock.times for clock in found])[order]
    return replace(found[0], times=times, elapsed=np.concatenate(elapsed)[order] if elapsed else None)


def _whole_sequences(reader: Reader) -> Iterator[Events]:
    """Yield the events in parts of whole sequences, without END, which is no event to continue or to compare."""
    for _, events in reader.parts():
        yield without_ends(events, ends_with_end(events, reader.source.end_ids))


def as_inference(config: SamplerSearchConfig, file: ModelFile) -> InferConfig:
    """Return the config with which `infer` reads the same events: split 1, unless the config names other data."""
    values: dict[str, Any] = {
        "project_root": config.project_root,
        "model_path": config.model_path,
        "metadata_config_path": config.metadata_config_path,
        "data_path": config.data_path,
        "read_format": config.read_format,
        "target_columns": config.target_columns,
        "device": config.device,
    }
    inference = InferConfig.model_validate(values)
    metadata = metadata_of(inference, file) if config.data_path is None else None
    if metadata is None:
        return inference
    splits = metadata.split_paths
    return InferConfig.model_validate(values | {"data_path": splits[min(1, len(splits) - 1)]})


def _no_raw(path: Path, file: ModelFile, future: Path | None) -> Iterator[Events]:
    raise AssertionError("a sampler search reads encoded events")
