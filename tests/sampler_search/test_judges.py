"""Judges: programs and chat models, what they are told, and judgements that are missing."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sequifier.config.servers import Endpoint
from sequifier.config.servers import Judge as JudgeConfig
from sequifier.errors import ConfigError
from sequifier.sampler_search.judge import NO_SCORE, Judgement, open_judge
from sequifier.sampler_search.prompts import Generation, Prompt
from sequifier.sampler_search.space import Configuration
from tests.support.completions_server import Server, chat_of, serving

FOUND = Configuration("min_p", {"temperature": 1.2, "min_p": 0.05})
PROMPTS = [Prompt("the cat ", "sees"), Prompt("a dog ")]
GENERATIONS = [
    Generation(0, 0, "likes my bird", labels={"char": ["l", "i"]}),
    Generation(1, 0, "hears", labels={"char": ["h"]}),
    Generation(0, 1, "x", labels={"char": ["x"]}),
]


def judged(root: Path, generations: list[Generation] = GENERATIONS, **config: Any) -> list[Judgement]:
    judge = open_judge(JudgeConfig.model_validate(config), root)
    assert judge is not None
    return list(judge.judge(FOUND, PROMPTS, generations))


def script(root: Path, text: str, **config: Any) -> list[Judgement]:
    (root / "judge.py").write_text(f"import json, sys\ntold = json.load(sys.stdin)\n{text}\n")
    return judged(root, type="script", command="python judge.py", **config)


def test_a_script_sees_each_generation_with_its_prompt_truth_and_labels(tmp_path: Path) -> None:
    text = "json.dump(told, open('told.json', 'w'))\nprint('working')\nprint(json.dumps({'scores': [10, 0.5, None]}))"
    found = script(tmp_path, text)
    assert found == [Judgement(10.0), Judgement(0.5), Judgement(None, error=NO_SCORE)]
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["sampler_type"] == "min_p" and told["parameters"] == {"temperature": 1.2, "min_p": 0.05}
    assert told["generations"][0] == {
        "prompt": "the cat ",
        "continuation": "likes my bird",
        "truth": "sees",
        "labels": {"char": ["l", "i"]},
    }
    assert told["generations"][1]["truth"] is None


def test_a_script_reads_the_users_keys_by_name(tmp_path: Path) -> None:
    text = "from sequifier.params import param_scope\nprint(json.dumps({'scores': 3 * [param_scope.user.most | 1.0]}))"
    (tmp_path / "judge.py").write_text(f"import json\n{text}\n")
    config = JudgeConfig(type="script", command="python judge.py")
    judge = open_judge(config, tmp_path, parameters={"user": {"most": 7.5}, "seed": 1})
    assert judge is not None
    assert list(judge.judge(FOUND, PROMPTS, GENERATIONS)) == 3 * [Judgement(7.5)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("print('{\"scores\": [1, 2]}')", "not a list of 3"),
        ("print('{\"scores\": [1, 2, 11]}')", "11, not a number from 0 to 10"),
        ("print('{\"scores\": [1, 2, true]}')", "true, not a number"),
        ("print('{\"scores\": [1, 2, NaN]}')", "NaN, not a number"),
        ("print('nothing')", "cannot be used"),
        ("sys.exit('it broke')", "exit code 1: it broke"),
        ("import time; time.sleep(60)", "longer than 0.5 seconds"),
    ],
)
def test_a_script_that_fails_leaves_every_judgement_missing(tmp_path: Path, text: str, said: str) -> None:
    found = script(tmp_path, text, **({"timeout_seconds": 0.5} if "sleep" in text else {}))
    assert [each.score for each in found] == [None, None, None]
    assert all(said in each.error for each in found)


def test_python_in_a_command_is_the_one_that_runs_this(tmp_path: Path) -> None:
    text = "open('python.txt', 'w').write(sys.executable)\nprint('{\"scores\": [1, 1, 1]}')"
    script(tmp_path, text)
    assert Path((tmp_path / "python.txt").read_text()).resolve() == Path(sys.executable).resolve()


def test_what_a_script_says_of_a_key_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "open sesame 42")
    found = script(tmp_path, "import os; sys.exit('no access with ' + os.environ['OPENAI_API_KEY'])")
    assert "no access with [hidden]" in found[0].error and "sesame" not in found[0].error


def test_what_a_script_says_of_the_endpoints_key_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_KEY", "open barley 7")
    (tmp_path / "judge.py").write_text("import os, sys; sys.exit('no access with ' + os.environ['LOCAL_KEY'])")
    config = JudgeConfig.model_validate({"type": "script", "command": "python judge.py"})
    endpoint = Endpoint.model_validate({"base_url": "http://x/v1", "model": "m", "api_key_env": "LOCAL_KEY"})
    judge = open_judge(config, tmp_path, endpoint=endpoint)
    assert judge is not None
    found = list(judge.judge(FOUND, PROMPTS, GENERATIONS))
    assert "no access with [hidden]" in found[0].error and "barley" not in found[0].error


def http(root: Path, server: Server, **config: Any) -> list[Judgement]:
    return judged(
        root, type="http", base_url=server.base_url, model="judge", retries=config.pop("retries", 0), **config
    )


CRITERIA = {"style": 3.0, "sense": 1.0}


def test_criteria_are_requested_and_weighted(tmp_path: Path) -> None:
    answer = chat_of(lambda beginning, said: {"style": len(said) % 11, "sense": 2, "beginning": beginning})
    with serving(Server(chat=answer)) as server:
        found = http(tmp_path, server, criteria=CRITERIA, instructions="Children will read it.")
        bodies = server.bodies("/chat/completions")
    assert [each.score for each in found] == [(3 * 2 + 2) / 4, (3 * 5 + 2) / 4, (3 * 1 + 2) / 4]
    assert found[0].parts == {"style": 2.0, "sense": 2.0}
    assert bodies[0]["model"] == "judge" and bodies[0]["temperature"] == 0
    system, user = bodies[0]["messages"]
    assert '{"style": NUMBER, "sense": NUMBER}' in system["content"] and "Children will read it." in system["content"]
    assert json.loads(user["content"]) == {"beginning": "the cat ", "continuation": "likes my bird"}


@pytest.mark.parametrize(
    "said",
    [
        "I think it is quite good, a 7.",
        '{"style": 7}',
        '{"style": 7, "sense": "good"}',
        '{"style": 7, "sense": 12}',
        '{"style": 7, "sense": null}',
        "[7, 7]",
        "",
    ],
)
def test_an_answer_without_every_number_is_missing_and_never_a_middle_score(tmp_path: Path, said: str) -> None:
    with serving(Server(chat=lambda body: said)) as server:
        found = http(tmp_path, server, criteria=CRITERIA)
    assert [each.score for each in found] == [None, None, None]
    assert all(each.parts == {} and each.error for each in found)


def test_words_around_the_object_do_not_matter(tmp_path: Path) -> None:
    said = 'First {thoughts}: {"style": 1, "sense": 1}. Finally:\n```json\n{"style": 8, "sense": 4}\n```'
    with serving(Server(chat=lambda body: said)) as server:
        assert [each.score for each in http(tmp_path, server, criteria=CRITERIA)] == [7.0, 7.0, 7.0]


def test_one_failed_judgement_leaves_the_others(tmp_path: Path) -> None:
    with serving(Server(chat=lambda body: '{"quality": 6}', faults=[400])) as server:
        found = http(tmp_path, server)
    assert [each.score for each in found] == [None, 6.0, 6.0]
    assert "status 400: on order" in found[0].error


def test_openai_needs_a_key_and_a_server_at_home_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = JudgeConfig.model_validate({"type": "http", "model": "gpt-4o-mini"})
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY is neither in the environment nor in .*\.env"):
        open_judge(config, tmp_path)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-1234567")
    assert open_judge(config, tmp_path) is not None
    assert open_judge(JudgeConfig(), tmp_path) is None


def test_a_key_goes_to_openai_or_to_the_server_it_is_named_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "open sesame 42")
    monkeypatch.setenv("LOCAL_KEY", "open barley 7")
    with serving(Server(chat=lambda body: '{"quality": 6}')) as server:
        http(tmp_path, server)
        http(tmp_path, server, api_key_env="LOCAL_KEY")
        sent = [headers.get("Authorization") for _, headers, _ in server.requests]
        with pytest.raises(ConfigError, match=r"judge.api_key_env.*NO_SUCH_KEY is neither in the environment"):
            http(tmp_path, server, api_key_env="NO_SUCH_KEY")
    assert sent == [None] * 3 + ["Bearer open barley 7"] * 3
