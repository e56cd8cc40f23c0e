"""Requests to a real server that fails in every way, and a key that appears nowhere."""

import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from sequifier.sampler_search.client import HIDDEN, LONGEST_WAIT, Client, RequestFailedError, find_key, hidden
from tests.support.completions_server import Server, serving

KEY = "sk-very-secret-0123456789"


def client(server: Server, waits: list[float], **values: Any) -> Client:
    values = {"timeout_seconds": 5.0, "retries": 3, "sleep": waits.append} | values
    return Client(server.base_url, **values)


def text_of(answer: Any) -> Any:
    return answer["choices"][0]["text"]


BODY = {"prompt": "a", "max_tokens": 1, "seed": 1}


@pytest.fixture
def server() -> Any:
    with serving(Server(complete=lambda body: "said")) as running:
        yield running


@pytest.mark.parametrize(
    "fault",
    [500, 502, 503, 429, 408, "garbage", "cut", "close", (200, {}, '{"choices": []}'), (200, {}, "[" * 100_000)],
)
def test_a_failure_that_may_pass_is_tried_again_with_growing_waits(server: Server, fault: Any) -> None:
    server.faults = [fault, fault]
    waits: list[float] = []
    assert client(server, waits).post("/completions", BODY, parse=text_of) == "said"
    assert waits == [1.0, 2.0]
    assert len(server.requests) == 3


def test_an_attempt_ends_when_its_time_is_up(server: Server) -> None:
    server.faults = ["hang"]
    waits: list[float] = []
    assert client(server, waits, timeout_seconds=0.3).post("/completions", BODY, parse=text_of) == "said"
    assert waits == [1.0]
    server.faults = ["hang"]
    with pytest.raises(RequestFailedError, match=r"no answer within 0\.3 seconds"):
        client(server, waits, timeout_seconds=0.3, retries=0).post("/completions", BODY)


@pytest.mark.parametrize(
    ("status", "header", "wait"),
    [
        (429, "7", 7.0),
        (503, "0", 0.0),
        (429, "-5", 0.0),
        *((429, said, 1.0) for said in ("soon", "nan", "-nan", "", "Mon, 99 Foo 99999 99:99:99 +9999", "1e", "0x10")),
    ],
)
def test_retry_after_says_how_long_to_wait(server: Server, status: int, header: str, wait: float) -> None:
    server.faults = [(status, {"Retry-After": header}, "{}")]
    waits: list[float] = []
    client(server, waits).post("/completions", BODY)
    assert waits == [wait]


def test_retry_after_may_be_a_date(server: Server) -> None:
    server.faults = [(429, {"Retry-After": formatdate(time.time() + 30, usegmt=True)}, "{}")]
    waits: list[float] = []
    client(server, waits).post("/completions", BODY)
    assert 25 < waits[0] <= 30


def test_a_wait_that_is_too_long_is_a_failure(server: Server) -> None:
    for header, said in ((str(LONGEST_WAIT + 1), "301"), ("inf", "inf"), ("1e300", "1000")):
        server.faults = [(429, {"Retry-After": header}, '{"error": {"message": "quota"}}')]
        waits: list[float] = []
        with pytest.raises(RequestFailedError, match=f"status 429: quota, and asks to wait {said}"):
            client(server, waits).post("/completions", BODY)
        assert waits == []


@pytest.mark.parametrize(("status", "is_useless"), [(400, False), (422, False), (401, True), (403, True), (404, True)])
def test_a_refusal_is_not_tried_again(server: Server, status: int, is_useless: bool) -> None:
    server.faults = [status]
    with pytest.raises(RequestFailedError, match=f"status {status}: on order") as caught:
        client(server, []).post("/completions", BODY)
    assert caught.value.is_useless == is_useless
    assert len(server.requests) == 1


def test_when_retries_are_used_up_the_last_reason_is_told(server: Server) -> None:
    server.faults = [500, 500, (503, {}, "plain words")]
    waits: list[float] = []
    with pytest.raises(RequestFailedError, match=r"/v1/completions: status 503: plain words"):
        client(server, waits, retries=2).post("/completions", BODY)
    assert len(waits) == 2, "nobody waits after the last attempt"


def test_a_redirect_is_refused_so_that_the_key_goes_nowhere_else(server: Server) -> None:
    with serving(Server()) as other:
        server.faults = [(307, {"Location": f"{other.base_url}/completions"}, "{}")]
        with pytest.raises(RequestFailedError, match="status 307") as caught:
            client(server, [], key=KEY).post("/completions", BODY)
        assert caught.value.is_useless
        assert other.requests == []


def test_nobody_at_the_address_is_said_so() -> None:
    waits: list[float] = []
    gone = Client("http://127.0.0.1:1/v1", timeout_seconds=1, retries=1, sleep=waits.append)
    with pytest.raises(RequestFailedError, match=r"no connection: .*refused"):
        gone.get("/models")


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, server.base_url.removesuffix("/v1"))
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server.faults = [(200, {}, '{"data": 1}')]
    assert Client("http://models.invalid/v1", timeout_seconds=5, retries=0).get("/models") == {"data": 1}
    assert server.requests[0][0] == "http://models.invalid/v1/models"
    with serving(Server()) as other:
        assert client(other, []).get("/models")["data"]
        assert [path for path, _, _ in other.requests] == ["/v1/models"]
    assert len(server.requests) == 1


def test_a_proxy_that_cannot_be_used_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "gopher://127.0.0.1:1")
    with pytest.raises(RequestFailedError, match=r"no request can be made: .*gopher") as caught:
        Client("http://models.invalid/v1", timeout_seconds=1, retries=3).get("/models")
    assert caught.value.is_useless


def test_the_key_is_sent_and_never_shown(server: Server) -> None:
    server.key = KEY
    assert client(server, [], key=KEY).post("/completions", BODY, parse=text_of) == "said"
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"
    for said in (f"bad key {KEY}", f"Incorrect API key provided: Bearer {KEY}", "sk-very***6789", f"x{KEY}y"):
        server.faults = [(401, {}, said)]
        with pytest.raises(RequestFailedError) as caught:
            client(server, [], key=KEY).post("/completions", BODY)
        assert KEY not in str(caught.value) and "6789" not in str(caught.value)
        assert HIDDEN in str(caught.value)
    server.faults = [(200, {}, f"<html>{KEY}</html>")]
    with pytest.raises(RequestFailedError) as caught:
        client(server, [], key=KEY, retries=0).post("/completions", BODY)
    assert KEY not in str(caught.value) and caught.value.__cause__ is None


def test_requests_are_spread_out() -> None:
    now, waits = [100.0], []

    def sleep(seconds: float) -> None:
        waits.append(round(seconds, 6))
        now[0] += seconds

    with serving(Server(complete=lambda body: "said")) as server:
        limited = Client(
            server.base_url, timeout_seconds=5, retries=0, requests_per_minute=30, sleep=sleep, clock=lambda: now[0]
        )
        for _ in range(3):
            limited.post("/completions", BODY)
        assert waits == [2.0, 2.0]
        now[0] += 60
        limited.post("/completions", BODY)
        assert waits == [2.0, 2.0], "time that has passed is not waited for again, nor saved up"


def test_a_key_comes_from_the_environment_or_the_projects_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    assert find_key("MY_KEY", tmp_path) is None
    lines = [
        "# MY_KEY=no",
        "OTHER=x",
        "export MY_KEY = 'from file' # mine",
        'QUOTED="a # b"',
        "BARE=plain # why",
        "EMPTY=",
    ]
    (tmp_path / ".env").write_text("\n".join(lines))
    assert find_key("MY_KEY", tmp_path) == "from file"
    (tmp_path / ".env").write_bytes("\r\n".join(["\ufeffFIRST=1", *lines]).encode())  # as Windows writes it
    assert (find_key("FIRST", tmp_path), find_key("MY_KEY", tmp_path)) == ("1", "from file")
    assert (find_key("QUOTED", tmp_path), find_key("BARE", tmp_path), find_key("EMPTY", tmp_path)) == (
        "a # b",
        "plain",
        None,
    )
    monkeypatch.setenv("MY_KEY", "from environment")
    assert find_key("MY_KEY", tmp_path) == "from environment"


def test_what_looks_like_a_key_is_hidden_too() -> None:
    assert hidden("Authorization: Bearer abc.def and sk-proj-12ab", None) == f"Authorization: {HIDDEN} and {HIDDEN}"
    assert hidden("a risk-free desk", None) == "a risk-free desk"
