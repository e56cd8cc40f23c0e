"""`ranking`: at which ranks the true class of a categorical target counts, and among which candidates it is ranked."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sequifier.config.base import StrictModel, about


def _ascending(values: list[int]) -> list[int]:
    if sorted(set(values)) != values:
        raise ValueError(f"{values} is not in ascending order, each once; write {sorted(set(values))}")
    return values


Cutoffs = Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=1), AfterValidator(_ascending)]


class SampledCandidates(StrictModel):
    """Candidates that are sampled for each target, instead of all classes."""

    negatives: int = Field(
        100,
        gt=0,
        description="Number of other classes among which the true class is ranked.",
        json_schema_extra=about(
            unit="classes", interacts="by", change="to the number that the results you compare with have"
        ),
    )
    by: Literal["uniform", "popularity"] = Field(
        "uniform",
        description="How they are sampled: all classes alike, or in proportion to their number in the training split.",
        json_schema_extra=about(interacts="negatives", change="to the way of the results that you compare with"),
    )


class Ranking(StrictModel):
    """How the true class of one target is ranked."""

    k: Cutoffs = Field(
        [5, 10, 20],
        description="Ranks up to which the true class counts: each gives `hit_rate_K`, `ndcg_K` and `mrr_K`.",
        json_schema_extra=about(
            unit="ranks",
            interacts="metric, which may be `val_item_ndcg_10`",
            change="to the number of items that you show",
        ),
    )
    candidates: Literal["all"] | SampledCandidates = Field(
        "all",
        description="The classes among which the true one is ranked: `all`, or a sample of those that are not among "
        "the sequence's earlier events.",
        json_schema_extra=about(
            interacts="metric_is_sampled",
            change="to a sample only to compare with results that were measured so: it may reorder models",
        ),
    )
    exclude_seen: bool = Field(
        False,
        description="Whether classes of earlier events of the sequence are no candidates; the true class always is.",
        json_schema_extra=about(
            interacts="candidates: a sample never has them",
            change="to true where nobody takes an item twice",
        ),
    )

    @property
    def definition(self) -> str:
        """What a rank means, in words: values of different definitions cannot be compared."""
        if isinstance(self.candidates, SampledCandidates):
            return f"among {self.candidates.negatives} classes sampled by {self.candidates.by}"
        return "among all classes but those seen" if self.exclude_seen else "among all classes"

    @property
    def is_sampled(self) -> bool:
        """Whether the candidates are a sample."""
        return self.candidates != "all"

    def n_candidates(self, n_classes: int) -> int:
        """Largest possible rank, of a target with this many known classes."""
        return self.candidates.negatives + 1 if isinstance(self.candidates, SampledCandidates) else n_classes


def ranking_inputs(ranking: Mapping[str, Ranking]) -> dict[str, str]:
    """What comparable runs have in common: how each target is ranked, without the ranks up to which it counts."""
    return {f"ranking.{target}": asked.definition for target, asked in ranking.items()}


def positive_inputs(positive_class: Mapping[str, str]) -> dict[str, str]:
    """What comparable runs have in common: the positive class of each target, where the config names it."""
    return {f"positive_class.{target}": name for target, name in positive_class.items()}
