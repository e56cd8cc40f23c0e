"""`sampler_search.yaml`: a search for the sampler that generates best from a trained model.

Samplers are conditional sub-spaces: each has parameters of its own, with a list of values or a range for each.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from sequifier.config.base import NO_UNIT, Columns, Device, ProjectConfig, about, usable_name
from sequifier.config.catalogue.metric_names import SAMPLER_SCORES
from sequifier.config.placed_errors import problem
from sequifier.config.ranges import Range, Searched
from sequifier.config.samplers import DEFAULT_RANGES, MAX_TOKENS, WHOLE, Ranges, SamplerType
from sequifier.config.servers import Endpoint, Judge
from sequifier.errors import did_you_mean

JUDGE = "judge"
SCORES = (*SAMPLER_SCORES, JUDGE)


def _random(value: Any) -> Any:
    return "random" if value == "sample" else value


class SamplerSearchConfig(ProjectConfig):
    """A search over samplers: which one, with which parameters, continues sequences best."""

    sampler_search_name: str = Field(
        "sampler-search",
        min_length=1,
        description='Name of the search, whose files are in `logs/[name]/`. It must not contain "embedding".',
        json_schema_extra=about(
            interacts="the earlier results in that folder, which a search of the same name extends",
            change="for each search that you want to keep beside the others",
            synonyms="name search_name",
        ),
    )
    model_path: str | None = Field(
        None,
        description="Path of an exported model, .onnx or .pt.",
        json_schema_extra=about(
            interacts="endpoint: give one of the two; at least one target is categorical",
            change="for each new model",
            synonyms="model weights checkpoint",
        ),
    )
    endpoint: Endpoint | None = Field(None, description="A server of language models instead of a model file.")
    metadata_config_path: str | None = Field(
        None,
        description="Path of the metadata JSON; null: the model file has what is needed.",
        json_schema_extra=about(
            interacts="model_path (it must be the metadata of the model) and data_path, whose default comes from it",
            change="when data_path is left out",
        ),
    )
    data_path: str | None = Field(
        None,
        description="Path of the held-out events that are continued and compared with; null: split 1 of the "
        "metadata. For an endpoint a UTF-8 text file.",
        json_schema_extra=about(
            interacts="test_prompts; leave the test split for the final comparison",
            change="for other sequences than the validation split",
        ),
    )
    read_format: Literal["parquet", "csv", "arrow", "pt"] | None = Field(
        None,
        description="Format of the events; null: from the file's ending.",
        json_schema_extra=about(interacts="data_path", change="when the file's ending does not tell its format"),
    )
    target_columns: Columns | None = Field(
        None,
        description="Targets that are scored; null: all of the model.",
        json_schema_extra=about(
            unit="columns", interacts="model_path: the targets of the model", change="when only some targets count"
        ),
    )
    test_prompts: list[str | int] | None = Field(
        None,
        min_length=1,
        description="Prompts to continue instead of places in the data: ids of sequences there, or texts (of "
        "characters, else of labels between spaces).",
        json_schema_extra=about(
            unit="ids of sequences",
            interacts="n_prompts, which they replace; a text has no truth, so distinct_n, repetition and a judge can "
            "score it",
            change="to score on prompts of your own instead of places in the data",
            synonyms="prompts prompt",
        ),
    )
    n_prompts: int = Field(
        16,
        gt=0,
        description="Number of places in the data that are continued.",
        json_schema_extra=about(
            unit="prompts",
            interacts="test_prompts, which replace them",
            change="to more for a score with a smaller error, which takes longer",
        ),
    )
    prompt_length: int | None = Field(
        None,
        gt=0,
        description="Length of a prompt; null: half of the model's seq_length, 512 characters for an endpoint.",
        json_schema_extra=about(
            unit="events; characters for an endpoint",
            interacts="seq_length of the model, which it must not exceed",
            change="when the model will be used with shorter or longer histories",
            synonyms="context_length",
        ),
    )
    max_tokens: int | None = Field(
        None,
        gt=0,
        description="Number of events to generate for each prompt; null: seq_length, less where held-out sequences "
        "are shorter; 512 for an endpoint.",
        json_schema_extra=about(
            unit="events; tokens of its model for an endpoint",
            interacts="parameter_ranges, which may hold it; its second name is continuation_length",
            change="to the number that you will generate",
            second_names=("continuation_length",),
            synonyms="max_new_tokens max_length num_predict",
        ),
    )
    horizon: int | None = Field(
        None,
        gt=0,
        description="Length of the part of a continuation that is compared with the truth; null: all, half of "
        "max_tokens for the words of an endpoint.",
        json_schema_extra=about(
            unit="events; words or characters for an endpoint",
            interacts="max_tokens, which it must not exceed",
            change="when only the next few events have to be right",
        ),
    )
    tokens: Literal["word", "character"] = Field(
        "word",
        description="What the texts of an endpoint are cut into for accuracy, edits and n-grams.",
        json_schema_extra=about(
            interacts="endpoint", change="to character for texts without words", synonyms="tokenizer tokenization"
        ),
    )
    history: Literal["generated", "true"] | None = Field(
        None,
        description="Which events precede each generated one: `generated` ones, or the `true` ones of the data; "
        "null: generated, true for a model that reads columns which generated events do not have.",
        json_schema_extra=about(
            interacts="model_path: a model that reads prices, and does not predict them, takes true",
            change="to true to score single steps",
            synonyms="teacher_forcing",
        ),
    )
    search_strategy: Annotated[Literal["grid", "random", "bayesian"], BeforeValidator(_random)] = Field(
        "bayesian",
        description="How configurations are chosen. `grid`: every combination; `random` (or sample): n_samples "
        "random ones, in turn from each sampler; `bayesian`: n_samples, each proposed from the results "
        "so far.",
        json_schema_extra=about(
            interacts="n_samples and seed; grid takes no range without a step, except of integers",
            change="to grid for a handful of values, to random for a first look",
            synonyms="strategy algorithm",
        ),
    )
    n_samples: int = Field(
        50,
        gt=0,
        description="Number of distinct configurations to try in total, including those of earlier starts; grid "
        "ignores it.",
        json_schema_extra=about(
            unit="configurations",
            interacts="search_strategy; its second name is n_iterations",
            change="to more to extend a search: earlier configurations are kept",
            second_names=("n_iterations",),
            synonyms="n_trials iterations n_iter",
        ),
    )
    samples_per_config: int = Field(
        3,
        gt=0,
        description="Number of continuations of each prompt.",
        json_schema_extra=about(
            unit="continuations",
            interacts="n_prompts: a score is the mean over both",
            change="to more for a score with a smaller error, which takes longer",
        ),
    )
    seed: int | None = Field(
        42,
        ge=0,
        lt=2**63,
        description="Random seed of all sampling; null: a random one.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="search_strategy and samples_per_config: configurations and generations are drawn with it",
            change="to see how much of a difference between samplers is due to chance",
            synonyms="random_state random_seed manual_seed",
        ),
    )
    sampler_types: Annotated[list[SamplerType], Field(min_length=1)] = Field(
        ["top_p", "min_p", "top_n_sigma"],
        description="Samplers to compare.",
        json_schema_extra=about(
            interacts="parameter_ranges (what is tried of each)",
            change="to compare other samplers, or fewer",
            synonyms="samplers sampler",
        ),
    )
    parameter_ranges: dict[SamplerType, Ranges] = Field(
        default_factory=dict,
        description="Values to try of each sampler: parameter -> list of values or `{low, high, step, log}`. A sampler "
        "that is left out has the default ranges of docs/sampler-search.md, a parameter that is left out "
        "is off.",
        json_schema_extra=about(
            interacts="sampler_types; max_tokens may be here too, with one value",
            change="when the best values are at the end of a range",
            synonyms="search_space ranges",
        ),
    )
    scores: dict[str, Annotated[float, Field(ge=0)]] | None = Field(
        None,
        description="Weights of the parts of the score: token_accuracy, edit_similarity, likelihood, "
        "ngram_divergence, distinct_n, repetition, mae, judge; null: all that can be measured, or the "
        "judge alone.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="judge",
            change="when one part of the score counts more than the others",
            synonyms="metrics weights",
        ),
    )
    ngram: int = Field(
        3,
        gt=0,
        le=8,
        description="Length of the longest n-gram of ngram_divergence and distinct_n.",
        json_schema_extra=about(
            unit="events",
            interacts="scores: ngram_divergence and distinct_n",
            change="to more when longer patterns matter",
        ),
    )
    judge: Judge = Field(
        default_factory=Judge, description="A judge that scores generations besides the measures on held-out sequences."
    )
    device: Device = Field(
        "auto",
        description="Device that runs the model. `cuda` is the first GPU, `cuda:1` the second.",
        json_schema_extra=about(
            interacts="model_path: ONNX models need onnxruntime-gpu for cuda, and mps is for .pt models only",
            change="to leave the GPU to others",
            synonyms="gpu cuda",
        ),
    )
    inference_batch_size: int = Field(
        64,
        gt=0,
        description="Number of sequences per call of the model.",
        json_schema_extra=about(
            unit="sequences",
            interacts="no other field; memory grows with it",
            change="when generating takes too much memory, or is slow",
            synonyms="batch_size bs",
        ),
    )
    override_input: bool = Field(
        False,
        description="Whether to start without asking.",
        json_schema_extra=about(
            interacts="--yes, which does the same",
            change="to true when a script starts the search",
            synonyms="yes force",
        ),
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
                yield problem(
                    ("test_prompts",), "an endpoint continues texts; a number is not a text", self.test_prompts
                )

    def _range_problems(self) -> Iterator[InitErrorDetails]:
        lengths = set()
        if self.search_strategy == "grid" and (left_out := set(self.sampler_types) - set(self.parameter_ranges)):
            names = ", ".join(sampler for sampler in self.sampler_types if sampler in left_out)
            message = f"has no values of {names}, and grid cannot list default ranges; give lists, or use "
            yield problem(("parameter_ranges",), f"{message}search_strategy random")
        for sampler in self.sampler_types:
            place = ("parameter_ranges", sampler)
            ranges = self.ranges_of(sampler)
            if sampler not in ranges:
                yield problem(place, f"`{sampler}` has no values of its own; add `{sampler}: [...]`")
            for name, values in ranges.items():
                if isinstance(values, Range):
                    whole = name in WHOLE
                    is_given = sampler in self.parameter_ranges
                    if self.search_strategy == "grid" and is_given and not values.is_listable(whole=whole):
                        message = (
                            f"grid cannot list every value between {values.low:g} and {values.high:g}; give a list or "
                            "a step, or use search_strategy random"
                        )
                        yield problem((*place, name), message, values)
                elif None in values or (name == "top_k" and 0 in values):
                    yield problem((*place, name), "null is not a value; leave the parameter out", None)
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
        """The values to try of a sampler, by parameter."""
        given = self.parameter_ranges.get(sampler)
        return DEFAULT_RANGES[sampler] if given is None else given

    @property
    def generated_length(self) -> int | None:
        """The number of events to generate for each prompt: max_tokens, also of parameter_ranges; None: not given."""
        for sampler in self.sampler_types:
            if MAX_TOKENS in (ranges := self.ranges_of(sampler)):
                values = ranges[MAX_TOKENS]
                assert isinstance(values, Sequence)
                return int(values[0])
        return self.max_tokens

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each requested part of the score. `sampler_search.evaluate` leaves out what cannot be measured."""
        if self.scores is not None:
            return {name: weight for name, weight in self.scores.items() if weight > 0}
        return (
            {JUDGE: 1.0}
            if self.judge.type != "none"
            else {name: score.weight for name, score in SAMPLER_SCORES.items()}
        )
