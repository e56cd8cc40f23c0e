"""The samplers that a search compares, and what it tries of each of their parameters."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PlainValidator, ValidationError
from pydantic_core import InitErrorDetails

from sequifier.config.base import StrictModel
from sequifier.config.inference import Sampler
from sequifier.config.placed_errors import problem, relocated
from sequifier.config.ranges import Range, Searched
from sequifier.config.searched import ValuesOf
from sequifier.errors import did_you_mean

SamplerType = Literal["top_p", "min_p", "top_n_sigma", "top_k", "temperature"]
SAMPLERS: tuple[SamplerType, ...] = get_args(SamplerType)
MAX_TOKENS = "max_tokens"
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
