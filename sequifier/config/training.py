"""`training_spec`: how one model is trained."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sequifier.config.base import Fraction, Named, NameList, StrictModel, about
from sequifier.config.names import check_optimizer, check_scheduler


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
        description="Optimizer steps between additional checkpoints.",
        json_schema_extra=about(unit="optimizer steps", not_yet=True),
    )
    keep_checkpoints: int | None = Field(
        None,
        gt=0,
        description="Checkpoints to keep, the newest ones; null keeps all (a search keeps 1).",
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
        description="Optimizer steps between additional evaluations.",
        json_schema_extra=about(unit="optimizer steps", not_yet=True),
    )
    sampling_interval_steps: int | None = Field(
        None,
        gt=0,
        description="Optimizer steps between generated samples in the log.",
        json_schema_extra=about(unit="optimizer steps", not_yet=True),
    )
    sampling_prompt: str | list[Any] | None = Field(
        None, description="How a generated sample begins.", json_schema_extra=about(not_yet=True)
    )
    sampling_temperature: float = Field(
        1.0, ge=0, description="Temperature of generated samples.", json_schema_extra=about(not_yet=True)
    )
    sampling_max_length: int = Field(
        100, gt=0, description="Length of generated samples.", json_schema_extra=about(unit="events", not_yet=True)
    )
    sampling_seed: int = Field(42, description="Seed of generated samples.", json_schema_extra=about(not_yet=True))
    log_interval: int = Field(
        10, gt=0, description="Optimizer steps between log lines.", json_schema_extra=about(unit="optimizer steps")
    )
    class_share_log_columns: NameList = Field(
        default_factory=list,
        description="Categorical targets whose predicted class shares are logged.",
        json_schema_extra=about(not_yet=True),
    )
    continue_training: bool = Field(
        True, description="Go on from the newest checkpoint of an unfinished run of this name."
    )
    enforce_determinism: bool = Field(
        False, description="Use deterministic algorithms only, also where they are slower (GPU)."
    )
    num_workers: int = Field(0, ge=0, description="Accepted and unused: batches are gathered on the device.")
    load_full_data_to_ram: bool = Field(
        True, description="Hold the splits in memory; false maps them from disk.", json_schema_extra=about(not_yet=True)
    )
    max_ram_gb: float | None = Field(
        None, gt=0, description="Memory for the data.", json_schema_extra=about(unit="gigabytes", not_yet=True)
    )
    layer_type_dtypes: dict[str, Literal["float32", "bfloat16", "float16"]] | None = Field(
        None, description="Number format by kind of layer; null: float32.", json_schema_extra=about(not_yet=True)
    )
    layer_autocast: bool = Field(True, description="Mixed precision where layer_type_dtypes asks for it.")
    torch_compile: Literal["auto", True, False] = Field(
        "auto",
        description="Compile the model: auto where the steps to come repay it.",
        json_schema_extra=about(not_yet=(True,)),
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
