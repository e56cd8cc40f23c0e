"""`sampler_search.yaml`: which sampler draws best from a trained model.

Samplers are conditional sub-spaces: each has parameters of its own, with a list of values or a range for each.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from sequifier.config.base import Columns, ProjectConfig, about, usable_name
from sequifier.config.placed_errors import problem
from sequifier.config.ranges import Range, Searched
from sequifier.config.sampler_ranges import DEFAULT_RANGES, MAX_TOKENS, WHOLE, Ranges, SamplerType
from sequifier.config.servers import Endpoint, Judge
from sequifier.errors import did_you_mean

DEFAULT_SCORES: dict[str, float] = {
    "token_accuracy": 1.0,
    "edit_similarity": 1.0,
    "likelihood": 1.0,
    "ngram_divergence": 1.0,
    "distinct_n": 0.5,
    "repetition": 0.5,
    "mae": 1.0,
}
JUDGE = "judge"
SCORES = (*DEFAULT_SCORES, JUDGE)


def _random(value: Any) -> Any:
    return "random" if value == "sample" else value


class SamplerSearchConfig(ProjectConfig):
    """A search over samplers: which one, with which parameters, continues sequences best."""

    sampler_search_name: str = Field(
        "sampler-search",
        min_length=1,
        description="Name of the search: logs/[name]/.",
        json_schema_extra=about(
            interacts='must not contain "embedding"', change="for each search that should stand beside the others"
        ),
    )
    model_path: str | None = Field(
        None,
        description="An exported model, .onnx or .pt.",
        json_schema_extra=about(
            interacts="one of model_path and endpoint; one target at least is categorical", change="for each new model"
        ),
    )
    endpoint: Endpoint | None = Field(None, description="A server of language models instead.")
    metadata_config_path: str | None = Field(
        None,
        description="The metadata JSON; null: what the model file says.",
        json_schema_extra=about(
            interacts="must be that of the model; data_path is found through it", change="data_path is left out"
        ),
    )
    data_path: str | None = Field(
        None,
        description="Held-out events that are continued and compared with; null: split 1 of the metadata. For an "
        "endpoint a UTF-8 text file.",
        json_schema_extra=about(
            interacts="leave the test split for the final comparison",
            change="other sequences than the validation split",
        ),
    )
    read_format: Literal["parquet", "csv", "arrow", "pt"] | None = Field(
        None,
        description="Format of the events; null: by the file's ending.",
        json_schema_extra=about(interacts="data_path", change="the file's ending does not tell its format"),
    )
    target_columns: Columns | None = Field(
        None,
        description="Targets that are scored; null: all of the model.",
        json_schema_extra=about(unit="columns", interacts="the model's targets", change="only some targets count"),
    )
    test_prompts: list[str | int] | None = Field(
        None,
        min_length=1,
        description="What is continued instead of places in the data: ids of sequences there, or texts (of characters, "
        "else of labels between spaces).",
        json_schema_extra=about(
            interacts="a text has no truth, so distinct_n, repetition and a judge can score it",
            unit="ids of sequences",
            change="certain prompts matter more than places in the data",
        ),
    )
    n_prompts: int = Field(
        16,
        gt=0,
        description="Places in the data that are continued.",
        json_schema_extra=about(
            unit="prompts",
            interacts="test_prompts takes their place",
            change="more for a steadier score, which takes longer",
        ),
    )
    prompt_length: int | None = Field(
        None,
        gt=0,
        description="What a prompt shows; null: half of the model's seq_length, 512 characters for an endpoint.",
        json_schema_extra=about(
            unit="events; characters for an endpoint",
            interacts="at most the model's seq_length",
            change="the model will be used with shorter or longer histories",
        ),
    )
    max_tokens: int | None = Field(
        None,
        gt=0,
        description="What is generated for each prompt; null: seq_length, less where held-out sequences are shorter; "
        "512 for an endpoint.",
        json_schema_extra=about(
            second_names=("continuation_length",),
            unit="events; tokens of its model for an endpoint",
            interacts="also called continuation_length",
            change="as long as what you will generate",
        ),
    )
    horizon: int | None = Field(
        None,
        gt=0,
        description="How much of a continuation is compared with the truth; null: all, half of max_tokens for the "
        "words of an endpoint.",
        json_schema_extra=about(
            unit="events; words or characters for an endpoint",
            interacts="at most max_tokens",
            change="only the next few events have to be right",
        ),
    )
    tokens: Literal["word", "character"] = Field(
        "word",
        description="Endpoint: what a text is cut into for accuracy, edits and n-grams.",
        json_schema_extra=about(interacts="endpoint", change="character for texts without words"),
    )
    history: Literal["generated", "true"] | None = Field(
        None,
        description="What lies behind each generated event: what was generated before it, or what was really there; "
        "null: generated, true for a model that reads columns it does not predict.",
        json_schema_extra=about(
            interacts="model_path: a model that reads columns it does not predict takes true",
            change="true to score single steps",
        ),
    )
    search_strategy: Annotated[Literal["grid", "random", "bayesian"], BeforeValidator(_random)] = Field(
        "bayesian",
        description="grid: every combination; random (or sample): n_samples of them, drawn by seed, in turn from each "
        "sampler; bayesian: n_samples, each chosen by what the results so far promise.",
        json_schema_extra=about(
            interacts="grid takes no range without a step, except of whole numbers",
            change="grid for a handful of values, random for a first look",
        ),
    )
    n_samples: int = Field(
        50,
        gt=0,
        description="Distinct configurations to try in total, those of earlier starts included; grid ignores it.",
        json_schema_extra=about(
            second_names=("n_iterations",),
            unit="configurations",
            interacts="also called n_iterations",
            change="raise it to go on: earlier configurations are kept",
        ),
    )
    samples_per_config: int = Field(
        3,
        gt=0,
        description="Continuations of each prompt.",
        json_schema_extra=about(
            unit="continuations",
            interacts="n_prompts: a score is the mean over both",
            change="more for a steadier score, which takes longer",
        ),
    )
    seed: int | None = Field(
        42,
        ge=0,
        lt=2**63,
        description="Seed of everything drawn; null draws one.",
        json_schema_extra=about(
            unit="a seed",
            interacts="configurations and generations are drawn by it",
            change="to see how much of a difference is chance",
        ),
    )
    sampler_types: Annotated[list[SamplerType], Field(min_length=1)] = Field(
        ["top_p", "min_p", "top_n_sigma"],
        description="The samplers to compare.",
        json_schema_extra=about(
            interacts="parameter_ranges says what is tried of each",
            change="other samplers are to be compared, or fewer",
        ),
    )
    parameter_ranges: dict[SamplerType, Ranges] = Field(
        default_factory=dict,
        description="What is tried of each sampler: parameter -> list of values or {low, high, step, log}. A sampler "
        "that is left out has the default ranges of docs/sampler-search.md, a parameter that is left out is off.",
        json_schema_extra=about(
            interacts="max_tokens may stand here too, with one value",
            change="the best values lie at the end of a range",
        ),
    )
    scores: dict[str, Annotated[float, Field(ge=0)]] | None = Field(
        None,
        description="Weights of the parts of the score: token_accuracy, edit_similarity, likelihood, "
        "ngram_divergence, distinct_n, repetition, mae, judge; null: all that can be measured, or the judge alone.",
        json_schema_extra=about(
            unit="no unit", interacts="judge", change="one part of the score counts more than the others"
        ),
    )
    ngram: int = Field(
        3,
        gt=0,
        le=8,
        description="Longest n-gram of ngram_divergence and distinct_n.",
        json_schema_extra=about(
            unit="events", interacts="scores: ngram_divergence and distinct_n", change="longer patterns matter"
        ),
    )
    judge: Judge = Field(default_factory=Judge, description="Who scores generations besides.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto",
        description="Where the model runs.",
        json_schema_extra=about(
            interacts="model_path: ONNX models run on the CPU", change="to leave the GPU to others"
        ),
    )
    inference_batch_size: int = Field(
        64,
        gt=0,
        description="Sequences per call of the model.",
        json_schema_extra=about(
            unit="sequences", interacts="memory grows with it", change="generating takes too much memory, or is slow"
        ),
    )
    override_input: bool = Field(
        False,
        description="Never ask before starting.",
        json_schema_extra=about(interacts="the same as --yes", change="a script starts the search"),
    )

    @field_validator("sampler_search_name")
    @classmethod
    def _usable_in_file_names(cls, name: str) -> str:
        return usable_name(name)

    @field_validator("sampler_types")
    @classmethod
    def _each_once(cls, types: list[SamplerType]) -> list[SamplerType]:
        return list(dict.fromkeys(types))

    @field_validator("scores")
    @classmethod
    def _known_scores(cls, scores: dict[str, float] | None) -> dict[str, float] | None:
        for name in scores or ():
            if name not in SCORES:
                raise ValueError(f"there is no score `{name}`; {did_you_mean(name, SCORES)}")
        if scores is not None and not sum(scores.values()) > 0:
            raise ValueError("no score has a weight above 0")
        return scores

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        errors = [*self._source_problems(), *self._range_problems(), *self._score_problems()]
        if errors:
            raise ValidationError.from_exception_data("search", errors)
        return self

    def _source_problems(self) -> Iterator[InitErrorDetails]:
        if self.model_path is None and self.endpoint is None:
            yield problem(("model_path",), "is missing: give model_path, or endpoint for a server")
        if self.model_path is not None and self.endpoint is not None:
            yield problem(("model_path",), "excludes endpoint; set one of both to null", self.model_path)
        if self.endpoint is not None:
            if self.test_prompts is None and self.data_path is None:
                yield problem(("test_prompts",), "is missing: an endpoint needs test_prompts, or a text as data_path")
            if self.test_prompts is not None and any(isinstance(prompt, int) for prompt in self.test_prompts):
                yield problem(("test_prompts",), "an endpoint continues texts; a number is no text", self.test_prompts)

    def _range_problems(self) -> Iterator[InitErrorDetails]:
        lengths = set()
        for sampler in self.sampler_types:
            place = ("parameter_ranges", sampler)
            ranges = self.ranges_of(sampler)
            if sampler not in ranges:
                yield problem(place, f"`{sampler}` itself has no values; add `{sampler}: [...]`")
            for name, values in ranges.items():
                if isinstance(values, Range):
                    whole = name in WHOLE
                    if self.search_strategy == "grid" and not values.is_listable(whole=whole):
                        given = "" if sampler in self.parameter_ranges else " (its default range)"
                        message = (
                            f"grid cannot list every value between {values.low:g} and {values.high:g}{given}; give a "
                            "list or a step, or use search_strategy random"
                        )
                        yield problem((*place, name), message, values)
                elif None in values or (name == "top_k" and 0 in values):
                    yield problem((*place, name), "null is no value; leave the parameter out", None)
                if name == MAX_TOKENS:
                    lengths |= {None} if isinstance(values, Range) else set(values)
        if lengths and (len(lengths) > 1 or None in lengths):
            message = "has several values; continuations of different lengths cannot be compared: give one"
            yield problem(("parameter_ranges",), f"{MAX_TOKENS} {message}")

    def _score_problems(self) -> Iterator[InitErrorDetails]:
        weighs = self.scores is not None and self.scores.get(JUDGE, 0) > 0
        if self.judge.type == "none" and weighs:
            yield problem(("scores", JUDGE), "there is no judge; set judge.type")
        if self.judge.type != "none" and self.scores is not None and not weighs:
            yield problem(("scores",), f"the judge has no weight; add `{JUDGE}: 1`, or set judge.type: none")

    def ranges_of(self, sampler: SamplerType) -> Mapping[str, Searched]:
        """What is tried of a sampler, by parameter."""
        given = self.parameter_ranges.get(sampler)
        return DEFAULT_RANGES[sampler] if given is None else given

    @property
    def generated_length(self) -> int | None:
        """What is generated for each prompt, where the config says it: max_tokens, also of parameter_ranges."""
        for sampler in self.sampler_types:
            if MAX_TOKENS in (ranges := self.ranges_of(sampler)):
                values = ranges[MAX_TOKENS]
                assert isinstance(values, Sequence)
                return int(values[0])
        return self.max_tokens

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each part of the score that was asked for; what cannot be measured is left out later, see
        `sampler_search.evaluate`."""
        if self.scores is not None:
            return {name: weight for name, weight in self.scores.items() if weight > 0}
        return {JUDGE: 1.0} if self.judge.type != "none" else dict(DEFAULT_SCORES)
