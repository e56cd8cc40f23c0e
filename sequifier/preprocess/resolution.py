"""The precision of positions: gaps of 0 are gaps below it."""

from collections.abc import Sequence

from sequifier.artifacts.events import POSITION
from sequifier.artifacts.time_rules import DerivedColumn, TimeRules
from sequifier.callbacks import Log
from sequifier.errors import DataError
from sequifier.preprocess.check import Part
from sequifier.preprocess.learn import first_values
from sequifier.preprocess.split import Split


def with_resolution(time: TimeRules, parts: Sequence[Part], split: Split, log: Log) -> TimeRules:
    """Return the rules with `time_resolution`, where events are observed: the smallest positive gap of split 0.

    Raises:
        DataError: no gap of split 0 is positive.
    """
    gap = DerivedColumn(POSITION, "gap").name
    if gap not in time.derived or (time.observation is None and time.time_resolution is None):
        return time
    training = [first_values(part, gap, n) for part, n in zip(parts, split.first_rows(0), strict=True)]
    n_zero = sum(int((values == 0).sum()) for values in training)
    resolution, unit = time.time_resolution, time.seconds_per_unit(gap)
    if resolution is None:
        lowest = [found for values in training if (found := values.filter(values > 0).min()) is not None]
        if not lowest:
            raise DataError(
                f"{gap} has no positive value in split 0, so its likelihood has no meaning",
                where="observation",
                fix="check the positions, or leave observation out",
            )
        resolution = float(min(lowest)) / unit  # type: ignore[arg-type]
    of_unit = "" if time.time_unit == "none" else f" {time.time_unit}"
    log(f"time_resolution: {resolution:.6g}{of_unit}; {n_zero:,} gaps of split 0 are 0, which means below it")
    return time.model_copy(update={"time_resolution": resolution})
