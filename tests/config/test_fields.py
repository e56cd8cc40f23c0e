"""The flags beside each field agree with each other, and every reader of them follows a new field."""

import pytest
from pydantic import Field

from sequifier.config.base import About, about, field_about
from sequifier.config.fields import COUNTED, FROM_METADATA, MAY_DIFFER_ON_RESUME, run_fields, searchable
from sequifier.config.help.explain import Place, all_fields
from sequifier.config.ranges import Range
from sequifier.config.search import SearchConfig
from sequifier.config.search_sections import section
from sequifier.config.train import TrainConfig
from sequifier.config.training import TrainingSpec


def names(place: Place) -> str:
    return f"{place.kind}.{place.key}"


def test_every_flag_is_one_that_is_declared() -> None:
    known = {*About.__annotations__}
    assert not [names(place) for place in all_fields() if not field_about(place.field).keys() <= known]


def test_a_field_without_effect_on_a_run_is_outside_its_identity() -> None:
    for field in run_fields():
        if field.about.get("unused") or field.about.get("from_metadata"):
            assert field.key not in COUNTED, field.key


def test_what_a_search_varies_makes_another_run() -> None:
    varied = [field.key for field in searchable().values() if field.name not in FROM_METADATA]
    assert {*varied} <= {*COUNTED}
    assert len(varied) + 1 == len(searchable()), "no two have the same name; column_types follows input_columns"


def test_what_is_not_compared_on_resume_changes_no_step() -> None:
    """Where training ends may change, and how it is watched; nothing else that counts in the identity."""
    ends_or_watches = {"epochs", "max_steps", "early_stopping_epochs", "eval_interval_steps"}
    assert {*COUNTED} & MAY_DIFFER_ON_RESUME == {f"training_spec.{name}" for name in ends_or_watches}


@pytest.mark.parametrize("name", searchable())
def test_a_search_has_every_searchable_field_and_names_its_key(name: str) -> None:
    values = {"metadata_config_path": "m", "hp_search_name": "s", "target_columns": ["y"], "n_samples": 1}
    config = SearchConfig.model_validate(values)
    assert config.searched(name) is None or len(config.searched(name)) == 1  # type: ignore[arg-type]
    *section, field = config.place(name)
    owner = getattr(config, str(section[0])) if section else config
    assert field in type(owner).model_fields


def test_a_search_passes_on_every_field_at_the_top_of_a_run() -> None:
    assert {*TrainConfig.model_fields} - {*SearchConfig.model_fields} == {"model_name", "model_spec", "training_spec"}


def test_a_new_field_needs_a_flag_alone() -> None:
    class Later(TrainingSpec):
        momentum_decay: float = Field(0.5, gt=0, json_schema_extra=about(searchable=True, old_names=("md",)))
        log_colour: str = "red"

    derived = section("LaterSampling", "Of a later version.", Later)
    assert "momentum_decay" in derived.searchable()
    assert "log_colour" not in derived.searchable()
    given = derived.model_validate({"momentum_decay": {"low": 0.1, "high": 0.2}, "log_colour": "blue"})
    assert isinstance(given.momentum_decay, Range)  # type: ignore[attr-defined]
