"""Predictions or embeddings of windows, computed in chunks.

Shapes: W windows, B of a batch, L seq_length, P prediction_length, H prediction_horizon, M rows of a chunk, K known
classes, D model width.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequifier.artifacts.events import Events, scale_at
from sequifier.artifacts.transforms import Scale
from sequifier.config.architecture import EMBEDDING, Architecture, future_input
from sequifier.config.catalogue.distributions import LEVELS
from sequifier.generation.generate import POSITION, Draw, Generated, Histories, choose, generate
from sequifier.generation.samplers import Rules
from sequifier.generation.streams import uniforms
from sequifier.inference.clock import TimeClock
from sequifier.inference.runtime import Model
from sequifier.inference.windows import Continuations, Windows

Array = NDArray[Any]

SCENARIO_BITS = 40
"""The number of a scenario is above these bits of the number of its sequence, which selects the random numbers."""

_NUMBERS_PER_CHUNK = 1 << 22
"""Largest number of probabilities or embedding values in a chunk, unless one batch has more."""


@dataclass(frozen=True)
class Request:
    """What to compute.

    Attributes:
        architecture: of the model.
        rules: target -> how its classes are chosen, in the order of the model; None for a real target.
        probabilities: categorical targets whose probabilities are kept.
        embedding: whether to embed instead of predicting.
        of_sequences: whether to predict the targets that belong to whole sequences, instead of those of events.
        batch_size: windows per call of the model.
        seed: of sampling and dropout.
        kept: input columns that keep their value in generated events.
        end_ids: target -> id of END, after which nothing is generated.
        scales: real target -> its scale, which has the lowest value that is generated.
        draws: real targets that are sampled -> the output of the model with their distribution, and how.
        n_scenarios: number of continuations of each sequence.
    """

    architecture: Architecture
    rules: dict[str, Rules | None]
    probabilities: tuple[str, ...]
    embedding: bool
    batch_size: int
    seed: int
    of_sequences: bool = False
    kept: Sequence[str] = ()
    end_ids: Mapping[str, int] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    draws: Mapping[str, tuple[str, Draw]] = field(default_factory=dict)
    n_scenarios: int = 1

    def lowest(self, target: str, events: Events, sequence: Array) -> Array | float:
        """Return the lowest standardised value of a target in some sequences, one for all or one for each, (M,)."""
        if target not in self.scales:
            return -np.inf
        lowest: Array | float = scale_at(self.scales[target], target, events.columns, events.offsets[sequence]).lowest
        return lowest

    @property
    def prediction_length(self) -> int:
        """Number of outputs of the model for each window."""
        return 1 if self.of_sequences else self.architecture.prediction_length

    @property
    def horizon(self) -> int:
        """Number of steps that are forecast from a window; 1: there is no axis of steps."""
        return 1 if self.embedding else self.architecture.horizon

    @property
    def known_future(self) -> Sequence[str]:
        """The input columns that are also read at the steps to come."""
        return () if self.embedding else self.architecture.known_future

    @property
    def is_of_last_event(self) -> bool:
        """Whether an output belongs to the last event that was read, not to the one after it."""
        return self.embedding or self.of_sequences

    @property
    def numbers_per_row(self) -> int:
        """Width of a row of the result."""
        if self.embedding:
            return self.architecture.dim_model
        classes = {target.name: target.n_classes for target in self.architecture.targets}
        of_distributions = sum(len(LEVELS) + each.output_width for each in self.architecture.targets if each.shape)
        return self.horizon * (1 + sum(classes[name] for name in self.probabilities) + of_distributions)


@dataclass(frozen=True)
class Chunk:
    """M predicted or embedded events, in order of their sequences.

    Attributes:
        sequence: index into the sequences of the part, (M,).
        row: row of the event, (M,); beyond the end of its sequence for an unknown event.
        window: number of the window in its sequence, (M,).
        values: target -> ids or standardised values, (M,).
        probabilities: categorical target -> probabilities of ids 0 to K, (M, K + 1).
        quantiles: target with a distribution -> standardised quantiles, (M, levels); none of generated events.
        parameters: target with a distribution -> its parameters, (M, parameters); none of generated events.
        embedding: (M, D).
        n_unended: number of sequences that were continued without an END.
        times: instants of generated events, where the model predicts the time between them, (M,).
        origin: row of the event that is forecast from, (M,); None without a horizon.
        step: number of events ahead, from 1, (M,); None without a horizon.
        scenario: number of the continuation that an event belongs to, (M,); None: there is one of each sequence.
    """

    sequence: Array
    row: Array
    window: Array
    values: dict[str, Array] = field(default_factory=dict)
    probabilities: dict[str, Array] = field(default_factory=dict)
    quantiles: dict[str, Array] = field(default_factory=dict)
    parameters: dict[str, Array] = field(default_factory=dict)
    embedding: Array | None = None
    n_unended: int = 0
    times: Array | None = None
    origin: Array | None = None
    step: Array | None = None
    scenario: Array | None = None


def run_windows(
    model: Model, events: Events, windows: Windows, request: Request, *, first_number: int
) -> Iterator[Chunk]:
    """Run windows through a model.

    Args:
        model: predicts or embeds.
        events: the part that the windows are in.
        windows: W windows.
        request: what to compute.
        first_number: number of the part's first sequence among all, on which random numbers depend.
    """
    shape = request.architecture
    outputs = [EMBEDDING] if request.embedding else _outputs(request)
    size = request.batch_size
    n_steps = request.prediction_length
    in_chunk = size * max(1, _NUMBERS_PER_CHUNK // (request.numbers_per_row * n_steps * size))
    numbers = windows.numbers()
    steps, ahead = np.arange(n_steps), np.arange(request.horizon)
    inputs = {name: events.columns[name] for name in shape.input_columns}
    for start in range(0, len(windows), in_chunk):
        chunk = slice(start, min(start + in_chunk, len(windows)))
        parts: dict[str, list[Array]] = {name: [] for name in outputs}
        is_used = steps >= n_steps - windows.n_predicted[chunk, None]  # (W, P)
        for first in range(chunk.start, chunk.stop, size):
            batch = slice(first, min(first + size, chunk.stop))
            end, lowest = windows.end[batch], windows.first[batch]
            rows = np.maximum(end[:, None] + np.arange(-shape.seq_length, 0), lowest[:, None])  # (B, L)
            columns = {name: values[rows] for name, values in inputs.items()}
            columns |= {future_input(name): events.columns[name][end[:, None] + ahead] for name in request.known_future}
            found = model.predict(columns, np.minimum(end - lowest, shape.seq_length), outputs)
            kept = is_used[batch.start - start : batch.stop - start]
            for name, values in found.items():
                parts[name].append((values[:, None] if request.of_sequences else values)[kept])
        whole = {name: values[0] if len(values) == 1 else np.concatenate(values) for name, values in parts.items()}
        window, step = np.nonzero(is_used)
        # The last output predicts row `end`; as an embedding or a label it belongs to the row before.
        row = windows.end[chunk][window] + step - (n_steps - 1) - request.is_of_last_event
        sequence, number = windows.sequence[chunk][window], numbers[chunk][window]
        if request.embedding:
            yield Chunk(sequence, row, number, embedding=whole[EMBEDDING])
            continue
        origin = step_ahead = None
        if (H := request.horizon) > 1:  # a row for each step
            whole = {name: values.reshape(-1, *values.shape[2:]) for name, values in whole.items()}
            sequence, number, origin = (np.repeat(values, H) for values in (sequence, number, row - 1))
            step_ahead = np.tile(np.arange(1, H + 1), len(row))
            row = origin + step_ahead
        place = row - events.offsets[sequence]
        lowest_values = {name: request.lowest(name, events, sequence) for name in request.draws}
        chosen, probabilities = _chosen(whole, request, sequence + first_number, place, lowest_values)
        shown = [target for target in shape.targets if target.shape and target.output_names[0] in whole]
        quantiles = {target.name: whole[target.quantiles_name] for target in shown if target.quantiles_name}
        parameters = {target.name: whole[target.parameters_name or target.quantiles_name or ""] for target in shown}
        yield Chunk(sequence, row, number, chosen, probabilities, quantiles, parameters, origin=origin, step=step_ahead)


def run_continuations(
    model: Model, events: Events, starts: Continuations, request: Request, clock: TimeClock | None, *, first_number: int
) -> Iterator[Chunk]:
    """Generate events from `starts` on, with their times where there is a clock; for the rest see `run_windows`."""
    shape = request.architecture
    if request.n_scenarios > 1:
        starts = starts.repeated(request.n_scenarios)
    total = np.cumsum(starts.n_steps)
    begin = 0
    while begin < len(total):
        done = total[begin - 1] if begin else 0
        until = np.searchsorted(total, done + _NUMBERS_PER_CHUNK // request.numbers_per_row, side="right")
        chosen = slice(begin, max(int(until), begin + 1))
        begin = chosen.stop
        end, lowest, n_steps = starts.end[chosen], starts.first[chosen], starts.n_steps[chosen]
        if not n_steps.any():
            continue
        sequence, scenario = (
            starts.sequence[chosen],
            np.arange(chosen.start, chosen.start + len(end)) % request.n_scenarios,
        )
        targets = []
        for target in shape.targets:
            name, lowest_value = target.name, request.lowest(target.name, events, sequence)
            output, draw = request.draws.get(name, (target.output_names[0], None))
            targets.append(Generated(name, output, request.rules[name], request.end_ids.get(name), lowest_value, draw))
        rows = np.maximum(end[:, None] + np.arange(-shape.seq_length, 0), lowest[:, None])
        histories = Histories(
            {name: events.columns[name][rows] for name in shape.input_columns},
            np.minimum(end - lowest, shape.seq_length),
            sequence + first_number + (scenario << SCENARIO_BITS),
            request.kept,
            clock and clock.of(starts.place[chosen]),
        )
        values, probabilities, n_steps = generate(
            model.predict,
            targets,
            histories,
            n_steps,
            seed=request.seed,
            batch_size=request.batch_size,
            keep_probabilities=bool(request.probabilities),
        )
        step = np.arange(n_steps.sum()) - np.repeat(np.cumsum(n_steps) - n_steps, n_steps)
        kept = {name: probabilities[name] for name in request.probabilities if name in probabilities}
        n_ended = max(
            (int((values[name] == id).sum()) for name, id in request.end_ids.items() if name in values), default=0
        )
        n_unended = int(np.count_nonzero(n_steps)) - n_ended
        times = values.pop(POSITION, None)
        row = np.repeat(end, n_steps) + step
        yield Chunk(
            np.repeat(sequence, n_steps),
            row,
            step,
            values,
            kept,
            n_unended=n_unended,
            times=times,
            scenario=np.repeat(scenario, n_steps) if request.n_scenarios > 1 else None,
        )


def _outputs(request: Request) -> Sequence[str]:
    """Return the outputs of the model that are needed; probabilities are wide, so only those that are used."""
    names: list[str] = []
    for target in request.architecture.targets:
        if target.of_sequence != request.of_sequences:
            continue
        rules = request.rules[target.name]
        if rules is None:
            names += target.output_names
            continue
        probabilities, best = target.output_names
        if rules.temperature == 0:
            names.append(best)
        if rules.temperature > 0 or target.name in request.probabilities:
            names.append(probabilities)
    return names


def _chosen(
    found: dict[str, Array], request: Request, number: Array, place: Array, lowest: Mapping[str, Array | float]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the values of each target and the probabilities that are kept.

    Args:
        found: outputs of the model, (M, ...) each.
        request: what is computed.
        number: number of the sequence among all, (M,); with `place` it determines the random numbers.
        place: position in the sequence, (M,).
        lowest: target that is sampled -> its lowest value, see `Request.lowest`.
    """
    values, kept = {}, {}
    for stream, target in enumerate(request.architecture.targets):
        if target.of_sequence != request.of_sequences:
            continue
        rules = request.rules[target.name]
        if target.name in request.draws:
            output, draw = request.draws[target.name]
            drawn = draw(found[output], uniforms(request.seed, number, place, stream))
            values[target.name] = np.maximum(drawn, np.float32(lowest[target.name]))
            continue
        if rules is None:
            values[target.name] = found[target.output_names[0]]
            continue
        probabilities, best = target.output_names
        if rules.temperature == 0:
            values[target.name] = found[best]
        else:
            values[target.name] = choose(found[probabilities], rules, uniforms(request.seed, number, place, stream))
        if target.name in request.probabilities:
            kept[target.name] = found[probabilities]
    return values, kept
