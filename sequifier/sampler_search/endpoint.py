"""A server of language models: OpenAI's completions protocol, and each server's names for its samplers.

Samplers that a configuration does not use are switched off explicitly: the defaults of a server would otherwise change
every configuration (llama.cpp samples with top_k 40, top_p 0.95 and min_p 0.05 by default).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.samplers import MAX_TOKENS
from sequifier.config.servers import Endpoint
from sequifier.errors import ConfigError, Problem, RunError
from sequifier.sampler_search.client import Client, RequestFailedError, find_key
from sequifier.sampler_search.space import Configuration


@dataclass(frozen=True)
class Server:
    """A kind of server.

    Attributes:
        names: parameter -> the server's name for it.
        off: values that switch off all samplers, by the server's names; sent with every request.
        owner: `owned_by` in its list of models.
    """

    names: Mapping[str, str]
    off: Mapping[str, Any]
    owner: str


SERVERS: Mapping[str, Server] = {
    "koboldcpp": Server(
        {
            "temperature": "temperature",
            "top_p": "top_p",
            "top_k": "top_k",
            "min_p": "min_p",
            "top_n_sigma": "nsigma",
        },
        {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "nsigma": 0.0, "typical": 1.0, "tfs": 1.0, "rep_pen": 1.0},
        "koboldcpp",
    ),
    "llamacpp": Server(
        {name: name for name in ("temperature", "top_p", "top_k", "min_p", "top_n_sigma")},
        {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "top_n_sigma": -1.0, "typical_p": 1.0, "repeat_penalty": 1.0},
        "llamacpp",
    ),
    "vllm": Server(
        {name: name for name in ("temperature", "top_p", "top_k", "min_p")},
        {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
        "vllm",
    ),
    "openai": Server({name: name for name in ("temperature", "top_p")}, {"top_p": 1.0}, "openai"),
}


class EndpointModel:
    """The model behind an endpoint.

    Args:
        endpoint: address, model and key.
        root: the project's folder, for `.env`.
        server: a key of `SERVERS`.
        client: of the server; None: a new one.

    Raises:
        ConfigError: the key is missing.
    """

    def __init__(self, endpoint: Endpoint, root: Path, server: str, *, client: Client | None = None) -> None:
        self._endpoint, self.server = endpoint, server
        self._client = client or open_client(endpoint, root)

    def complete(self, prompt: str, configuration: Configuration, *, max_tokens: int, seed: int) -> str:
        """Continue a text.

        Args:
            prompt: the text.
            configuration: the sampler.
            max_tokens: largest number of the server's tokens.
            seed: of the sampling, for servers that have one.

        Raises:
            RequestFailedError: no attempt returned a continuation.
        """
        kind = SERVERS[self.server]
        sampler = {kind.names[name]: value for name, value in configuration.parameters.items() if name != MAX_TOKENS}
        body: dict[str, Any] = {
            "model": self._endpoint.model,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "seed": seed,
            "stream": False,
            "temperature": 1.0,
        }
        body |= {**kind.off, **sampler, **self._endpoint.extra_body}
        text: str = self._client.post("/completions", body, parse=_text)
        return text


def open_client(endpoint: Endpoint, root: Path) -> Client:
    """Return a client of an endpoint.

    Raises:
        ConfigError: the key is missing.
    """
    key = None
    if endpoint.api_key_env is not None:
        key = find_key(endpoint.api_key_env, root)
        if key is None:
            raise ConfigError([no_key("endpoint.api_key_env", endpoint.api_key_env, root)])
    return Client(
        endpoint.base_url,
        key=key,
        timeout_seconds=endpoint.timeout_seconds,
        retries=endpoint.retries,
        requests_per_minute=endpoint.requests_per_minute,
    )


def no_key(field: str, name: str, root: Path) -> Problem:
    """Return the problem of a missing key."""
    return Problem(
        field,
        f"the key is missing: {name} is neither in the environment nor in {root / '.env'}",
        fix=f"write {name}=... into .env, or export it",
    )


def find_server(endpoint: Endpoint, client: Client) -> str:
    """Return the kind of server: from the config, else from its list of models.

    Raises:
        RunError: the server does not answer.
    """
    if endpoint.server is not None:
        return endpoint.server
    try:
        models = client.get("/models")["data"]
        owners = " ".join(str(model.get("owned_by", "")) for model in models).lower()
    except RequestFailedError as error:
        raise RunError(
            f"the endpoint does not answer: {error}", fix="start the server, or set endpoint.server"
        ) from None
    except (KeyError, TypeError, AttributeError):
        owners = ""
    return next((name for name, kind in SERVERS.items() if kind.owner in owners), "openai")


def check_samplers(config: SamplerSearchConfig, server: str, *, is_said: bool) -> None:
    """Check that a server supports the searched samplers.

    Args:
        config: of the search.
        server: a key of `SERVERS`.
        is_said: whether the config names the server; otherwise it was detected.

    Raises:
        ConfigError: the server does not support a sampler.
    """
    known = SERVERS[server].names
    problems = []
    for sampler in config.sampler_types:
        unknown = [name for name in config.ranges_of(sampler) if name not in known and name != MAX_TOKENS]
        if unknown:
            problems.append(
                Problem(
                    f"sampler_types[{config.sampler_types.index(sampler)}]",
                    f"{server} does not support {', '.join(unknown)}, which sampler `{sampler}` needs"
                    + ("" if is_said else " (the server was not recognised, so it counts as plain OpenAI)"),
                    fix=f"use samplers of {', '.join(known)}"
                    + ("" if is_said else ", or set endpoint.server: koboldcpp, llamacpp or vllm"),
                )
            )
    if problems:
        raise ConfigError(problems)


def _text(answer: Any) -> str:
    text = answer["choices"][0]["text"]
    if not isinstance(text, str):
        raise ValueError(f"choices[0].text is {type(text).__name__}, not text")
    return text
