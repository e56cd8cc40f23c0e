"""`training_spec`: how one model is trained."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sequifier.config.base import Fraction, Named, NameList, StrictModel, about
from sequifier.config.names import check_optimizer, check_scheduler

LayerKind = Literal["linear", "decoder", "embedding", "norm"]
Format = Literal["float32", "bfloat16", "float16"]


class TrainingSpec(StrictModel):
    """How one model is trained."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Where to train; auto takes cuda, then mps, then cpu, whichever is there first."
    )
    epochs: int = Field(
        10,
        gt=0,
        description="Passes over the training windows.",
        json_schema_extra=about(unit="epochs", interacts="learning_rate and scheduler; max_steps may end it earlier"),
    )
    max_steps: int | None = Field(
        None,
        gt=0,
        description="Optimizer steps after which training ends, also in the middle of an epoch.",
        json_schema_extra=about(unit="optimizer steps"),
    )
    batch_size: int = Field(
        64,
        gt=0,
        description="Windows in one forward and backward pass.",
        json_schema_extra=about(
            unit="windows",
            interacts="memory grows with it; an optimizer step sees batch_size x accumulation_steps windows",
        ),
    )
    learning_rate: float = Field(
        3e-4,
        gt=0,
        le=10,
        description="Learning rate after warm-up, before the scheduler changes it.",
        json_schema_extra=about(change="the first thing to search: 1e-4 to 3e-3 for Adam-like optimizers"),
    )
    accumulation_steps: int = Field(
        1,
        gt=0,
        description="Batches whose gradients make one optimizer step: the gradient of the joined batch, exactly.",
        json_schema_extra=about(unit="batches", change="raise it, and lower batch_size, when memory is short"),
    )
    effective_batch_size: int | None = Field(
        None,
        gt=0,
        description="Windows in one optimizer step; null: batch_size x accumulation_steps. Written by the search "
        "when a batch did not fit in memory: the step is cut into accumulation_steps nearly equal batches.",
        json_schema_extra=about(unit="windows", interacts="at most batch_size x accumulation_steps"),
    )
    dropout: Fraction = Field(
        0.0,
        description="Fraction of activations set to 0 while training.",
        json_schema_extra=about(
            unit="fraction", change="0.1 to 0.3 when the validation loss rises while training goes on"
        ),
    )
    optimizer: Named = Field(
        Named(name="Adam"),
        description="Optimizer by name, with its options: torch.optim first, then pytorch_optimizer.",
        json_schema_extra=about(interacts="its learning rate is learning_rate"),
    )
    scheduler: Named = Field(
        Named(name="StepLR", step_size=1, gamma=0.99),
        description="Learning-rate schedule of torch.optim.lr_scheduler by name, with its options; the word auto "
        "stands for the run's epochs or optimizer steps.",
        json_schema_extra=about(interacts="scheduler_step_on says what its lengths count"),
    )
    scheduler_step_on: Literal["epoch", "batch"] = Field(
        "epoch", description="When the scheduler advances: after each epoch, or after each optimizer step (batch)."
    )
    warmup_steps: int = Field(
        0,
        ge=0,
        description="Length of a linear rise of the learning rate from 0, on top of any scheduler.",
        json_schema_extra=about(unit="optimizer steps"),
    )
    decay_all: bool = Field(
        False, description="Apply weight decay to norms, biases and embeddings too, instead of matrices alone."
    )
    gradient_clip: float | None = Field(
        0.5, gt=0, description="Largest norm of the gradient; a longer one is scaled down. Null: off."
    )
    criterion: dict[str, Named] = Field(
        default_factory=dict,
        description="Loss of each target: a torch.nn loss by name, with its options. Left out: CrossEntropyLoss for "
        "categorical targets, MSELoss for real ones.",
    )
    loss_weights: dict[str, float] | None = Field(
        None, description="Weight of each target's loss in the sum; left out: 1."
    )
    class_weights: dict[str, list[float]] | None = Field(
        None,
        description="Weight of each class of a categorical target: n_classes numbers, id 0 first.",
        json_schema_extra=about(interacts="changes what val_loss measures"),
    )
    save_interval_epochs: int = Field(
        1, gt=0, description="Epochs between checkpoints.", json_schema_extra=about(unit="epochs")
    )
    checkpoint_interval_steps: int | None = Field(
        None,
        gt=0,
        description="Optimizer steps between additional checkpoints; a run can go on from each, also within an epoch.",
        json_schema_extra=about(unit="optimizer steps"),
    )
    keep_checkpoints: int | None = Field(
        None,
        gt=0,
        description="Checkpoints to keep, the newest ones of epochs and of steps; null keeps all (a search keeps 1).",
        json_schema_extra=about(unit="checkpoints"),
    )
    early_stopping_epochs: int | None = Field(
        None,
        gt=0,
        description="Epochs without a better metric after which training stops; null: never.",
        json_schema_extra=about(unit="epochs"),
    )
    evaluation_context: Literal["full", "split"] = Field(
        "full",
        description="full: every event of the split is predicted once, with the events before it as history; "
        "split: separate windows of the split alone.",
    )
    evaluation_stride: int | None = Field(
        None,
        gt=0,
        description="Events by which evaluation windows advance; null: seq_length // 2.",
        json_schema_extra=about(
            unit="events", interacts="at most seq_length; smaller sees more history and takes longer"
        ),
    )
    eval_interval_steps: int | None = Field(
        None,
        gt=0,
        description="Optimizer steps between additional evaluations. They count for the best weights; the scheduler, "
        "early stopping and pruning go by epochs.",
        json_schema_extra=about(unit="optimizer steps"),
    )
    sampling_interval_steps: int | None = Field(
        None,
        gt=0,
        description="Optimizer steps between generated samples in the log; null: none.",
        json_schema_extra=about(unit="optimizer steps", interacts="every input column must be a target"),
    )
    sampling_prompt: str | list[Any] | None = Field(
        None,
        description="How a generated sample begins: a text, or a list of labels, or for several input columns a list "
        "of maps from column to value; null: from nothing.",
    )
    sampling_temperature: float = Field(
        1.0, ge=0, description="Temperature of generated samples; 0 takes the most likely class."
    )
    sampling_max_length: int = Field(
        100, gt=0, description="Events to generate for a sample.", json_schema_extra=about(unit="events")
    )
    sampling_seed: int = Field(
        42, ge=0, lt=2**63, description="Seed of generated samples: all are drawn with the same numbers."
    )
    log_interval: int = Field(
        10, gt=0, description="Optimizer steps between log lines.", json_schema_extra=about(unit="optimizer steps")
    )
    class_share_log_columns: NameList = Field(
        default_factory=list,
        description="Categorical targets of which the log shows, after each evaluation, the classes predicted most "
        "often and their shares.",
    )
    continue_training: bool = Field(
        True, description="Go on from the newest checkpoint of an unfinished run of this name."
    )
    enforce_determinism: bool = Field(
        False, description="Use deterministic algorithms only, also where they are slower (GPU)."
    )
    num_workers: int = Field(0, ge=0, description="Accepted and unused: batches are gathered on the device.")
    load_full_data_to_ram: bool = Field(
        True,
        description="Hold the splits in memory; false maps them from disk: Arrow files as they are, others are "
        "converted once to a file beside them. The results are the same.",
        json_schema_extra=about(change="false when the data is larger than memory"),
    )
    max_ram_gb: float | None = Field(
        None,
        gt=0,
        description="Memory for the splits; when reading them would take more, they are mapped from disk. "
        "Null: no limit.",
        json_schema_extra=about(unit="gigabytes", interacts="nothing to limit when load_full_data_to_ram is false"),
    )
    layer_type_dtypes: dict[LayerKind, Format] | None = Field(
        None,
        description="Number format in which layers compute while training, by their kind: linear, decoder (the layers "
        "that predict; left out: as linear). Weights, embeddings, norms, losses, validation and exported models are "
        "float32. Null: bfloat16 for linear layers on a GPU that has it, float32 elsewhere.",
        json_schema_extra=about(
            interacts="layer_autocast", change="{linear: bfloat16} on a processor with AMX; {} for float32 on a GPU"
        ),
    )
    layer_autocast: bool = Field(
        True, description="Mixed precision by default where it is faster, see layer_type_dtypes; false: float32."
    )
    torch_compile: Literal["auto", True, False] = Field(
        "auto",
        description="Compile the blocks of the model, which takes some 10 to 40 s and a C++ compiler; auto: on a CPU "
        "that has one, when the run is so long that it is repaid.",
        json_schema_extra=about(change="true for long runs on a GPU"),
    )
    distributed: bool = Field(False, description="Train on several devices.", json_schema_extra=about(not_yet=True))
    data_parallelism: Literal["DDP", "FSDP"] | None = Field(
        None, description="How several devices share the work.", json_schema_extra=about(not_yet=True)
    )
    world_size: int = Field(1, gt=0, description="Number of devices.", json_schema_extra=about(not_yet=True))
    backend: str | None = Field(None, description="Accepted and unused: communication between devices.")
    device_max_concat_length: int | None = Field(None, description="Accepted and unused (v1).")

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, values: Any) -> Any:
        # v1 configs say null for "the default" in these two.
        if isinstance(values, dict):
            nulls = {"accumulation_steps", "layer_autocast"} & {key for key, value in values.items() if value is None}
            return {key: value for key, value in values.items() if key not in nulls}
        return values

    @field_validator("optimizer")
    @classmethod
    def _known_optimizer(cls, value: Named) -> Named:
        return check_optimizer(value)

    @field_validator("scheduler")
    @classmethod
    def _known_scheduler(cls, value: Named) -> Named:
        return check_scheduler(value)

    @field_validator("loss_weights")
    @classmethod
    def _weights_not_negative(cls, weights: dict[str, float] | None) -> dict[str, float] | None:
        for target, weight in (weights or {}).items():
            if weight < 0:
                raise ValueError(f"{target}: {weight} is negative; a weight is 0 or more")
        return weights

    @property
    def step_size(self) -> int:
        """Windows in one optimizer step."""
        return self.effective_batch_size or self.batch_size * self.accumulation_steps

    def optimizer_steps(self, n_windows: int) -> int:
        """Optimizer steps of a whole run on so many training windows."""
        steps = self.epochs * -(-n_windows // self.step_size)
        return min(steps, self.max_steps or steps)
