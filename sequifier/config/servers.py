"""Servers that a sampler search calls: one that generates, and one that judges."""

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from sequifier.config.base import NO_UNIT, Command, FreeMap, StrictModel, about

OPENAI = "https://api.openai.com/v1"


def _base_url(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{parts.scheme or value!r} is not a web address; write http://HOST:PORT/v1")
    if parts.username is not None or parts.password is not None or parts.query:
        # The value stays out of the message: it contains a secret.
        raise ValueError("contains a user, password or query, which would reach logs; give a key by api_key_env")
    return value.rstrip("/")


def _environment_name(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(_NAME, value):
        # The value stays out of the message: it may be the key itself.
        raise ValueError(
            "is not the name of an environment variable; write the key into .env as NAME=..., and NAME here"
        )
    return value


BaseUrl = Annotated[str, BeforeValidator(_base_url)]
_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
EnvironmentName = Annotated[str, Field(pattern=_NAME), BeforeValidator(_environment_name)]


class Endpoint(StrictModel):
    """A server of language models with OpenAI's completions protocol: KoboldCpp, llama.cpp, vLLM."""

    base_url: BaseUrl = Field(
        description="Address of the server; `/completions` is added.",
        json_schema_extra=about(
            interacts="model_path: give one of the two",
            change="to `http://localhost:5001/v1` for KoboldCpp, port 8080 for llama.cpp, port 8000 for vLLM",
            synonyms="url host api_base",
        ),
    )
    model: str = Field(
        min_length=1,
        description="Name of the model on the server.",
        json_schema_extra=about(
            interacts="base_url: what is loaded there", change="when the server has several models"
        ),
    )
    server: Literal["koboldcpp", "llamacpp", "vllm", "openai"] | None = Field(
        None,
        description="Kind of server, which decides the samplers that it has and their names; null: found from its "
        "list of models.",
        json_schema_extra=about(
            interacts="sampler_types: vllm has no top_n_sigma, openai has temperature and top_p",
            change="when the server is not recognised by its list of models",
        ),
    )
    api_key_env: EnvironmentName | None = Field(
        None,
        description="Environment variable, or line of .env in project_root, that holds the API key; null: no key.",
        json_schema_extra=about(
            interacts="base_url; the key reaches no log, record or error",
            change="when the server requires a key",
            synonyms="api_key token key",
        ),
    )
    timeout_seconds: float = Field(
        60.0,
        gt=0,
        description="Time limit of one request.",
        json_schema_extra=about(
            unit="seconds",
            interacts="max_tokens: longer texts take longer",
            change="when the server is slow",
            synonyms="timeout",
        ),
    )
    retries: int = Field(
        3,
        ge=0,
        description="Number of further attempts after a request that failed.",
        json_schema_extra=about(
            unit="attempts",
            interacts="requests_per_minute; before another attempt it waits as long as Retry-After says (429 and 503), "
            "else 1, 2, 4, ... seconds",
            change="when the server fails now and then",
        ),
    )
    requests_per_minute: float | None = Field(
        None,
        gt=0,
        description="Number of requests per minute at most, spread out evenly; null: no limit.",
        json_schema_extra=about(
            unit="requests per minute",
            interacts="retries: fewer are needed with a limit",
            change="when the server limits requests",
            synonyms="rate_limit rpm",
        ),
    )
    extra_body: FreeMap = Field(
        default_factory=dict,
        description="Further fields that are sent with each request as they are.",
        json_schema_extra=about(
            interacts="logs, which contain them: write no secrets",
            change="to `{ignore_eos: true}` for texts of full length",
        ),
    )


class Judge(StrictModel):
    """What scores generations besides, or instead of, the measures on held-out sequences."""

    type: Literal["none", "script", "http"] = Field(
        "none",
        description="Kind of judge. `none`; `script`: a program of your own; `http`: a model behind OpenAI's chat "
        "protocol.",
        json_schema_extra=about(
            interacts="scores.judge, its weight; without `scores` it alone counts",
            change="when the measures on held-out sequences do not say what is good",
        ),
    )
    command: Command | None = Field(
        None,
        min_length=1,
        description="Command of a `script` judge. It receives a configuration's generations as JSON on standard "
        'input and prints as its last line `{"scores": [...]}`, a number from 0 to 10 or null for each.',
        json_schema_extra=about(interacts="type: script, which uses it", change="to let a program of your own judge"),
    )
    base_url: BaseUrl = Field(
        OPENAI,
        description="Address of an `http` judge; `/chat/completions` is added.",
        json_schema_extra=about(
            interacts="type: http, which uses it", change="when the judge is another server's model"
        ),
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="Name of the model of an `http` judge.",
        json_schema_extra=about(interacts="type: http, which requires it", change="to let a model judge"),
    )
    api_key_env: EnvironmentName | None = Field(
        None,
        description="Environment variable, or line of .env in project_root, that holds the key of an `http` judge; "
        "null: OPENAI_API_KEY for OpenAI's own base_url, no key for any other.",
        json_schema_extra=about(
            interacts="type: http; the key reaches no log, record or error",
            change="when the key has another name, or another server requires one",
            synonyms="api_key token key",
        ),
    )
    criteria: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=lambda: {"quality": 1.0},
        min_length=1,
        description="Criteria of an `http` judge, each scored from 0 to 10, and their weights.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="type: http, which uses it",
            change="to `{coherence: 2, style: 1}` when one quality is not enough",
        ),
    )
    instructions: str = Field(
        "",
        description="What an `http` judge should know about the task.",
        json_schema_extra=about(
            interacts="type: http, which uses it", change="when the judge cannot know what the texts are for"
        ),
    )
    timeout_seconds: float = Field(
        60.0,
        gt=0,
        description="Time limit of one request; of a script, for all generations of a configuration.",
        json_schema_extra=about(
            unit="seconds",
            interacts="samples_per_config and n_prompts, whose product is judged",
            change="when the judge is slow",
        ),
    )
    retries: int = Field(
        3,
        ge=0,
        description="Number of further attempts of an `http` judge after a request that failed.",
        json_schema_extra=about(
            unit="attempts",
            interacts="requests_per_minute; before another attempt it waits as long as Retry-After says (429 and 503), "
            "else 1, 2, 4, ... seconds",
            change="when the server fails now and then",
        ),
    )
    requests_per_minute: float | None = Field(
        None,
        gt=0,
        description="Number of requests per minute to an `http` judge at most, spread out evenly; null: no limit.",
        json_schema_extra=about(
            unit="requests per minute", interacts="type: http, which uses it", change="when the judge limits requests"
        ),
    )

    extra_body: FreeMap = Field(
        default_factory=dict,
        description="Further fields that are sent to an `http` judge with each request, as they are.",
        json_schema_extra=about(
            interacts="logs, which contain them: write no secrets",
            change="to `{temperature: 1}` for a model that takes no other",
        ),
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.type == "script" and self.command is None:
            raise ValueError("command: is required for type: script")
        if self.type == "http" and self.model is None:
            raise ValueError("model: is required for type: http")
        return self
