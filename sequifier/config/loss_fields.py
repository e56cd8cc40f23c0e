"""Fields of `training_spec`: the loss that a training minimises."""

from typing import Literal

from pydantic import Field, field_validator

from sequifier.config.base import NO_UNIT, Named, StrictModel, about
from sequifier.config.softmax import Softmax

ClassWeights = dict[str, list[float] | Literal["balanced"]]
"""Target -> weights of its classes, id 0 first."""


class LossFields(StrictModel):
    """What a training minimises."""

    criterion: dict[str, Named] = Field(
        default_factory=dict,
        description="Loss of each target: a torch.nn loss by name, with its options; left out: CrossEntropyLoss for "
        "categorical targets, L1Loss for times and for targets with the transform log1p, MSELoss for other real ones.",
        json_schema_extra=about(
            interacts="target_columns and their types; val_loss is measured with it",
            change="to HuberLoss or L1Loss when outliers dominate the loss of a real target",
            searchable=True,
            synonyms="loss loss_fn loss_function",
        ),
    )
    softmax: dict[str, Softmax] = Field(
        {},
        description="The classes over which the loss of a categorical target is computed in training: `full` (the "
        "default), or `{sampled: 2000}`: the true class and that many sampled ones. Validation and export always "
        "use all classes.",
        json_schema_extra=about(
            interacts="criterion and class_weights, which the target must not have",
            change="to a sample of a few thousand where the softmax over all classes makes a step slow",
            searchable=True,
            synonyms="sampled_softmax negative_sampling num_sampled n_negatives negatives num_negatives",
        ),
    )
    loss_memory_mb: int = Field(
        128,
        gt=0,
        description="Memory of the loss of a categorical target of more than 8,192 classes. Where the logits of a "
        "batch need more, they are computed for as many positions at a time as fit; the loss and its gradient are the "
        "same to 1e-6.",
        json_schema_extra=about(
            unit="megabytes",
            interacts="batch_size and seq_length, which need not be smaller for such a target",
            change="to less where a GPU's memory is short; more is rarely faster",
            outside_identity=True,
            synonyms="chunk_size loss_chunk_size chunked_cross_entropy fused_linear_cross_entropy",
        ),
    )
    loss_weights: dict[str, float] | None = Field(
        None,
        description="Weight of each target's loss in the sum: 0 or more, at least one above 0; left out: 1.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="target_columns; val_loss is the weighted sum",
            change="when one target matters more than the others",
            searchable=True,
            synonyms="loss_weight target_weights task_weights",
        ),
    )
    class_weights: ClassWeights | None = Field(
        None,
        description="Weight of each class of a categorical target: n_classes numbers of 0 or more, id 0 first (it "
        "has no effect). Targets of a class with weight 0 add nothing to the sum of the losses, but they "
        "are counted in its mean. `balanced`: the inverse of each class's frequency in the training split, with a mean "
        "of 1 over its targets.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="criterion; val_loss is measured with them",
            change="when rare classes matter more than their frequency",
            searchable=True,
            synonyms="class_weight pos_weight imbalance",
        ),
    )

    @field_validator("loss_weights")
    @classmethod
    def _weights_not_negative(cls, weights: dict[str, float] | None) -> dict[str, float] | None:
        for target, weight in (weights or {}).items():
            if weight < 0:
                raise ValueError(f"{target}: {weight} is negative; a weight is 0 or more")
        return weights

    @field_validator("class_weights")
    @classmethod
    def _classes_count(cls, weights: ClassWeights | None) -> ClassWeights | None:
        for target, of_classes in (weights or {}).items():
            if of_classes == "balanced":
                continue
            for number, weight in enumerate(of_classes):
                if weight < 0:
                    raise ValueError(f"{target}: {weight} (of id {number}) is negative; a weight is 0 or more")
            if len(of_classes) > 1 and not any(of_classes[1:]):
                raise ValueError(
                    f"{target}: no class has a weight above 0 (id 0 does not count), so there is nothing to learn"
                )
        return weights
