"""A local exported model as a source of continuations.

Shapes: P prompts, L seq_length, H events that are compared, T generated events, N continuations, K known classes.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.model_file import ModelFile
from sequifier.artifacts.transforms import Scale
from sequifier.callbacks import Log
from sequifier.config.loading.paths import find_model
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.samplers import MAX_TOKENS
from sequifier.errors import ConfigError, ModelError, Problem
from sequifier.generation.generate import Generated, Histories, choose, generate
from sequifier.generation.samplers import Rules, distribution, logits_of
from sequifier.generation.streams import uniforms
from sequifier.inference.check import NO_CHECKSUM, check_kind, find_targets
from sequifier.inference.runtime import open_model, read_model
from sequifier.inference.sampling import draw_of
from sequifier.metrics.sequences import likelihood
from sequifier.percent import counted
from sequifier.sampler_search.held_out import HeldOutReader, as_inference
from sequifier.sampler_search.prompts import Generation, Prompt, as_text, is_text
from sequifier.sampler_search.space import Configuration

Array = NDArray[Any]

_KEPT_NUMBERS = 1 << 26
"""Largest number of predictions that stay in memory (256 MB); more are computed again for each configuration."""

_PROMPT_BITS = 32
"""Of the number that a continuation's draws belong to; above them its sample, so that draws do not depend on how many
prompts or samples there are."""


class LocalModel:
    """An exported model with its prompts.

    Args:
        config: of the search; it has a model_path.
        seed: of prompts and draws.
        log: receives lines for the user.

    Attributes:
        prompts: P.
        name: of the model, for results.
        fingerprint: of model and prompts.
        has_likelihood: whether the true continuations are known, so that their likelihood can be computed.
        real_targets: the scored real targets.
        horizon: H; 0 where the true continuations are not known.
        is_true_history: whether each event is sampled after the true events before it.

    Raises:
        ConfigError, DataError, ModelError: model, data and config do not fit together.
    """

    def __init__(self, config: SamplerSearchConfig, *, seed: int, log: Log) -> None:
        assert config.model_path is not None
        path = find_model(config.model_path, config.project_root)
        if path.suffix not in (".onnx", ".pt"):
            what = f"{path.name} does not end in .onnx or .pt"
            raise ConfigError([Problem("model_path", what, fix="give a model from models/")])
        self.name, self._seed, self._batch_size = config.model_path, seed, config.inference_batch_size
        self._file = read_model(path)
        if not self._file.has_checksum:
            log(NO_CHECKSUM.format(path=path))
        inference = as_inference(config, self._file)
        check_kind(inference, self._file, path)
        if labels := [target.name for target in self._file.architecture.targets if target.of_sequence]:
            raise ModelError(
                f"the model predicts {', '.join(labels)} of whole sequences, which is not generated",
                where=str(path),
                fix="use a model whose targets are those of events",
            )
        if (shape := self._file.architecture).horizon > 1 or shape.known_future:
            raise ModelError(
                f"the model forecasts {counted(shape.horizon, 'step')} at once (prediction_horizon), while a sampler "
                "search generates events one by one",
                where=str(path),
                fix="use a model that was trained with prediction_horizon: 1 and without known_future",
            )
        if by_sequence := self._file.by_sequence:
            raise ModelError(
                f"{', '.join(by_sequence)}: standardised by sequence, while a sampler search compares all prompts on "
                "one scale",
                where=str(path),
                fix="use a model of data that were preprocessed with standardize: global",
            )
        if not any(target.kind == "categorical" for target in find_targets(inference, self._file)):
            raise ModelError(
                "no scored target is categorical: a sampler draws categories, so there is nothing to search",
                where=str(path),
                fix="use a model with a categorical target, and name it where target_columns is given",
            )
        self._data = HeldOutReader(config, self._file, path, seed=seed, log=log).read()
        self.is_true_history = _is_true_history(config, self._file, path, log, has_clock=self._data.clock is not None)
        if self.is_true_history and not self._data.truths:
            what = "the model cannot continue a text: each event is sampled after true events (history: true)"
            raise ConfigError([Problem("test_prompts", what, fix="name sequences of the data")])
        self._drawn_targets = [target for target in self._data.targets if target.kind == "categorical"]
        drawn = {
            each.name: draw_of(each, self._file.scale(each.name)) for each in self._data.targets if each.distribution
        }
        self._draws = {name: draw for name, draw in drawn.items() if draw is not None}
        self.has_likelihood = bool(self._data.truths)
        self.real_targets = [name for name in self._data.truths if name not in self._file.vocabularies]
        self.horizon = self._data.horizon
        self.prompts = [self._prompt(number) for number in range(len(self._data.n_events))]
        self.fingerprint = self._fingerprint(path)
        self._model = open_model(path, self._file, inference, seed=seed, log=log)
        self._kept: list[tuple[Array, Mapping[str, Array]]] | None = None

    def scale(self, target: str) -> Scale:
        """Return how a real target is standardised."""
        return self._file.scale(target)

    def generate(self, found: Configuration, wanted: Sequence[tuple[int, int]]) -> Iterator[Generation]:
        """Yield continuations sampled with a configuration.

        Args:
            found: the configuration.
            wanted: prompt and sample of each continuation.
        """
        if not wanted:
            return
        rules = rules_of(found)
        prompts, samples = (np.array(each, np.int64) for each in zip(*wanted, strict=True))
        numbers = (samples << _PROMPT_BITS) + prompts
        if self.is_true_history:
            values = self._after_truth(rules, prompts, numbers)
            lengths = self._data.n_truth[prompts].tolist()
        else:
            values = self._after_generated(rules, prompts, numbers)
            lengths = [self._data.length] * len(wanted)
        for index, (prompt, sample) in enumerate(wanted):
            own = {target.name: values[target.name][index, : lengths[index]] for target in self._data.targets}
            labels = self._labels(own)
            yield Generation(
                prompt,
                sample,
                as_text(labels, characters=is_text(self._file)),
                {target.name: own[target.name].tolist() for target in self._drawn_targets},
                {name: own[name] for name in self.real_targets},
                labels,
            )

    def likelihoods(self, found: Configuration) -> list[float]:
        """Return the likelihood of each true continuation under a configuration, (P,), averaged over the targets.

        Each true event is predicted from the true events before it. Events of an unknown category are left out.
        """
        rules, data = rules_of(found), self._data
        outputs = {target.name: target.output_names[0] for target in self._drawn_targets}
        shares = {target.name: np.full(data.truths[target.name].size, np.nan) for target in self._drawn_targets}
        for rows, predictions in self._predictions():
            for name, flat in shares.items():
                truth = data.truths[name].ravel()[rows]
                drawn = distribution(logits_of(predictions[outputs[name]]), rules)
                flat[rows] = np.where(truth > 0, drawn[np.arange(len(rows)), np.maximum(truth - 1, 0)], np.nan)
        means = []
        for number in range(len(self.prompts)):
            values = []
            for target in self._drawn_targets:
                own = shares[target.name].reshape(-1, data.horizon)[number]
                if len(known := own[~np.isnan(own)]):
                    values.append(likelihood(known, target.n_classes - 1))
            means.append(float(np.mean(values)) if values else 0.0)
        return means

    def _prompt(self, number: int) -> Prompt:
        seq_length, data = self._file.architecture.seq_length, self._data
        seen, n = min(int(data.n_events[number]), seq_length), int(data.n_truth[number])
        history = {name: rows[number, seq_length - seen : seq_length] for name, rows in data.windows.items()}
        text = as_text(self._labels(history), characters=is_text(self._file))
        if not data.truths:
            return Prompt(text)
        truth = {name: values[number, :n] for name, values in data.truths.items()}
        return Prompt(
            text,
            as_text(self._labels(truth), characters=is_text(self._file)),
            {target.name: truth[target.name].tolist() for target in self._drawn_targets},
            {name: truth[name] for name in self.real_targets},
        )

    def _labels(self, columns: Mapping[str, Array]) -> dict[str, list[Any]]:
        """Return columns in the units of the table; None for a category that the model does not know."""
        labels: dict[str, list[Any]] = {}
        for name, values in columns.items():
            if name in self._file.vocabularies:
                vocabulary = [None, *self._file.vocabularies[name]]
                labels[name] = [vocabulary[id] for id in values.tolist()]
            else:
                labels[name] = self._file.scale(name).original(values.astype(np.float64)).tolist()
        return labels

    def _after_generated(self, rules: Rules, prompts: Array, numbers: Array) -> dict[str, Array]:
        """Return target -> (N, T): each event sampled after the generated events before it."""
        shape, data = self._file.architecture, self._data
        targets = []
        for target in shape.targets:
            name, output = target.name, target.output_names[0]
            if target.kind == "categorical":
                targets.append(Generated(name, output, rules))
                continue
            drawn = None if rules.temperature == 0 else self._draws.get(name)
            output, draw = drawn or (output, None)
            targets.append(Generated(name, output, None, lowest=self._file.scale(name).lowest, draw=draw))
        histories = Histories(
            {name: rows[prompts, : shape.seq_length] for name, rows in data.windows.items()},
            np.minimum(data.n_events[prompts], shape.seq_length),
            numbers,
            self._file.sequence_columns,
            data.clock and data.clock.of(prompts),
        )
        steps = np.full(len(prompts), data.length, np.int64)
        values, _, _ = generate(self._predict, targets, histories, steps, seed=self._seed, batch_size=self._batch_size)
        return {target.name: values[target.name].reshape(len(prompts), data.length) for target in data.targets}

    def _after_truth(self, rules: Rules, prompts: Array, numbers: Array) -> dict[str, Array]:
        """Return target -> (N, H): each event sampled after the true events before it."""
        stream_of = {target.name: stream for stream, target in enumerate(self._file.architecture.targets)}
        kinds = {name: values.dtype for name, values in self._data.truths.items()}
        found = {name: np.zeros((len(prompts), self._data.horizon), kind) for name, kind in kinds.items()}
        outputs = {target.name: target.output_names[0] for target in self._data.targets}
        draws = self._draws if rules.temperature > 0 else {}
        for rows, predictions in self._predictions():
            prompt, step = np.divmod(rows, self._data.horizon)
            for index in np.flatnonzero(np.isin(prompts, prompt)).tolist():
                here = np.flatnonzero(prompt == prompts[index])
                random = np.full(len(here), numbers[index])
                for name, output in outputs.items():
                    drawn = draws.get(name)
                    own = predictions[output if drawn is None else drawn[0]][here]
                    if drawn is not None or name not in self.real_targets:
                        uniform = uniforms(self._seed, random, step[here], stream_of[name])
                        own = choose(own, rules, uniform) if drawn is None else drawn[1](own, uniform)
                    found[name][index, step[here]] = own
        return found

    def _predict(self, columns: Mapping[str, Array], n_events: Array, outputs: Sequence[str]) -> Mapping[str, Array]:
        """Predict as the model does, but never END: continuations are compared event by event."""
        found = dict(self._model.predict(columns, n_events, outputs))
        ends = {
            target.output_names[0] for target in self._file.architecture.targets if target.name in self._file.end_ids
        }
        for name in ends & found.keys():
            found[name] = np.concatenate([found[name][..., :-1], np.zeros_like(found[name][..., -1:])], axis=-1)
        return found

    def _predictions(self) -> Iterator[tuple[Array, Mapping[str, Array]]]:
        """Yield rows of (P * H), and output -> predictions of the events there from the true events before them.

        They do not depend on the sampler, so they are computed once where they fit into memory.
        """
        if self._kept is not None:
            yield from self._kept
            return
        data, seq_length = self._data, self._file.architecture.seq_length
        names = [target.output_names[0] for target in data.targets]
        names += [self._draws[target.name][0] for target in data.targets if target.name in self._draws]
        per_event = sum(max(target.n_classes, target.output_width) for target in data.targets)
        keep: list[tuple[Array, Mapping[str, Array]]] | None = []
        if int(data.n_truth.sum()) * per_event > _KEPT_NUMBERS:
            keep = None
        known = np.flatnonzero(np.arange(data.horizon) < data.n_truth[:, None])
        for start in range(0, len(known), self._batch_size):
            rows = known[start : start + self._batch_size]
            prompt, step = np.divmod(rows, data.horizon)
            places = step[:, None] + np.arange(seq_length)
            columns = {name: window[prompt[:, None], places] for name, window in data.windows.items()}
            n_events = np.minimum(data.n_events[prompt] + step, seq_length)
            outputs = self._predict(columns, n_events, names)
            part = rows, {name: outputs[name][:, -1] for name in names}
            if keep is not None:
                keep.append(part)
            yield part
        self._kept = keep

    def _fingerprint(self, path: Path) -> str:
        content, data = hashlib.sha256(), self._data
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                content.update(part)
        for values in (*data.windows.values(), *data.truths.values(), data.n_events, data.n_truth):
            content.update(np.ascontiguousarray(values).tobytes())
        names = " ".join(target.name for target in data.targets)
        if data.clock is not None and not self.is_true_history:
            names += " clock"  # without it, an earlier release sampled the hour of an event instead of reading its time
        content.update(f"{data.horizon} {data.length} {self.is_true_history} {names}".encode())
        return content.hexdigest()


def rules_of(found: Configuration) -> Rules:
    """Return a configuration as the rules of `generation`."""
    values: dict[str, Any] = {name: value for name, value in found.parameters.items() if name != MAX_TOKENS}
    return Rules(**values)


def _is_true_history(config: SamplerSearchConfig, file: ModelFile, path: Path, log: Log, *, has_clock: bool) -> bool:
    missing = [name for name in file.not_generated if not (has_clock and name in file.clocked)]
    if missing and config.history == "generated":
        raise ModelError(
            f"history: generated: the model reads {', '.join(missing)}, which it does not predict",
            where=str(path),
            fix="leave history out, or use a model whose input_columns are all among its target_columns",
        )
    if missing and config.history is None:
        log(
            f"note: the model reads {', '.join(missing)}, which it does not predict: each event is sampled after the "
            "true events before it (history: true)"
        )
    return bool(missing) or config.history == "true"
