"""Autoregression: predict the next event, append it to the window, predict the event after it.

The model is any callable, so an ONNX session and a torch module generate alike. It must predict every column that it
reads, except those that belong to the whole sequence, which keep their value, and those that follow from the times of
events.
All sequences of a batch advance together; a sequence that has all its events, or its END, leaves the batch.
Shapes: S sequences, B sequences of a batch, L seq_length, P prediction_length, K known classes, M generated events.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sequifier.generation.samplers import Rules, draw, logits_of
from sequifier.generation.streams import uniforms

Array = NDArray[Any]

Predict = Callable[[Mapping[str, Array], Array, Sequence[str]], Mapping[str, Array]]
"""(column -> (B, L) ids or standardised values, aligned on the last event; (B,) how many of the last steps are events;
names of outputs) -> output -> (B, P, K + 1) probabilities by id or (B, P) values; the last of P is the next event."""

POSITION = "itemPosition"
"""Key of the times of generated events among the results."""

NO_TIME = np.iinfo(np.int64).max
"""The time of an END, where times are integers; NaN where they are not."""

_STEPS_TOGETHER = 32
"""Steps whose random numbers are computed in one call, which takes less time."""


Draw = Callable[[Array, NDArray[np.float64]], Array]


@dataclass(frozen=True)
class Generated:
    """One target of the model.

    Attributes:
        name: the column.
        output: name of the model's output with its probabilities or values.
        rules: how a class is sampled; None for a real target.
        end: id of the class END, after which nothing is generated; None: it has no such class.
        lowest: lowest standardised value of a real target, as `artifacts.transforms.Scale` has it: one number, or one
            for each sequence, (S,).
        draw: samples values of a real target, (B,), from its distribution, (B, ...), with random numbers (B,); None:
            the output is its value.
    """

    name: str
    output: str
    rules: Rules | None
    end: int | None = None
    lowest: Array | float = -np.inf
    draw: Draw | None = None


class RunningClock(Protocol):
    """The times of the sequences of a batch, while events are generated."""

    def advance(self, values: Mapping[str, Array]) -> tuple[Array, Mapping[str, Array]]:
        """Move to the next event of the first sequences.

        Args:
            values: target -> (n,) generated ids or standardised values.

        Returns:
            The time of each event, (n,), and the columns that follow from it, (n,) each.
        """

    def keep(self, kept: NDArray[np.int64]) -> None:
        """Continue with these sequences only."""


class Clock(Protocol):
    """Computes the columns of generated events that follow from their times."""

    @property
    def columns(self) -> Collection[str]:
        """These columns."""

    def start(self, chosen: NDArray[np.int64]) -> RunningClock:
        """Return the clock of some sequences, at their last known event."""


@dataclass(frozen=True)
class Histories:
    """The events that sequences are continued from.

    Attributes:
        columns: input column -> (S, L), the last event at the right end.
        n_events: (S,) how many of the last positions are events, at least one.
        numbers: (S,) the numbers of the sequences, which select their random numbers.
        kept: columns with one value for the whole sequence; generated events have that of the last event.
        clock: computes the columns that follow from the times of events; None: there are none.
    """

    columns: Mapping[str, Array]
    n_events: NDArray[np.int64]
    numbers: NDArray[np.int64]
    kept: Collection[str] = ()
    clock: Clock | None = None


def generate(
    predict: Predict,
    targets: Sequence[Generated],
    histories: Histories,
    n_steps: NDArray[np.int64],
    *,
    seed: int,
    batch_size: int,
    keep_probabilities: bool = False,
) -> tuple[dict[str, Array], dict[str, Array], NDArray[np.int64]]:
    """Generate events for each sequence.

    The random number of an event depends on the seed, the number of its sequence and its place among the generated
    events alone, so the result does not depend on the batch size.

    Args:
        predict: the model.
        targets: every target of the model, in its order.
        histories: S sequences.
        n_steps: (S,) numbers of events to generate, unless a sequence ends before.
        seed: seed of the sampling.
        batch_size: sequences per call of the model.
        keep_probabilities: also return the probabilities of the categorical targets.

    Returns:
        Target -> (M,) ids or standardised values, sequence after sequence, and with a clock itemPosition -> (M,) times;
        categorical target -> (M, K + 1) the model's probabilities, before any rule; and (S,) the numbers of generated
        events, whose sum is M. The last one may be an END: all targets with that class have it there, and the others no
        value (id -1, NaN, or NO_TIME).
    """
    clock = histories.clock
    known = {*histories.kept, *(target.name for target in targets), *(clock.columns if clock else ())}
    missing = [name for name in histories.columns if name not in known]
    if missing:
        raise ValueError(f"input {missing[0]!r} is not predicted, so it has no value in the generated events")
    order = np.argsort(-n_steps, kind="stable")  # sequences of similar length share a batch
    order = order[: np.count_nonzero(n_steps)]
    first = np.cumsum(n_steps) - n_steps
    results = {
        target.name: np.empty(int(n_steps.sum()), np.float32 if target.rules is None else np.int64)
        for target in targets
    }
    probabilities: dict[str, Array] = {}
    n_generated = n_steps.copy()
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        steps = _Steps(predict, targets, histories, chosen, int(n_steps[chosen[0]]), seed)
        for step in range(n_steps[chosen[0]]):
            chosen = chosen[: np.searchsorted(-n_steps[chosen], -(step + 1), side="right")]
            places = first[chosen] + step
            found, ends = steps.advance(step, len(chosen))
            if steps.times is not None:
                times = results.setdefault(POSITION, np.empty(int(n_steps.sum()), steps.times.dtype))
                times[places] = steps.times
            for target, values, probability in found:
                results[target.name][places] = values
                if keep_probabilities and target.rules is not None:
                    if target.name not in probabilities:
                        probabilities[target.name] = np.empty(
                            (len(results[target.name]), probability.shape[1]), np.float32
                        )
                    probabilities[target.name][places] = probability
            if ends.any():
                n_generated[chosen[ends]] = step + 1
                steps.keep(np.flatnonzero(~ends))
                chosen = chosen[~ends]
                if not len(chosen):
                    break
    if (n_generated == n_steps).all():
        return results, probabilities, n_steps
    is_generated = np.arange(n_steps.sum()) - np.repeat(first, n_steps) < np.repeat(n_generated, n_steps)
    results, probabilities = (
        {name: values[is_generated] for name, values in each.items()} for each in (results, probabilities)
    )
    return results, probabilities, n_generated


class _Steps:
    """A batch of sequences: buffers hold their histories and generated events, and the window moves over them."""

    def __init__(
        self,
        predict: Predict,
        targets: Sequence[Generated],
        histories: Histories,
        chosen: NDArray[np.int64],
        n_steps: int,
        seed: int,
    ) -> None:
        self._predict, self._targets, self._seed = predict, targets, seed
        self._outputs = [target.output for target in targets]
        self._numbers, self._n_events = histories.numbers[chosen], histories.n_events[chosen]
        self._clock = histories.clock.start(chosen) if histories.clock else None
        self.times: Array | None = None  # of the events of the last step, (n_active,)
        self._random: dict[int, NDArray[np.float64]] = {}
        self._lowest = {  # of the targets that have one, (B,)
            target.name: np.broadcast_to(target.lowest, len(histories.numbers))[chosen].astype(np.float32)
            for target in targets
            if np.max(target.lowest) > -np.inf
        }
        self._buffers: dict[str, Array] = {}
        for name, history in histories.columns.items():
            self._length = history.shape[1]
            self._buffers[name] = np.zeros((len(chosen), self._length + n_steps), history.dtype)
            self._buffers[name][:, : self._length] = history[chosen]
            if name in histories.kept:
                self._buffers[name][:, self._length :] = history[chosen, -1:]

    def keep(self, kept: NDArray[np.int64]) -> None:
        """Continue with these sequences of the batch only."""
        self._numbers, self._n_events = self._numbers[kept], self._n_events[kept]
        self._random = {stream: numbers[:, kept] for stream, numbers in self._random.items()}
        self._buffers, self._lowest = (
            {name: values[kept] for name, values in each.items()} for each in (self._buffers, self._lowest)
        )
        if self._clock is not None:
            self._clock.keep(kept)

    def advance(self, step: int, n_active: int) -> tuple[list[tuple[Generated, Array, Array]], NDArray[np.bool_]]:
        """Predict one event of the first sequences.

        Args:
            step: number of events generated so far.
            n_active: number of sequences that need more events.

        Returns:
            For each target its values (n_active,) and the model's output for them; and which sequences end,
            (n_active,).
        """
        window = {name: buffer[:n_active, step : step + self._length] for name, buffer in self._buffers.items()}
        n_events = np.minimum(self._n_events[:n_active] + step, self._length)
        outputs = self._predict(window, n_events, self._outputs)
        results, ends = [], np.zeros(n_active, dtype=np.bool_)
        for stream, target in enumerate(self._targets):
            prediction = outputs[target.output][:, -1]
            values = prediction
            if target.rules is not None:
                values = choose(prediction, target.rules, self._uniforms(stream, step)[:n_active])
            elif target.draw is not None:
                values = target.draw(prediction, self._uniforms(stream, step)[:n_active])
            if target.name in self._lowest:
                values = np.maximum(values, self._lowest[target.name][:n_active])  # as the event is that is returned
            if target.end is not None:
                ends |= values == target.end
            results.append((target, values, prediction))
        found: dict[str, Array] = {target.name: values for target, values, _ in results}
        if self._clock is not None:
            self.times, following = self._clock.advance(found)
            found |= following
        for name in self._buffers.keys() & found.keys():
            self._buffers[name][:n_active, self._length + step] = found[name]
        results = [(target, found[target.name], prediction) for target, _, prediction in results]
        if ends.any():
            results = [
                (target, np.where(ends, _at_end(target), values).astype(values.dtype), prediction)
                for target, values, prediction in results
            ]
            if self.times is not None:
                no_time = np.nan if self.times.dtype.kind == "f" else NO_TIME
                self.times = np.where(ends, no_time, self.times)
        return results, ends

    def _uniforms(self, stream: int, step: int) -> NDArray[np.float64]:
        """Return the random numbers of a step, (B,)."""
        if step % _STEPS_TOGETHER == 0:
            steps = np.arange(step, step + _STEPS_TOGETHER)[:, None]
            self._random[stream] = uniforms(self._seed, self._numbers, steps, stream)
        row: NDArray[np.float64] = self._random[stream][step % _STEPS_TOGETHER]
        return row


def _at_end(target: Generated) -> float:
    """Return the value of a target at an END."""
    if target.rules is None:
        return np.nan
    return -1 if target.end is None else target.end


def choose(probabilities: Array, rules: Rules, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sample class ids (B,) from probabilities (B, K + 1) with random numbers (B,)."""
    if rules.temperature == 0:
        best: NDArray[np.int64] = probabilities[:, 1:].argmax(axis=1) + 1
        return best
    return draw(logits_of(probabilities), uniform, rules)
