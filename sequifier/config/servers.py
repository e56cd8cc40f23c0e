"""Servers that a sampler search calls: one that generates, and one that judges."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from sequifier.config.base import Command, StrictModel, about

OPENAI = "https://api.openai.com/v1"


def _base_url(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{parts.scheme or value!r} is no web address; write http://HOST:PORT/v1")
    if parts.username is not None or parts.password is not None or parts.query:
        # The value itself stays out of the message: it has a secret in it.
        raise ValueError("has a user, password or query in it, which would reach logs; give a key by api_key_env")
    return value.rstrip("/")


BaseUrl = Annotated[str, BeforeValidator(_base_url)]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

_RETRIES = about(
    unit="attempts",
    interacts="429 and 503 wait for what Retry-After says, others 1, 2, 4, ... seconds",
    change="the server fails now and then",
)


class Endpoint(StrictModel):
    """A server of language models with OpenAI's completions protocol: KoboldCpp, llama.cpp, vLLM."""

    base_url: BaseUrl = Field(
        description="Its address; `/completions` is added.",
        json_schema_extra=about(
            change="http://localhost:5001/v1 for KoboldCpp, :8080 for llama.cpp, :8000 for vLLM",
            interacts="one of model_path and endpoint",
        ),
    )
    model: str = Field(
        min_length=1,
        description="The model, as the server calls it.",
        json_schema_extra=about(interacts="base_url: what is loaded there", change="the server has several models"),
    )
    server: Literal["koboldcpp", "llamacpp", "vllm", "openai"] | None = Field(
        None,
        description="What runs there, which says which samplers it knows and what it calls them; null: asked of its "
        "list of models.",
        json_schema_extra=about(
            interacts="sampler_types: vllm has no top_n_sigma, openai has temperature and top_p",
            change="the server is not recognised by its list of models",
        ),
    )
    api_key_env: EnvironmentName | None = Field(
        None,
        description="Environment variable, or line of .env in project_root, that holds its key; null: no key.",
        json_schema_extra=about(
            interacts="the key reaches no log, record or error", change="the server asks for a key"
        ),
    )
    timeout_seconds: float = Field(
        60.0,
        gt=0,
        description="Time for one request.",
        json_schema_extra=about(
            unit="seconds", interacts="max_tokens: longer texts take longer", change="the server is slow"
        ),
    )
    retries: int = Field(3, ge=0, description="Further attempts after one that failed.", json_schema_extra=_RETRIES)
    requests_per_minute: float | None = Field(
        None,
        gt=0,
        description="Requests are spread out to no more than this; null: no limit.",
        json_schema_extra=about(
            unit="requests per minute",
            interacts="retries: fewer are needed with a limit",
            change="the server limits requests",
        ),
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="Sent with each request as it is.",
        json_schema_extra=about(change="{ignore_eos: true}", interacts="is written to logs: no secrets"),
    )


class Judge(StrictModel):
    """Who scores generations besides, or instead of, the measures on held-out sequences."""

    type: Literal["none", "script", "http"] = Field(
        "none",
        description="none; script: a program of your own; http: a model behind OpenAI's chat protocol.",
        json_schema_extra=about(
            interacts="scores.judge is its weight; without `scores` it alone counts",
            change="the measures on held-out sequences do not say what is good",
        ),
    )
    command: Command | None = Field(
        None,
        min_length=1,
        description="script: the command. It gets a configuration's generations as JSON on standard input and prints "
        'as its last line {"scores": [...]}, a number from 0 to 10 or null for each.',
        json_schema_extra=about(interacts="type: script", change="a program of your own judges"),
    )
    base_url: BaseUrl = Field(
        OPENAI,
        description="http: its address; `/chat/completions` is added.",
        json_schema_extra=about(interacts="type: http", change="the judge is another server's model"),
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="http: the judging model.",
        json_schema_extra=about(interacts="type: http, which needs it", change="a model judges"),
    )
    api_key_env: EnvironmentName | None = Field(
        None,
        description="http: environment variable, or line of .env in project_root, that holds its key; null: "
        "OPENAI_API_KEY for OpenAI's own base_url, no key for any other.",
        json_schema_extra=about(
            interacts="type: http; the key reaches no log, record or error",
            change="the key has another name, or another server asks for one",
        ),
    )
    criteria: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=lambda: {"quality": 1.0},
        min_length=1,
        description="http: what is judged, each from 0 to 10, and its weight.",
        json_schema_extra=about(
            unit="no unit", interacts="type: http", change="one quality is not enough: {coherence: 2, style: 1}"
        ),
    )
    instructions: str = Field(
        "",
        description="http: what the judge should know about the task.",
        json_schema_extra=about(interacts="type: http", change="the judge cannot know what the texts are for"),
    )
    timeout_seconds: float = Field(
        60.0,
        gt=0,
        description="Time for one request; of a script for all generations of a configuration.",
        json_schema_extra=about(
            unit="seconds",
            interacts="samples_per_config x n_prompts generations are judged",
            change="the judge is slow",
        ),
    )
    retries: int = Field(
        3, ge=0, description="http: further attempts after one that failed.", json_schema_extra=_RETRIES
    )
    requests_per_minute: float | None = Field(
        None,
        gt=0,
        description="http: requests are spread out to no more than this; null: no limit.",
        json_schema_extra=about(unit="requests per minute", interacts="type: http", change="the judge limits requests"),
    )

    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="http: sent with each request as it is.",
        json_schema_extra=about(
            change="{temperature: 1} for a model that takes no other", interacts="is written to logs: no secrets"
        ),
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.type == "script" and self.command is None:
            raise ValueError("command: is required for type: script")
        if self.type == "http" and self.model is None:
            raise ValueError("model: is required for type: http")
        return self
