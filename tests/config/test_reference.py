from typing import Annotated, Literal

import pytest
from pydantic import Field

from sequifier.config.base import Named, StrictModel, about
from sequifier.config.help.comments import COLUMN, annotate
from sequifier.config.help.reference import HEAD, hyperparameters
from sequifier.config.loading.yaml12 import parse


class Oven(StrictModel):
    """How it is baked."""

    minutes: int = Field(
        30,
        gt=0,
        le=90,
        description="Time in the oven. Less for thin ones.",
        json_schema_extra=about(unit="minutes", interacts="mode: shorter with fan", change="when it comes out pale"),
    )
    mode: Literal["fan", "grill"] = Field(
        "fan", description="Heat.", json_schema_extra=about(refused="the grill is broken")
    )


class Cake(StrictModel):
    """A cake."""

    name: str = Field(description="What it is called.")
    layers: list[str] | None = Field(None, description="From the bottom; null: one plain layer.")
    icing: Named = Field(Named(name="Sugar", colour="white"), description="On top.")
    candles: dict[str, int] = Field(default_factory=dict, description="How many of each colour.")
    slices: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Null: whole.", json_schema_extra=about(unit="slices", default="as many as layers")
    )
    oven: Oven = Field(default_factory=Oven, description="How it is baked.")


PLAIN = """\
# A cake for a birthday.

name: "Number # one"
layers: [a rather long name, another long name]
# Two colours this year.
candles:
  red: 3
oven:
  minutes: 40
"""


def test_each_key_gets_the_first_sentence_of_its_description() -> None:
    assert annotate(PLAIN, Cake) == (
        "# A cake for a birthday.\n"
        "\n"
        'name: "Number # one"                    # What it is called.\n'
        "layers: [a rather long name, another long name]\n"
        "                                        # From the bottom; null: one plain layer.\n"
        "# Two colours this year.\n"
        "candles:                                # How many of each colour.\n"
        "  red: 3\n"
        "oven:                                   # How it is baked.\n"
        "  minutes: 40                           # Time in the oven.\n"
    )


def test_annotating_twice_changes_nothing_and_values_stay() -> None:
    once = annotate(PLAIN, Cake)
    assert annotate(once, Cake) == once
    assert parse(once).values == parse(PLAIN).values


def test_a_stale_comment_is_replaced() -> None:
    old = "name: x  # Its old description.\n" + " " * COLUMN + "# and more of it\nslices: 3  # none\n"
    assert annotate(old, Cake) == f"{'name: x':<{COLUMN}}# What it is called.\n{'slices: 3':<{COLUMN}}# Null: whole.\n"


def test_a_long_comment_continues_on_the_next_line() -> None:
    class Wordy(StrictModel):
        """One field."""

        field: int = Field(1, description="word " * 30)

    lines = annotate("field: 1\n", Wordy).splitlines()
    assert len(lines) == 2
    assert all(line[COLUMN] == "#" and len(line) <= 120 for line in lines)


@pytest.mark.parametrize("text", ["base_config_path: default.yaml\n", "oven:\n  minuts: 3\n", "- 1\n"])
def test_a_key_that_no_field_describes_gets_no_comment(text: str) -> None:
    assert annotate(text, Oven) == text


REFERENCE = """
**cake.yaml**: [name](#cake.name), [layers](#cake.layers), [icing](#cake.icing), [candles](#cake.candles),
[slices](#cake.slices), [oven](#cake.oven)

**cake.yaml: oven**: [minutes](#cake.oven.minutes), [mode](#cake.oven.mode)

## cake.yaml

A cake.

#### <a id="cake.name"></a>name

What it is called.

- Values: string; mandatory.

#### <a id="cake.layers"></a>layers

From the bottom; null: one plain layer.

- Values: list of strings or null; default: `null`.

#### <a id="cake.icing"></a>icing

On top.

- Values: name with options; default: `{name: Sugar, colour: white}`.

#### <a id="cake.candles"></a>candles

How many of each colour.

- Values: map of integers; default: `{}`.

#### <a id="cake.slices"></a>slices

Null: whole.

- Values: integer or null (slices); default: as many as layers.

#### <a id="cake.oven"></a>oven

How it is baked.

- Values: map; default: see its fields.

### cake.yaml: oven

How it is baked.

#### <a id="cake.oven.minutes"></a>oven.minutes

Time in the oven. Less for thin ones.

- Values: integer (above 0, at most 90, minutes); default: `30`.
- Interacts with mode: shorter with fan.
- Change it when it comes out pale.

#### <a id="cake.oven.mode"></a>oven.mode

Heat.

- Values: fan, grill; default: `fan`.
- Only the default is accepted: the grill is broken.
"""


def test_the_reference_has_a_short_section_for_each_field() -> None:
    assert hyperparameters({"cake.yaml": Cake}) == f"{HEAD}\n{REFERENCE}"
