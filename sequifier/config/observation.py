"""`observation`: from when and until when the events of each sequence are observed."""

from typing import TYPE_CHECKING

from pydantic import Field, StrictFloat, StrictInt

from sequifier.config.base import StrictModel, about

Moment = StrictInt | StrictFloat | str
"""A position, the same for all sequences, or the column that has it."""


class Observation(StrictModel):
    """When the observation of a sequence starts and ends, as positions."""

    start: Moment | None = Field(
        None,
        description="Position at which the observation of a sequence starts: a number, or the column that has it. Each "
        "sequence then begins with an event START at this position. START is an input and never a target, so that "
        "the first real event is predicted too; null: first events are not predicted.",
        json_schema_extra=about(
            unit="positions",
            interacts="time_features: since_start, which needs it; position_column, whose values it is compared with",
            change="to 0 when positions are times since the observation started",
            synonyms="t_start entry start_time origin",
        ),
    )
    end: Moment | None = Field(
        None,
        description="Position until which a sequence is observed: a number, or the column that has it. A model with a "
        "distribution of `time_gap` then also learns that no event came between the last one and this position "
        "(right censoring, the survival term of the likelihood); null: nothing is known after the last event.",
        json_schema_extra=about(
            unit="positions",
            interacts="time_features, which needs gap; distribution of train; split_method, which must keep sequences "
            "whole; metric: nll_per_event",
            change="to the end of the observed period when rates or the time to the next event matter",
            synonyms="t_end censoring censored right_censored exit end_time horizon",
        ),
    )

    @property
    def columns(self) -> list[str]:
        """The columns of the table that it names."""
        return list(dict.fromkeys(each for each in (self.start, self.end) if isinstance(each, str)))


class Observed:
    """What follows from the `observation` of a config, or of the rules that are stored of it."""

    if TYPE_CHECKING:  # the classes that inherit this declare the field, at its place among the others
        observation: Observation | None

    @property
    def has_start(self) -> bool:
        """Whether each sequence begins with START, its first row."""
        return self.observation is not None and self.observation.start is not None

    @property
    def has_end(self) -> bool:
        """Whether sequences are observed until after their last event; the last row is then the end."""
        return self.observation is not None and self.observation.end is not None
