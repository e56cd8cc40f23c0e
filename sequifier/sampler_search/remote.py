"""A server of language models as a source of continuations, with its prompts.

Shapes: P prompts, H words or characters that are compared.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from sequifier.artifacts.transforms import Scale
from sequifier.callbacks import Log
from sequifier.config.loading.paths import find_input
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.errors import ConfigError, DataError, Problem
from sequifier.sampler_search.client import RequestFailedError
from sequifier.sampler_search.endpoint import EndpointModel, check_samplers, find_server, open_client
from sequifier.sampler_search.prompts import Generation, Prompt
from sequifier.sampler_search.space import Configuration
from sequifier.search.strategies import permuted

TARGET = "text"
MAX_TOKENS = 512
PROMPT_CHARACTERS = 512
_CHARACTERS_PER_WORD = 8
"""Space included, and with some room: this many characters per word of held-out text are enough."""

_WORD = re.compile(r"\w+|[^\w\s]")


class RemoteModel:
    """A model behind an endpoint with its prompts; attributes as in `local.LocalModel`.

    Args:
        config: of the search; it has an endpoint.
        seed: of prompts and draws.
        log: receives lines for the user.

    Raises:
        ConfigError, DataError: prompts and config do not fit, or the server does not support a sampler.
        RunError: the server does not answer.
    """

    real_targets: Sequence[str] = ()
    has_likelihood = False

    def __init__(self, config: SamplerSearchConfig, *, seed: int, log: Log) -> None:
        assert config.endpoint is not None
        self._config, self._endpoint, self._seed = config, config.endpoint, seed
        self.name = f"{config.endpoint.model} at {config.endpoint.base_url}"
        self._length = config.generated_length or MAX_TOKENS
        if config.endpoint.server is not None:
            check_samplers(config, config.endpoint.server, is_said=True)
        self.horizon = 0
        if config.test_prompts is not None:
            self.prompts = [Prompt(str(text)) for text in config.test_prompts]
        else:
            self.prompts = self._places(log)
        client = open_client(config.endpoint, config.root)
        self.server = find_server(config.endpoint, client)
        check_samplers(config, self.server, is_said=config.endpoint.server is not None)
        self._model = EndpointModel(config.endpoint, config.root, self.server, client=client)
        self.fingerprint = self._fingerprint()

    def scale(self, target: str) -> Scale:
        """Not available: a text has no real target."""
        raise AssertionError(target)

    def likelihoods(self, found: Configuration) -> list[float]:
        """Not available: the completions protocol does not return the probability of a given text."""
        raise AssertionError(found)

    def check(self, found: Configuration) -> None:
        """Request one token.

        Raises:
            RequestFailedError: the request failed.
        """
        self._model.complete(self.prompts[0].text, found, max_tokens=1, seed=0)

    def generate(self, found: Configuration, wanted: Sequence[tuple[int, int]]) -> Iterator[Generation | str]:
        """Yield each continuation, or the reason why it is missing."""
        for prompt, sample in wanted:
            digest = hashlib.blake2b(f"{self._seed}:{sample}:{prompt}".encode(), digest_size=4).digest()
            seed = int.from_bytes(digest, "big") >> 1  # servers store it as a signed 32-bit integer
            text = self.prompts[prompt].text
            try:
                continued = self._model.complete(text, found, max_tokens=self._length, seed=seed)
            except RequestFailedError as error:
                if error.is_useless:
                    raise
                yield str(error)
                continue
            yield self.generation(prompt, sample, continued)

    def generation(self, prompt: int, sample: int, text: str) -> Generation:
        """Return a text as a generation."""
        tokens = tokens_of(text, self._config.tokens)
        return Generation(prompt, sample, text, {TARGET: tokens}, {}, {TARGET: tokens})

    def _places(self, log: Log) -> list[Prompt]:
        """Cut prompts and their true continuations out of a text."""
        config = self._config
        assert config.data_path is not None
        path = find_input(config.data_path, config.project_root, "data_path")
        text = _read(path)
        by_word = config.tokens == "word"
        self.horizon = config.horizon or max(1, self._length // 2 if by_word else self._length)
        width = config.prompt_length or PROMPT_CHARACTERS
        span = self.horizon * (_CHARACTERS_PER_WORD if by_word else 1)
        cuts = list(range(width, len(text) - span + 1, span))
        if not cuts:
            raise DataError(
                f"the text has {len(text):,} characters; a prompt and its continuation need {width + span:,}",
                where=str(path),
                fix="set a smaller prompt_length or horizon, or give a longer text",
            )
        if len(cuts) < config.n_prompts:
            log(f"note: n_prompts is {len(cuts)}, not {config.n_prompts}: the text is too short for more")
        count = min(config.n_prompts, len(cuts))
        chosen = [cuts[permuted(number, len(cuts), key=f"{self._seed}:prompts")] for number in range(count)]
        prompts = []
        for cut in chosen:
            # After a whole word and before the space: tokenizers attach the space to the next word.
            while by_word and cut < len(text) and not text[cut].isspace():
                cut += 1
            after = text[cut : cut + span]
            truth = tokens_of(after, config.tokens)[: self.horizon]
            prompts.append(Prompt(text[max(cut - width, 0) : cut], after, {TARGET: truth}))
        return prompts

    def _fingerprint(self) -> str:
        content = {
            "base_url": self._endpoint.base_url,
            "model": self._endpoint.model,
            "server": self.server,
            "extra_body": self._endpoint.extra_body,
            "prompts": [(prompt.text, prompt.truth) for prompt in self.prompts],
            "tokens": self._config.tokens,
            "length": [self._length, self.horizon],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def tokens_of(text: str, kind: Literal["word", "character"]) -> list[str]:
    """Split a text into words and punctuation marks, or into characters.

    >>> tokens_of("Well, no!", "word")
    ['Well', ',', 'no', '!']
    """
    return _WORD.findall(text) if kind == "word" else list(text)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise ConfigError([Problem("data_path", f"{path} {what}", fix="an endpoint needs a text file")]) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"the text is not UTF-8: byte {error.start:,}",
            where=str(path),
            fix="an endpoint continues a text file, not encoded events",
        ) from error
