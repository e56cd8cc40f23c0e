"""JSON over HTTP: retries with Retry-After, a rate limit, limits of time and size, and a key that is never shown.

Connections, proxies and TLS are httpx2's. Redirects are not followed: they would send the key to another host.
"""

import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx2

from sequifier.artifacts.read_file import parse_json

MAX_BYTES = 32 * 2**20
"""Size above which an answer is refused."""

LONGEST_WAIT = 300.0
"""Seconds that Retry-After may request; a longer wait counts as a failure."""

_FIRST_WAIT, _LAST_WAIT = 1.0, 30.0
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_USELESS = frozenset({401, 403, 404, 405, 501})
_SHOWN = 300
_KEY_LIKE = re.compile(r"(?i)bearer\s+\S+|\bsk-[\w*.-]{4,}")
_WITHOUT_PROXY = dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]"))
_INCOMPLETE = (httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.DecodingError)
HIDDEN = "[hidden]"


class RequestFailedError(Exception):
    """A request failed, including its retries.

    Attributes:
        is_useless: further requests will fail too: the address does not exist, or the key is not accepted.
    """

    def __init__(self, message: str, *, is_useless: bool = False) -> None:
        super().__init__(message)
        self.is_useless = is_useless


class Client:
    """A client of one server.

    Args:
        base_url: address that paths are appended to.
        key: sent as a bearer token; never shown.
        timeout_seconds: limit of one request, including its answer.
        retries: further attempts after a temporary failure.
        requests_per_minute: rate limit, attempts included; None for no limit.
        sleep: waits for a number of seconds.
        clock: returns monotonic seconds.
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

    def get(self, path: str) -> Any:
        """Return the JSON at a path.

        Raises:
            RequestFailedError: no attempt returned JSON.
        """
        return self._until_answered(path, None)

    def post(self, path: str, body: Mapping[str, Any], *, parse: Callable[[Any], Any] = lambda answer: answer) -> Any:
        """Send JSON and return the answer.

        Args:
            path: below the base address.
            body: sent as JSON.
            parse: extracts the result from the answer. An attempt whose answer raises ValueError, KeyError, IndexError
                or TypeError counts as failed and is repeated.

        Raises:
            RequestFailedError: no attempt returned a usable answer.
        """
        return self._until_answered(path, json.dumps(body).encode(), parse)

    def hide(self, text: str) -> str:
        """Remove the key, and anything that looks like one, from a text of the server: some servers repeat it."""
        return hidden(text, self._key)

    @cached_property
    def _http(self) -> httpx2.Client:
        """One connection per request, so that none has to be closed; proxies as the environment names them.

        Raises:
            RequestFailedError: the proxy is of an unknown kind, or the key has characters that no header can hold.
        """
        headers = {"Accept": "application/json", "User-Agent": "sequifier"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        single_use = httpx2.Limits(max_keepalive_connections=0)
        try:
            return httpx2.Client(headers=headers, timeout=self._timeout, limits=single_use, mounts=_WITHOUT_PROXY)
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise RequestFailedError(f"no request can be made: {self.hide(str(error))}", is_useless=True) from None

    def _until_answered(
        self, path: str, body: bytes | None, parse: Callable[[Any], Any] = lambda answer: answer
    ) -> Any:
        wait = _FIRST_WAIT
        for attempt in range(self._retries + 1):
            self._wait_for_turn()
            try:
                return parse(self._answer(path, body))
            except _AttemptFailedError as failure:
                reason, requested_wait = str(failure), failure.wait
                if failure.is_final or attempt == self._retries:
                    raise RequestFailedError(self._described(path, reason), is_useless=failure.is_useless) from None
                if requested_wait is not None and requested_wait > LONGEST_WAIT:
                    reason += f", and asks to wait {requested_wait:.0f} seconds"
                    raise RequestFailedError(self._described(path, reason)) from None
            except (ValueError, KeyError, IndexError, TypeError) as error:
                if attempt == self._retries:
                    reason = self.hide(f"its answer cannot be used: {error or type(error).__name__}")
                    raise RequestFailedError(self._described(path, reason)) from None
                requested_wait = None
            self._sleep(wait if requested_wait is None else requested_wait)
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
        """Make one attempt."""
        method, headers = ("GET", {}) if body is None else ("POST", {"Content-Type": "application/json"})
        try:
            with self._http.stream(method, self._base_url + path, content=body, headers=headers) as response:
                if not response.is_success:
                    raise self._refused(response)
                content = self._read(response)
        except httpx2.TimeoutException:
            raise self._too_slow() from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            what = "its answer is incomplete" if isinstance(error, _INCOMPLETE) else "no connection"
            raise _AttemptFailedError(f"{what}: {self.hide(str(error) or type(error).__name__)}") from None
        try:
            return parse_json(content)
        except ValueError:
            shown = self.hide(content[:80].decode(errors="replace"))
            raise _AttemptFailedError(f"its answer is not JSON: {shown!r}") from None

    def _read(self, response: httpx2.Response) -> bytes:
        """Read the answer in time: httpx2 limits each read alone, and a server may send a byte now and then."""
        ends, content = self._clock() + self._timeout, bytearray()
        for part in response.iter_bytes():
            content += part
            if len(content) > MAX_BYTES:
                raise _AttemptFailedError(f"its answer has more than {MAX_BYTES >> 20} MB")
            if self._clock() > ends:
                raise self._too_slow()
        return bytes(content)

    def _refused(self, response: httpx2.Response) -> "_AttemptFailedError":
        status = response.status_code
        try:
            text = next(response.iter_bytes(1 << 16), b"").decode(errors="replace")
        except httpx2.HTTPError:
            text = ""
        text = " ".join(self.hide(_message(text)).split())[:_SHOWN]
        return _AttemptFailedError(
            f"status {status}" + (f": {text}" if text else ""),
            wait=_retry_after(response.headers.get("Retry-After")) if status in _RETRIED else None,
            is_final=status not in _RETRIED,
            is_useless=status in _USELESS or response.is_redirect,
        )

    def _too_slow(self) -> "_AttemptFailedError":
        return _AttemptFailedError(f"no answer within {self._timeout:g} seconds")


class _AttemptFailedError(Exception):
    def __init__(
        self, message: str, *, wait: float | None = None, is_final: bool = False, is_useless: bool = False
    ) -> None:
        super().__init__(message)
        self.wait, self.is_final, self.is_useless = wait, is_final, is_useless


def hidden(text: str, key: str | None) -> str:
    """Remove a key, and anything that looks like one, from a text."""
    if key:
        text = text.replace(key, HIDDEN)
    return _KEY_LIKE.sub(HIDDEN, text)


def _message(body: str) -> str:
    """The message of an error in OpenAI's form, else the whole text."""
    try:
        content = parse_json(body)
        found = content["error"]
        return str(found["message"] if isinstance(found, dict) else found)
    except (ValueError, KeyError, TypeError):
        return body


def _retry_after(header: str | None) -> float | None:
    """Seconds to wait, from a number or a date (RFC 9110, section 10.2.3)."""
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
    """Find a key in the environment, else in the lines `NAME=value` of `.env` in the project; None without one."""
    if value := os.environ.get(name, "").strip():
        return value
    try:
        lines = (root / ".env").read_text(encoding="utf-8-sig").splitlines()
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
