"""How events are sampled from a model's predictions, and the values that a sampler search tries.

A field of `Sampler` is a field of `generation.samplers.Rules`; a new one is also a sampler of a search.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PlainValidator, ValidationError
from pydantic_core import InitErrorDetails

from sequifier.config.base import NO_UNIT, StrictModel, about
from sequifier.config.placed_errors import problem, relocated
from sequifier.config.ranges import Range, Searched
from sequifier.config.searched import ValuesOf
from sequifier.errors import did_you_mean


class Sampler(StrictModel):
    """How an event is sampled from the predicted distribution, in the order in which the fields act."""

    temperature: float = Field(
        1.0,
        ge=0,
        description="Temperature, by which the logits are divided; 0 takes the most likely class.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="the other fields, which filter classes after it",
            change="to less than 1 for more likely events, to more than 1 for more varied ones",
            synonyms="temp",
        ),
    )
    top_n_sigma: float | None = Field(
        None,
        gt=0,
        description="Largest distance of a kept logit from the best one, in standard deviations; null: off.",
        json_schema_extra=about(
            unit="standard deviations of the logits",
            interacts="temperature, on which the kept classes do not depend",
            change="to use high temperatures without very unlikely classes",
        ),
    )
    top_k: int | None = Field(
        None,
        gt=0,
        description="Number of most likely classes to keep; null: all.",
        json_schema_extra=about(
            unit="classes", interacts="temperature", change="when rare classes should never be sampled", synonyms="topk"
        ),
    )
    top_p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Probability that the kept classes reach together, the most likely ones first; null: off.",
        json_schema_extra=about(
            unit="probability",
            interacts="temperature",
            change="to 0.9 to exclude the least likely classes, at most 10 % of the probability together",
            synonyms="topp nucleus nucleus_p",
        ),
    )
    min_p: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Smallest probability of a kept class, as a fraction of the most likely class's; null: off.",
        json_schema_extra=about(
            unit="fraction of the best class's probability",
            interacts="temperature",
            change="to a value from 0.05 to 0.1 to exclude very unlikely classes at high temperatures",
        ),
    )
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**63,
        description="Random seed of the draws; null: the config's seed.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="the config's seed, where this one is null",
            change="to draw other samples with the same settings",
        ),
    )


SamplerType = Literal["top_p", "min_p", "top_n_sigma", "top_k", "temperature"]
SAMPLERS: tuple[SamplerType, ...] = get_args(SamplerType)
MAX_TOKENS = "max_tokens"
PARAMETERS = (*(name for name in Sampler.model_fields if name != "seed"), MAX_TOKENS)
"""Parameters of a sampler that a search may vary, in the order of its dimensions."""

WHOLE = ("top_k", MAX_TOKENS)
"""Parameters that are integers."""

DEFAULT_RANGES: dict[SamplerType, dict[str, Range]] = {
    "top_p": {"temperature": Range(low=0.6, high=1.3), "top_p": Range(low=0.8, high=0.99)},
    "min_p": {"temperature": Range(low=0.7, high=1.6), "min_p": Range(low=0.005, high=0.15, log=True)},
    "top_n_sigma": {"temperature": Range(low=0.8, high=2.2), "top_n_sigma": Range(low=0.5, high=3.0)},
    "top_k": {"temperature": Range(low=0.6, high=1.3), "top_k": Range(low=5, high=100, log=True)},
    "temperature": {"temperature": Range(low=0.2, high=1.6)},
}
"""What is searched of a sampler that `parameter_ranges` leaves out."""


class _TokenLimit(StrictModel):
    max_tokens: int = Field(gt=0)


def _parameters(raw: Any) -> dict[str, Searched]:
    """The parameters of one sampler: each a value, a list of values or a range, validated as in a sampler."""
    if not isinstance(raw, Mapping) or not raw:
        raise ValueError("should be a map from parameters to lists or ranges: {temperature: [0.8, 1.0], min_p: 0.05}")
    known = [*SAMPLERS, MAX_TOKENS]
    found: dict[str, Searched] = {}
    errors: list[InitErrorDetails] = []
    for name, values in raw.items():
        if name not in known:
            errors.append(problem((name,), f"`{name}` is not a parameter of a sampler; {did_you_mean(name, known)}"))
            continue
        try:
            owner = _TokenLimit if name == MAX_TOKENS else Sampler
            found[name] = ValuesOf(owner, name, searched=True).validate_all(values)
        except ValidationError as error:
            errors += relocated(error, drop=0, prefix=(name,))
        except ValueError as error:
            errors.append(problem((name,), str(error), values))
    if errors:
        raise ValidationError.from_exception_data("parameter_ranges", errors)
    return found


Ranges = Annotated[dict[str, Searched], PlainValidator(_parameters)]
"""What is tried of one sampler: parameter -> values."""
