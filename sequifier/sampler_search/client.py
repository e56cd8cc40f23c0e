"""JSON over HTTP with nothing but the standard library: retries, Retry-After, a rate limit, and a key that stays here.

Redirects are refused: the key would be sent on to whoever they name.
"""

import http.client
import json
import math
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sequifier.artifacts.reading import parse_json

MAX_BYTES = 32 * 2**20
"""A longer answer is none."""

LONGEST_WAIT = 300.0
"""Seconds that Retry-After may ask for; a longer wait counts as a failure."""

_FIRST_WAIT, _LAST_WAIT = 1.0, 30.0
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_USELESS = frozenset({401, 403, 404, 405, 501})
_SHOWN = 300
_KEY_LIKE = re.compile(r"(?i)bearer\s+\S+|\bsk-[\w*.-]{4,}")
HIDDEN = "[hidden]"


class RequestFailedError(Exception):
    """A request came to nothing, all its retries included.

    Attributes:
        is_useless: further requests will come to nothing too: no such address, or a key that is not accepted.
    """

    def __init__(self, message: str, *, is_useless: bool = False) -> None:
        super().__init__(message)
        self.is_useless = is_useless


class Client:
    """One server.

    Args:
        base_url: to which paths are added.
        key: sent as a bearer token; never shown.
        timeout_seconds: for one request, its answer included.
        retries: further attempts after a failure that may pass.
        requests_per_minute: attempts are spread out to no more than this.
        sleep: waits; takes seconds.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None = None,
        timeout_seconds: float,
        retries: int,
        requests_per_minute: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url, self._key, self._timeout, self._retries = base_url, key, timeout_seconds, retries
        self._distance = 0.0 if requests_per_minute is None else 60.0 / requests_per_minute
        self._sleep, self._clock, self._next_start = sleep, clock, clock()
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if urlsplit(base_url).hostname in ("localhost", "127.0.0.1", "::1"):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str) -> Any:
        """The JSON at a path.

        Raises:
            RequestFailedError: there is none.
        """
        return self._until_answered(path, None)

    def post(self, path: str, body: Mapping[str, Any], *, parse: Callable[[Any], Any] = lambda answer: answer) -> Any:
        """Send JSON and read the answer.

        Args:
            path: below the base address.
            body: to send.
            parse: takes what is wanted from the answer; a ValueError, KeyError, IndexError or TypeError makes the
                answer one that failed, and it is asked for again.

        Raises:
            RequestFailedError: no attempt got an answer that can be used.
        """
        return self._until_answered(path, json.dumps(body).encode(), parse)

    def hide(self, text: str) -> str:
        """A text of the server's without the key, or anything that looks like one: some servers repeat it."""
        return hidden(text, self._key)

    def _until_answered(
        self, path: str, body: bytes | None, parse: Callable[[Any], Any] = lambda answer: answer
    ) -> Any:
        wait = _FIRST_WAIT
        for attempt in range(self._retries + 1):
            self._wait_for_turn()
            try:
                return parse(self._answer(path, body))
            except _AttemptFailedError as failure:
                reason, asked_wait = str(failure), failure.wait
                if failure.is_final or attempt == self._retries:
                    raise RequestFailedError(self._described(path, reason), is_useless=failure.is_useless) from None
                if asked_wait is not None and asked_wait > LONGEST_WAIT:
                    reason += f", and asks to wait {asked_wait:.0f} seconds"
                    raise RequestFailedError(self._described(path, reason)) from None
            except (ValueError, KeyError, IndexError, TypeError) as error:
                if attempt == self._retries:
                    reason = self.hide(f"its answer cannot be used: {error or type(error).__name__}")
                    raise RequestFailedError(self._described(path, reason)) from None
                asked_wait = None
            self._sleep(wait if asked_wait is None else asked_wait)
            wait = min(2 * wait, _LAST_WAIT)
        raise AssertionError("the last attempt returns or raises")

    def _described(self, path: str, reason: str) -> str:
        return f"{self._base_url}{path}: {reason}"

    def _wait_for_turn(self) -> None:
        now = self._clock()
        if now < self._next_start:
            self._sleep(self._next_start - now)
        self._next_start = max(now, self._next_start) + self._distance

    def _answer(self, path: str, body: bytes | None) -> Any:
        """One attempt."""
        headers = {"Accept": "application/json", "User-Agent": "sequifier"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._base_url + path, data=body, headers=headers)
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                content = self._read(response)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except TimeoutError:
            raise self._too_slow() from None
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            if isinstance(getattr(error, "reason", None), TimeoutError):
                raise self._too_slow() from None
            raise _AttemptFailedError(f"no connection: {self.hide(_reason(error))}") from None
        try:
            return parse_json(content)
        except ValueError:
            shown = self.hide(content[:80].decode(errors="replace"))
            raise _AttemptFailedError(f"its answer is no JSON: {shown!r}") from None

    def _read(self, response: Any) -> bytes:
        """The answer, in time: a server that sends a byte now and then would never time out by itself."""
        ends, parts, size = self._clock() + self._timeout, [], 0
        while part := response.read1(1 << 16):
            parts.append(part)
            size += len(part)
            if size > MAX_BYTES:
                raise _AttemptFailedError(f"its answer has more than {MAX_BYTES >> 20} MB")
            if self._clock() > ends:
                raise self._too_slow()
        missing = response.length  # what was announced and did not come
        if missing:
            raise _AttemptFailedError(f"its answer was cut off, {missing} bytes before its end")
        return b"".join(parts)

    def _refused(self, error: urllib.error.HTTPError) -> "_AttemptFailedError":
        try:
            said = error.read(1 << 16).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            said = ""
        said = " ".join(self.hide(_message(said)).split())[:_SHOWN]
        reason = f"status {error.code}" + (f": {said}" if said else "")
        return _AttemptFailedError(
            reason,
            wait=_retry_after(error.headers.get("Retry-After")) if error.code in _AGAIN else None,
            is_final=error.code not in _AGAIN,
            is_useless=error.code in _USELESS or 300 <= error.code < 400,
        )

    def _too_slow(self) -> "_AttemptFailedError":
        return _AttemptFailedError(f"no answer within {self._timeout:g} seconds")


class _AttemptFailedError(Exception):
    def __init__(
        self, message: str, *, wait: float | None = None, is_final: bool = False, is_useless: bool = False
    ) -> None:
        super().__init__(message)
        self.wait, self.is_final, self.is_useless = wait, is_final, is_useless


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


def hidden(text: str, key: str | None) -> str:
    """A text without a key, or anything that looks like one."""
    if key:
        text = text.replace(key, HIDDEN)
    return _KEY_LIKE.sub(HIDDEN, text)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error or type(error).__name__)


def _message(body: str) -> str:
    """What an error says: the message of OpenAI's form, else the text."""
    try:
        content = parse_json(body)
        found = content["error"]
        return str(found["message"] if isinstance(found, dict) else found)
    except (ValueError, KeyError, TypeError):
        return body


def _retry_after(header: str | None) -> float | None:
    """Seconds to wait, from a number of them or a date (RFC 9110, section 10.2.3)."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            until = parsedate_to_datetime(header)
            until = until if until.tzinfo else until.replace(tzinfo=UTC)
            seconds = (until - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(seconds, 0.0)


def find_key(name: str, root: Path) -> str | None:
    """A key from the environment, else from the lines `NAME=value` of `.env` in the project; None without one."""
    if value := os.environ.get(name, "").strip():
        return value
    try:
        lines = (root / ".env").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and key.strip() == name:
            value = value.strip()
            is_quoted = value[:1] in ("'", '"')
            value = value[1:].partition(value[0])[0] if is_quoted else value.partition(" #")[0].strip()
            return value or None
    return None
