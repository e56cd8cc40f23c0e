"""`scoring` in a config: what it may say, and each mistake before anything trains."""

from typing import Any

import pytest
from pydantic import ValidationError

from sequifier.config.identity import identity
from sequifier.config.resolve import resolve
from sequifier.config.scoring import Scoring, scoring_input
from sequifier.config.train import TrainConfig
from sequifier.errors import ConfigError
from tests.support.searches import metadata, plan_of, record_of, search, started

RUN = {"metadata_config_path": "m.json", "model_name": "m", "target_columns": ["kind", "length"]}
SOME = {"min_events": 2, "except": {"kind": "a"}}


def run(scoring: Any) -> TrainConfig:
    return resolve(TrainConfig.model_validate(RUN | {"scoring": scoring}), metadata())


def test_a_config_goes_to_a_map_and_back() -> None:
    config = run(SOME)
    assert config.scoring is not None and config.scoring.left_out == {"kind": ["a"]}
    assert config.model_dump(mode="json")["scoring"] == {"min_events": 2, "except": {"kind": ["a"]}}
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


def test_what_counts_is_said_in_words() -> None:
    assert scoring_input(None) == scoring_input(Scoring()) == {}
    many = Scoring.model_validate({"min_events": 2, "except": {"b": [True, 7], "a": ["END"]}})
    assert scoring_input(many) == {"scoring": "all targets after 2 events or more but a END but b true, 7"}


@pytest.mark.parametrize(
    ("scoring", "key", "what", "fix"),
    [
        ({"except": {"length": ["a"]}}, "scoring.except.length", "`length` is real: it has no classes", "leave it out"),
        ({"except": {"kind": ["END"]}}, "scoring.except.kind", "`kind` has no class 'END'", None),
        (
            {"min_events": 10_000},
            "scoring.min_events",
            f"10,000 exceeds the {metadata().sequifier.context_events:,} earlier events that the splits store",
            "a smaller one, or preprocess with more context_events",
        ),
    ],
)
def test_each_mistake_is_one_error(scoring: dict[str, Any], key: str, what: str, fix: str | None) -> None:
    with pytest.raises(ConfigError) as raised:
        run(scoring)
    (found,) = raised.value.problems
    assert (found.key, found.message) == (key, what)
    assert fix is None or found.fix == fix


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        ({"except": {"kinds": ["a"]}}, "names `kinds`, which is not a target; target_columns: kind, length"),
        ({"min_events": 0}, "greater than or equal to 1"),
        ({"min_event": 2}, "min_event"),
        ({"except": {"kind": []}}, "at least 1 item"),
    ],
)
def test_what_is_no_scoring_is_refused(scoring: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        run(scoring)


def test_scoring_changes_no_identity() -> None:
    assert len({identity(run(scoring), "data") for scoring in (None, {"min_events": 2}, SOME)}) == 1


def test_a_search_gives_its_scoring_to_each_run() -> None:
    plan = plan_of(search(scoring=SOME, seq_length=[4, 8]))
    assert [each.config.scoring for each in plan.runs] == [Scoring.model_validate(SOME)] * 2


def test_runs_that_were_scored_on_other_targets_are_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (planned,) = started(search()).runs
    inputs = {"subsequence_start_mode": "distribute"}
    of_all = record_of(planned, loss=1.0, inputs=inputs, n_targets={"kind": 5})
    of_some = record_of(
        planned, loss=1.0, inputs=inputs | scoring_input(Scoring.model_validate(SOME)), n_targets={"kind": 5}
    )
    plan_of(search(), [of_all])
    plan_of(search(scoring=SOME), [of_some])
    for config, record in ((search(scoring=SOME), of_all), (search(), of_some)):
        with pytest.raises(ConfigError, match="was scored on all targets") as raised:
            plan_of(config, [record])
        (found,) = raised.value.problems
        assert found.key == "scoring" and "their metrics cannot be compared" in found.message
