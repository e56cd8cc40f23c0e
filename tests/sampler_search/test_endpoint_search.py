"""Searches over a real HTTP server that draws from a model trained here, with all that can go wrong on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from sequifier import api
from sequifier.artifacts.ledger import read_ledger
from sequifier.artifacts.sampler_results import SamplerRecord, read_search_results
from sequifier.config.sampler_search import SamplerSearchConfig
from sequifier.config.servers import Endpoint, Judge
from sequifier.errors import ConfigError, DataError, RunError
from sequifier.sampler_search import client
from sequifier.sampler_search.endpoint import EndpointModel
from sequifier.sampler_search.judge import HttpJudge
from sequifier.sampler_search.prompts import Generation, Prompt
from sequifier.sampler_search.remote import tokens_of
from sequifier.sampler_search.session import SamplerSearchResult
from sequifier.sampler_search.space import Configuration
from tests.support.completions_server import CharacterModel, Server, chat_of, serving
from tests.support.quiet import quiet
from tests.support.trained_text import HELD_OUT

KEY, JUDGE_KEY = "local-key-31415926", "sk-judge-27182818"
LOGS = Path("logs/sampler-search")
NO_ONE = Configuration("temperature", {"temperature": 1.0})
LISTS = {"min_p": {"temperature": [0.7, 6.0], "min_p": [0.05]}, "top_k": {"temperature": 0.8, "top_k": [1, 4]}}


@pytest.fixture
def server(text_project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.01)
    with serving(Server(complete=CharacterModel(text_project / "models" / "text.onnx").complete)) as running:
        yield running


def config_of(server: Server, *, endpoint: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    return {
        "endpoint": {
            "base_url": server.base_url,
            "model": "text",
            "retries": 3,
            "timeout_seconds": 5,
            **(endpoint or {}),
        },
        "data_path": HELD_OUT,
        "tokens": "character",
        "n_prompts": 3,
        "prompt_length": 16,
        "max_tokens": 10,
        "samples_per_config": 2,
        "search_strategy": "grid",
        "sampler_types": ["min_p", "top_k"],
        "parameter_ranges": LISTS,
        **values,
    }


def search(server: Server, *, check: bool = False, **values: Any) -> SamplerSearchResult:
    config = SamplerSearchConfig.model_validate(config_of(server, **values))
    return api.sampler_search(config, check_only=check, emit=quiet)


def results_of(result: SamplerSearchResult) -> dict[str, Any]:
    assert result.results is not None
    return read_search_results(result.results)


def scores_of(result: SamplerSearchResult) -> list[Any]:
    return [(each["parameters"], each["mean_score"], each["scores"]) for each in results_of(result)["all_results"]]


def records() -> list[SamplerRecord]:
    return read_ledger(LOGS, SamplerRecord)


def test_a_search_over_a_server_finds_the_sampler_that_writes_like_the_text(server: Server) -> None:
    result = search(server)
    content = results_of(result)
    assert content["search_metadata"]["model"] == f"text at {server.base_url}"
    assert content["search_metadata"]["total_configurations"] == 4
    worst = content["all_results"][-1]
    assert worst["parameters"] == {"temperature": 6.0, "min_p": 0.05}, "nearly uniform"
    assert set(worst["scores"]) == {"token_accuracy", "edit_similarity", "ngram_divergence", "distinct_n", "repetition"}
    assert all((each["sample_count"], each["missing"]) == (6, 0) for each in content["all_results"])
    assert len(server.bodies("/completions")) == 4 * 6 + 1, "one for the check"


def test_requests_are_openais_with_every_other_sampler_off(server: Server) -> None:
    search(server, endpoint={"extra_body": {"ignore_eos": True}})
    text = Path(HELD_OUT).read_text()
    for body in server.bodies("/completions")[1:]:
        assert {"model": "text", "max_tokens": 10, "stream": False, "ignore_eos": True}.items() <= body.items()
        assert len(body["prompt"]) == 16 and body["prompt"] in text
        assert 0 <= body["seed"] < 2**31
        used = {"min_p": body["min_p"], "top_k": body["top_k"]}
        assert used in ({"min_p": 0.05, "top_k": 0}, {"min_p": 0.0, "top_k": 1}, {"min_p": 0.0, "top_k": 4})
        assert (body["top_p"], body["top_n_sigma"], body["repeat_penalty"]) == (1.0, -1.0, 1.0)
    seeds = [body["seed"] for body in server.bodies("/completions")[1:7]]
    assert len(set(seeds)) == 6
    assert server.requests[0][0] == "/v1/models", "it was asked what it is"
    assert all("Authorization" not in headers for _, headers, _ in server.requests), "there is no key to send"


@pytest.mark.parametrize(
    ("kind", "name", "off"), [("koboldcpp", "nsigma", 0.0), ("llamacpp", "top_n_sigma", -1.0), ("vllm", None, None)]
)
def test_each_server_gets_its_own_names(server: Server, kind: str, name: str | None, off: float | None) -> None:
    ranges = {"temperature": {"temperature": [1.0]}, "top_n_sigma": {"top_n_sigma": [1.5]}}
    values: dict[str, Any] = {"endpoint": {"server": kind}, "parameter_ranges": ranges, "n_prompts": 1}
    if name is None:
        with pytest.raises(ConfigError, match="vllm does not support top_n_sigma, which sampler `top_n_sigma` needs"):
            search(server, sampler_types=["top_n_sigma"], **values)
        assert server.requests == []
        return
    search(server, sampler_types=["temperature", "top_n_sigma"], **values)
    assert {body[name] for body in server.bodies("/completions")} == {off, 1.5}


def test_a_sampler_that_the_server_does_not_know_is_an_error_before_anything_is_generated(server: Server) -> None:
    server.owner = "somebody"
    with pytest.raises(
        ConfigError, match=r"openai does not support min_p(.|\n)*the server was not recognised"
    ) as caught:
        search(server)
    assert "set endpoint.server: koboldcpp, llamacpp or vllm" in str(caught.value)
    assert server.bodies("/completions") == [] and records() == []
    search(server, endpoint={"server": "llamacpp"})
    assert len(server.bodies("/completions")) == 25


def test_faults_on_the_way_do_not_change_the_result(server: Server) -> None:
    undisturbed = scores_of(search(server, sampler_search_name="undisturbed"))
    server.faults = [
        None,
        None,
        500,
        "garbage",
        None,
        (429, {"Retry-After": "0"}, "{}"),
        "cut",
        "close",
        None,
        503,
        "hang",
    ]
    disturbed = search(server, endpoint={"timeout_seconds": 0.4})
    assert scores_of(disturbed) == undisturbed


def test_a_continuation_that_does_not_come_is_missing_and_counted(server: Server) -> None:
    server.faults = [None, None, 400, None, 422]
    content = results_of(search(server, endpoint={"server": "llamacpp"}))
    assert sorted(each["missing"] for each in content["all_results"]) == [0, 0, 0, 2]
    finished = [record for record in records() if record.missing]
    assert finished[0].sample_count == 4 and "2 of 6 are missing: " in (finished[0].error or "")


def test_an_unreachable_server_ends_the_search_which_can_be_resumed(server: Server) -> None:
    undisturbed = scores_of(search(server, sampler_search_name="undisturbed"))
    server.faults = [None] * 12 + [400] * 10
    with pytest.raises(RunError, match=r"the endpoint does not answer as it should: 10 requests in a row(.|\n)*fix"):
        search(server)
    latest = {record.run: record.state for record in records()}
    assert latest == {0: "finished", 1: "interrupted", 2: "interrupted", 3: "interrupted"}, "all that lack some"
    server.requests.clear()
    assert scores_of(search(server)) == undisturbed
    # 10 of 24 were there already: those of the first configuration and 4 of the second; one more is the check.
    assert len(server.bodies("/completions")) == 24 - 10 + 1


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_for_good_ends_at_the_check(server: Server, status: int) -> None:
    server.always = {"/completions": status}
    with pytest.raises(RunError, match=rf"the endpoint does not answer as it should: .*status {status}"):
        search(server)
    assert len(server.bodies("/completions")) == 1 and records() == []


def test_the_check_calls_everything_once_and_spends_nothing_else(server: Server) -> None:
    with serving(Server(chat=lambda body: '{"quality": 6}')) as judge:
        values = {"judge": {"type": "http", "base_url": judge.base_url, "model": "judge"}}
        result = search(server, check=True, **values)
        assert (result.ended, result.rows) == ("checked", [])
        assert [path for path, _, _ in server.requests] == ["/v1/models", "/v1/completions"]
        assert [path for path, _, _ in judge.requests] == ["/v1/chat/completions"]
        judge.always = {"completions": (200, {}, '{"choices": [{"message": {"content": "seven"}}]}')}
        with pytest.raises(RunError, match="the judge does not answer as it should"):
            search(server, check=True, judge={**values["judge"], "retries": 0})
    assert records() == []
    with pytest.raises(RunError, match="the endpoint does not answer"):
        search(Server(base_url="http://127.0.0.1:1/v1"), check=True, endpoint={"retries": 0})


def test_a_judge_over_http_scores_what_the_server_writes(server: Server) -> None:
    spaces = chat_of(lambda beginning, said: {"style": min(10, 2 * said.count(" ")), "sense": 4})
    with serving(Server(chat=spaces, faults=[None, None, 400])) as judge:
        settings = {"type": "http", "base_url": judge.base_url, "model": "j", "criteria": {"style": 1, "sense": 3}}
        result = search(server, judge=settings)
        content = results_of(result)
    assert sum(each["missing"] for each in content["all_results"]) == 1
    for each in content["all_results"]:
        lines = (LOGS / "generations" / f"run-{each['run']}.jsonl").read_text().splitlines()
        told = [json.loads(line) for line in lines]
        texts = {(line["prompt"], line["sample"]): line["text"] for line in told if "text" in line}
        judged = {(line["prompt"], line["sample"]): line for line in told if "judgement" in line}
        expected = [
            (min(10, 2 * text.count(" ")) + 3 * 4) / 4
            for place, text in texts.items()
            if judged[place]["judgement"] is not None
        ]
        assert each["mean_score"] == pytest.approx(sum(expected) / len(expected))
        assert each["sample_count"] == len(expected) and each["measures"]["judge_sense"] == 4


def test_no_key_reaches_a_file_a_record_or_an_error(
    server: Server, text_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_KEY", KEY)
    (text_project / ".env").write_text(f"OPENAI_API_KEY={JUDGE_KEY}\n")
    server.key = KEY
    said = (400, {}, f"<b>{KEY}</b> Bearer {KEY}")
    with serving(Server(chat=lambda body: '{"quality": 6}', key=JUDGE_KEY)) as judge:
        server.faults = [None, None, said, None, (400, {}, f'{{"error": {{"message": "key {KEY}"}}}}')]
        judge.faults = [None, (400, {}, f"who is {JUDGE_KEY}?"), (200, {}, JUDGE_KEY), (200, {}, JUDGE_KEY)]
        judging = {"type": "http", "base_url": judge.base_url, "model": "judge", "retries": 0}
        judging["api_key_env"] = "OPENAI_API_KEY"
        path = text_project / "configs" / "sampler_search.yaml"
        values = config_of(server, endpoint={"api_key_env": "LOCAL_KEY"}, judge=judging)
        path.write_text(yaml.safe_dump(values))
        done = subprocess.run(
            [sys.executable, "-m", "sequifier", "sampler-search", "--verbose"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "are missing" in done.stdout
        server.key = "another"
        refused = subprocess.run(
            [sys.executable, "-m", "sequifier", "sampler-search", "-D", "n_prompts=2"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert refused.returncode == 1 and "Incorrect API key provided" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert all(headers["Authorization"] == f"Bearer {JUDGE_KEY}" for _, headers, _ in judge.requests)
    files = [path for path in text_project.rglob("*") if path.is_file() and path.name != ".env"]
    assert LOGS / "ledger.jsonl" in [path.relative_to(text_project) for path in files]
    for secret in (KEY, JUDGE_KEY):
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
        for text in (done.stdout, done.stderr, refused.stdout, refused.stderr):
            assert secret not in text


def test_a_missing_key_is_an_error_before_the_first_request(server: Server) -> None:
    with pytest.raises(ConfigError, match=r"LOCAL_KEY is neither in the environment nor in"):
        search(server, endpoint={"api_key_env": "LOCAL_KEY"})
    assert server.requests == []


def test_kill_9_during_requests_and_the_same_command_asks_for_what_is_missing_alone(
    server: Server, text_project: Path
) -> None:
    undisturbed = scores_of(search(server, sampler_search_name="undisturbed", samples_per_config=8))
    asked = {json.dumps(body, sort_keys=True) for body in server.bodies("/completions")[1:]}
    assert len(asked) == 4 * 24
    path = text_project / "configs" / "sampler_search.yaml"
    path.write_text(yaml.safe_dump(config_of(server, samples_per_config=8)))
    server.requests.clear()
    started = subprocess.Popen(
        [sys.executable, "-m", "sequifier", "sampler-search", "--quiet"], stdout=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 60
        while len(server.requests) < 40:
            assert time.monotonic() < until and started.poll() is None
            time.sleep(0.002)
    finally:
        os.kill(started.pid, signal.SIGKILL)
        started.wait()
    before = len(server.bodies("/completions")) - 1
    assert before < 96
    server.requests.clear()
    assert scores_of(search(server, samples_per_config=8)) == undisturbed
    after = len(server.bodies("/completions")) - 1
    assert 96 <= before + after <= 97, "one request at most was under way when the process died"


def test_another_kind_of_server_is_another_search(server: Server) -> None:
    for kind in ("llamacpp", "koboldcpp"):
        search(server, n_samples=2, endpoint={"server": kind})
    found = records()
    assert len({record.search for record in found}) == 2 and len({record.data for record in found}) == 2


def test_texts_without_a_truth_are_scored_by_diversity_or_a_judge(server: Server) -> None:
    content = results_of(search(server, data_path=None, test_prompts=["the cat ", "a dog "]))
    assert set(content["all_results"][0]["scores"]) == {"distinct_n", "repetition"}
    assert {body["prompt"] for body in server.bodies("/completions")} == {"the cat ", "a dog "}


def test_words_are_cut_at_their_ends(server: Server) -> None:
    search(server, tokens="word", horizon=3, check=True)
    prompt = server.bodies("/completions")[0]["prompt"]
    text = Path(HELD_OUT).read_text()
    place = text.index(prompt) + len(prompt)
    assert text[place].isspace() and not text[place - 1].isspace()
    assert tokens_of("Well, it's 3.5 – no!", "word") == ["Well", ",", "it", "'", "s", "3", ".", "5", "–", "no", "!"]
    assert tokens_of("a b", "character") == ["a", " ", "b"]


def test_what_does_not_fit_an_endpoint_is_reported(server: Server) -> None:
    with pytest.raises(ConfigError, match=r"scores.likelihood.*the completions protocol does not return it"):
        search(server, scores={"likelihood": 1})
    with pytest.raises(DataError, match="the text has 3,000 characters"):
        search(server, prompt_length=2999)
    with pytest.raises(DataError, match="not UTF-8"):
        search(server, data_path="models/text.onnx")
    assert server.bodies("/completions") == []


def test_requests_match_the_official_client(server: Server) -> None:
    search(server, endpoint={"server": "llamacpp"})
    asked = {"model": "text", "prompt": "the cat ", "max_tokens": 10, "seed": 7, "stream": False}
    found = Configuration("min_p", {"temperature": 0.7, "min_p": 0.05})
    endpoint = Endpoint.model_validate({"base_url": server.base_url, "model": "text"})
    ours = EndpointModel(endpoint, Path(), "llamacpp").complete("the cat ", found, max_tokens=10, seed=7)
    official = openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)
    off = {"min_p": 0.05, "top_k": 0, "top_n_sigma": -1.0, "typical_p": 1.0, "repeat_penalty": 1.0}
    answer = official.completions.create(**asked, temperature=0.7, top_p=1.0, extra_body=off)
    assert answer.choices[0].text == ours
    one, other = server.requests[-2:]
    assert one[0] == other[0] == "/v1/completions" and one[2] == other[2]


def test_the_judge_asks_as_the_official_client_does(text_project: Path) -> None:
    with serving(Server(chat=lambda body: '{"quality": 6}')) as judge:
        settings = Judge.model_validate({"type": "http", "base_url": judge.base_url, "model": "j"})
        ours = next(iter(HttpJudge(settings, text_project).judge(NO_ONE, [Prompt("a")], [Generation(0, 0, "b")])))
        official = openai.OpenAI(base_url=judge.base_url, api_key="none", max_retries=0)
        body = judge.requests[0][2]
        assert body is not None
        answer = official.chat.completions.create(**body)
        assert (ours.score, answer.choices[0].message.content) == (6.0, '{"quality": 6}')
        assert judge.requests[0][2] == judge.requests[1][2]
