"""`softmax`: over which classes the loss of a categorical target is computed in training."""

from typing import Literal

from pydantic import Field

from sequifier.config.base import StrictModel, about


class SampledSoftmax(StrictModel):
    """A softmax over the true class and a sample of the others."""

    sampled: int = Field(
        gt=0,
        description="Number of classes that are sampled for each batch, each at most once; its targets share them.",
        json_schema_extra=about(
            unit="classes", interacts="batch_size", change="to more where the loss stays above the one of `full`"
        ),
    )
    by: Literal["popularity", "uniform"] = Field(
        "popularity",
        description="How they are sampled: by their number among the training targets to the power 0.75, or all alike.",
        json_schema_extra=about(interacts="logq", change="to uniform where rare classes matter most"),
    )
    logq: bool = Field(
        True,
        description="Whether the logarithm of the probability that a class is sampled is subtracted from its logit, "
        "so that the logits become those of `full`.",
        json_schema_extra=about(
            interacts="by: with uniform it changes nothing",
            change="to false to learn how much likelier a class is than its popularity, as without a correction",
        ),
    )


Softmax = Literal["full"] | SampledSoftmax
