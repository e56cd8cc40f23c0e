"""The fields of a run, with the flags that are declared beside each of them (`about(...)` in config/base.py).

Identity, search, resume and the readers of results ask here; a new field needs no other list.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sequifier.config.base import About, field_about
from sequifier.config.model import ModelSpec
from sequifier.config.train import TrainConfig
from sequifier.config.training import TrainingSpec

SECTIONS: dict[str, type[BaseModel]] = {"": TrainConfig, "model_spec": ModelSpec, "training_spec": TrainingSpec}
"""The parts of a run; "" is the top level of `train.yaml`."""

SEARCH_SECTIONS = {"model_spec": "model_hyperparameter_sampling", "training_spec": "training_hyperparameter_sampling"}
"""Section of a run -> section of a search that has the same fields, each with several values."""


@dataclass(frozen=True)
class RunField:
    """One field of a run."""

    section: str
    name: str
    info: FieldInfo

    @property
    def key(self) -> str:
        """The dotted key in `train.yaml`."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def about(self) -> About:
        """What is declared of it."""
        return field_about(self.info)

    @property
    def owner(self) -> type[BaseModel]:
        """The model that declares it."""
        return SECTIONS[self.section]


def run_fields() -> Iterator[RunField]:
    """Every field of a run in declared order, without the two sections themselves."""
    for section, model in SECTIONS.items():
        for name, info in model.model_fields.items():
            if name not in SECTIONS:
                yield RunField(section, name, info)


COUNTED = tuple(field.key for field in run_fields() if not field.about.get("outside_identity"))
"""Dotted keys of the fields that count in the identity of a run."""

MAY_DIFFER_ON_RESUME = frozenset(field.key for field in run_fields() if field.about.get("may_differ_on_resume"))
"""Dotted keys of the fields that may change between a checkpoint and the run that resumes from it."""

FROM_METADATA = tuple(field.name for field in run_fields() if field.about.get("from_metadata"))
"""Fields at the top level that the metadata has: a run does not repeat them."""


@cache
def searchable() -> dict[str, RunField]:
    """The fields that a search may vary, by name, in declared order. No two of them have the same name."""
    return {field.name: field for field in run_fields() if field.about.get("searchable")}


SEARCHED_AT_ROOT = tuple(field.name for field in searchable().values() if not field.section)
"""The searchable fields at the top level."""
