"""`scoring`: which targets count in metrics and ranking. It never changes the loss."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, create_model

from sequifier.config.base import NO_UNIT, Category, StrictModel, about, category_text


def _one_or_more(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Labels = Annotated[list[Category], BeforeValidator(_one_or_more), Field(min_length=1)]


class _Scoring(StrictModel):
    """Which targets count in metrics."""

    min_events: int = Field(
        1,
        ge=1,
        description="Number of earlier events of its sequence that a target must have to count in metrics. Targets of "
        "whole sequences always count.",
        json_schema_extra=about(
            unit="events",
            interacts="context_events of preprocess, which must store as many where sequences are cut",
            change="to 2 where prefixes of one event are not scored, as in publications on process mining",
            synonyms="min_prefix_length minimum_history",
        ),
    )

    @property
    def left_out(self) -> dict[str, list[Category]]:
        """The field `except`: target -> labels that do not count as the truth."""
        found: dict[str, list[Category]] = getattr(self, "except")
        return found

    @property
    def definition(self) -> str:
        """Which targets count, in words: values of different definitions cannot be compared."""
        parts = [f"after {self.min_events} events or more"] if self.min_events > 1 else []
        for target, labels in sorted(self.left_out.items()):
            parts.append(f"but {target} {', '.join(map(category_text, labels))}")
        return " ".join((ALL_TARGETS, *parts))


ALL_TARGETS = "all targets"

if TYPE_CHECKING:
    Scoring = _Scoring
else:
    # `except` is a word of Python, so that a class cannot declare a field of this name.
    Scoring = create_model(
        "Scoring",
        __base__=_Scoring,
        __doc__=_Scoring.__doc__,
        **{
            "except": (
                dict[str, Labels],
                Field(
                    default_factory=dict,
                    description="Classes that do not count as the truth, by categorical target: `{activity: [END]}`. "
                    "They stay classes that may be predicted.",
                    json_schema_extra=about(
                        unit=NO_UNIT,
                        interacts="end_event of preprocess, whose class is END",
                        change="to leave out ends, or another class that is not of interest",
                        synonyms="exclude_classes ignore_labels",
                    ),
                ),
            )
        },
    )


def scoring_input(scoring: Scoring | None) -> dict[str, str]:
    """What comparable runs have in common: which targets count; empty where all do."""
    found = ALL_TARGETS if scoring is None else scoring.definition
    return {} if found == ALL_TARGETS else {"scoring": found}


def unknown_text(target: str, n_unknown: float) -> str:
    """How many targets have an unknown class, and what that means for the metrics."""
    return (
        f"{n_unknown:,.0f} validation targets of {target} have an unknown class: wrong for accuracy and ranks, "
        "left out of losses"
    )
