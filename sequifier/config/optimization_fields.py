"""Fields of `training_spec`: the length of a training, its batches and its optimizer."""

from typing import Literal

from pydantic import Field, field_validator

from sequifier.config.base import NO_UNIT, Device, Fraction, Named, StrictModel, about
from sequifier.config.catalogue.torch_names import check_optimizer, check_scheduler


class OptimizationFields(StrictModel):
    """How the weights of a model are changed, and for how long."""

    device: Device = Field(
        "auto",
        description="Device that trains. `auto` is CUDA where available, else the CPU. On a Mac it is the CPU, "
        "because mps is not tested yet. `cuda` is the first GPU, `cuda:1` the second.",
        json_schema_extra=about(
            interacts="layer_type_dtypes and torch_compile, whose defaults depend on it",
            change="to leave the GPU to others",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="gpu gpus accelerator use_cuda no_cuda cuda",
        ),
    )
    epochs: int = Field(
        10,
        gt=0,
        description="Number of passes over the training windows.",
        json_schema_extra=about(
            unit="epochs",
            interacts="learning_rate and scheduler; max_steps may end a run earlier",
            change="to more when the validation loss still falls in the last epochs (early_stopping_epochs ends "
            "runs that no longer improve)",
            may_differ_on_resume=True,
            searchable=True,
            synonyms="n_epochs num_epochs max_epochs epoch num_train_epochs",
        ),
    )
    max_steps: int | None = Field(
        None,
        gt=0,
        description="Maximum number of optimizer steps; null: no limit. Training ends there, also in the middle of an "
        "epoch.",
        json_schema_extra=about(
            unit="optimizer steps",
            interacts="epochs, which ends a run too; `auto` in a scheduler uses whichever comes first",
            change="for a quick try, or for runs of equal cost on data of different size",
            may_differ_on_resume=True,
            searchable=True,
            synonyms="max_iters max_iterations num_steps n_steps train_steps max_train_steps iterations",
        ),
    )
    batch_size: int = Field(
        64,
        gt=0,
        description="Number of windows in one forward and backward pass.",
        json_schema_extra=about(
            unit="windows",
            interacts="accumulation_steps (an optimizer step sees batch_size x accumulation_steps windows) and "
            "learning_rate; memory grows with it",
            change="to a larger value if memory allows it and runs do not need more epochs; search it together with "
            "learning_rate",
            searchable=True,
            synonyms="bs batch batchsize minibatch minibatch_size train_batch_size per_device_train_batch_size "
            "micro_batch_size",
        ),
    )
    learning_rate: float = Field(
        3e-4,
        gt=0,
        le=10,
        description="Learning rate after warm-up, before the scheduler changes it.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="optimizer, scheduler and batch_size: larger batches allow a higher rate",
            change="first of all fields: search 1e-4 to 3e-3 for Adam-like optimizers",
            searchable=True,
            old_names=("lr",),
            synonyms="lr eta alpha max_lr base_lr init_lr",
        ),
    )
    accumulation_steps: int = Field(
        1,
        gt=0,
        description="Number of batches whose gradients make one optimizer step. The result is the gradient of the "
        "joined batch, exactly.",
        json_schema_extra=about(
            unit="batches",
            interacts="batch_size: a step sees their product",
            change="to more, with a smaller batch_size, when there is not enough memory",
            searchable=True,
            synonyms="gradient_accumulation gradient_accumulation_steps grad_accum grad_accumulation "
            "accumulate_grad_batches",
        ),
    )
    effective_batch_size: int | None = Field(
        None,
        gt=0,
        description="Number of windows in one optimizer step; null: batch_size x accumulation_steps. A search writes "
        "it when a batch did not fit in memory: the step is then cut into accumulation_steps nearly "
        "equal batches.",
        json_schema_extra=about(
            unit="windows",
            interacts="batch_size and accumulation_steps, whose product it must not exceed",
            change="only in run files that a search has written",
            synonyms="global_batch_size total_batch_size",
        ),
    )
    dropout: Fraction = Field(
        0.0,
        description="Fraction of activations set to 0 during training.",
        json_schema_extra=about(
            unit="fraction",
            interacts="export_with_dropout and infer_with_dropout",
            change="to a value from 0.1 to 0.3 when the validation loss rises during training",
            searchable=True,
            synonyms="dropout_rate drop_rate drop_prob p_dropout attention_dropout resid_dropout hidden_dropout",
        ),
    )
    optimizer: Named = Field(
        Named(name="Adam"),
        description="Optimizer by name, with its options: a class of torch.optim, else of pytorch_optimizer.",
        json_schema_extra=about(
            interacts="learning_rate, which replaces the option lr of torch, and decay_all",
            change="to `{name: AdamW, weight_decay: 0.1}` against overfitting; `sequifier config explain AdamW` lists "
            "its options",
            searchable=True,
            synonyms="optim optimiser",
        ),
    )
    scheduler: Named = Field(
        Named(name="StepLR", step_size=1, gamma=0.99),
        description="Learning-rate scheduler of torch.optim.lr_scheduler by name, with its options. The word `auto` "
        "in an option stands for the length of the run, in epochs or optimizer steps.",
        json_schema_extra=about(
            interacts="scheduler_step_on, which decides what its lengths count, and warmup_steps",
            change="to `{name: CosineAnnealingLR, T_max: auto}` for runs of a fixed length",
            searchable=True,
            synonyms="lr_scheduler lr_scheduler_type lr_schedule schedule lr_decay annealing cosine",
        ),
    )
    scheduler_step_on: Literal["epoch", "batch"] = Field(
        "epoch",
        description="When the scheduler advances: after each epoch, or after each optimizer step (`batch`).",
        json_schema_extra=about(
            interacts="scheduler: its lengths count epochs or optimizer steps; ReduceLROnPlateau waits for evaluations",
            change="to batch for OneCycleLR and for runs of few epochs",
            searchable=True,
            old_names=("scheduler_step_iter",),
            synonyms="scheduler_interval",
        ),
    )
    warmup_steps: int = Field(
        0,
        ge=0,
        description="Length of the linear warm-up, in which the learning rate rises from 0, on top of any scheduler.",
        json_schema_extra=about(
            unit="optimizer steps",
            interacts="scheduler, whose rate it multiplies",
            change="to a value from 100 to 1000 when the loss jumps at the beginning",
            searchable=True,
            synonyms="warmup warm_up num_warmup_steps warmup_ratio warmup_epochs warmup_iters",
        ),
    )
    decay_all: bool = Field(
        False,
        description="Whether weight decay also applies to norms, biases and embeddings (of categories, real values "
        "and positions), not only to the matrices of linear layers.",
        json_schema_extra=about(
            interacts="optimizer: its weight_decay",
            change="to true to match programs that decay all weights",
            searchable=True,
        ),
    )
    gradient_clip: float | None = Field(
        0.5,
        gt=0,
        description="Maximum norm of the gradient; a longer gradient is scaled down; null: off.",
        json_schema_extra=about(
            unit="norm of all gradients together",
            interacts="learning_rate: when the loss diverges, lower either",
            change="to 1.0, another common value, or to null to match Sequifier 1, the earlier release",
            searchable=True,
            synonyms="grad_clip clip clipnorm max_grad_norm grad_clip_norm clip_grad_norm gradient_clip_val clip_grad "
            "gradient_clipping",
        ),
    )

    @field_validator("optimizer")
    @classmethod
    def _known_optimizer(cls, value: Named) -> Named:
        return check_optimizer(value)

    @field_validator("scheduler")
    @classmethod
    def _known_scheduler(cls, value: Named) -> Named:
        return check_scheduler(value)
