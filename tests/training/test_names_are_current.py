"""torch_names.json says what the installed libraries are."""

import json
import warnings
from pathlib import Path

import pytest

from sequifier.config.catalogue.torch_names import AUTO_OPTIONS, known_names, options_of
from sequifier.training.losses import LOSSES
from tools.torch_names import PATH, generate, text, versions

WRITTEN = json.loads(PATH.read_text(encoding="utf-8"))


def test_names_match_the_pinned_versions() -> None:
    lines = Path("constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    assert WRITTEN["versions"] == {name: pinned[name] for name in WRITTEN["versions"]}


@pytest.mark.slow
@pytest.mark.skipif(WRITTEN["versions"] != versions(), reason="other versions than the pinned ones are installed")
def test_names_are_written_anew_without_a_difference() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert text(generate()) == PATH.read_text(encoding="utf-8"), "run python -m tools.torch_names"


def test_every_criterion_has_a_function() -> None:
    assert sorted(known_names("criteria")) == sorted(LOSSES)


def test_every_option_that_takes_auto_is_a_length_of_some_scheduler() -> None:
    options = {option for name in known_names("schedulers") for option in options_of("schedulers", name)}
    assert set(AUTO_OPTIONS) <= options


def test_every_alias_leads_to_a_known_name_and_option() -> None:
    optimizers = WRITTEN["optimizers"]
    for alias in WRITTEN["aliases"]["optimizers"].values():
        assert alias.get("options", {}).keys() <= optimizers[alias["name"]]["options"].keys()
    for name, renamed in WRITTEN["option_aliases"].items():
        assert set(renamed.values()) <= optimizers[name]["options"].keys(), name
        assert not renamed.keys() & optimizers[name]["options"].keys(), name
