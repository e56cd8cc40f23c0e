"""`training_spec`: how one model is trained."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sequifier.config.base import Fraction, Named, NameList, StrictModel, about
from sequifier.config.catalogue.torch_names import check_optimizer, check_scheduler

LayerKind = Literal["linear", "decoder", "embedding", "norm"]
Format = Literal["float32", "bfloat16", "float16"]

ENOUGH_NUMBERS = 100_000
"""In a batch smaller than this, converting takes longer than a processor's matrix unit saves: bfloat16 against float32
took 0.88 of the speed at 49,000 (width 64, 16 windows of 48), 1.11 at 74,000 (128, 12) and 1.17 at 197,000 (64, 64)."""


class TrainingSpec(StrictModel):
    """How one model is trained."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto",
        description="Where to train. auto takes cuda where it is there, else the CPU, also on a Mac: mps is not tested "
        "yet.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            interacts="layer_type_dtypes and torch_compile choose by it",
            change="to leave the GPU to others",
        ),
    )
    epochs: int = Field(
        10,
        gt=0,
        description="Passes over the training windows.",
        json_schema_extra=about(
            may_differ_on_resume=True,
            searchable=True,
            unit="epochs",
            interacts="learning_rate and scheduler; max_steps may end it earlier",
            change="more while the validation loss still falls at the end; early_stopping_epochs cuts what is too long",
        ),
    )
    max_steps: int | None = Field(
        None,
        gt=0,
        description="Optimizer steps after which training ends, also in the middle of an epoch.",
        json_schema_extra=about(
            may_differ_on_resume=True,
            searchable=True,
            unit="optimizer steps",
            interacts="epochs ends a run too; a scheduler's auto goes by the earlier end",
            change="a quick try, or runs of equal cost on data of different size",
        ),
    )
    batch_size: int = Field(
        64,
        gt=0,
        description="Windows in one forward and backward pass.",
        json_schema_extra=about(
            searchable=True,
            unit="windows",
            interacts="memory grows with it; an optimizer step sees batch_size x accumulation_steps windows",
            change="as large as memory allows without needing more epochs; search it with learning_rate",
        ),
    )
    learning_rate: float = Field(
        3e-4,
        gt=0,
        le=10,
        description="Learning rate after warm-up, before the scheduler changes it.",
        json_schema_extra=about(
            old_names=("lr",),
            searchable=True,
            change="the first thing to search: 1e-4 to 3e-3 for Adam-like optimizers",
            unit="no unit",
            interacts="optimizer and scheduler; larger steps (batch_size) allow a higher one",
        ),
    )
    accumulation_steps: int = Field(
        1,
        gt=0,
        description="Batches whose gradients make one optimizer step: the gradient of the joined batch, exactly.",
        json_schema_extra=about(
            searchable=True,
            unit="batches",
            change="raise it, and lower batch_size, when memory is short",
            interacts="batch_size: a step sees their product",
        ),
    )
    effective_batch_size: int | None = Field(
        None,
        gt=0,
        description="Windows in one optimizer step; null: batch_size x accumulation_steps. Written by the search "
        "when a batch did not fit in memory: the step is cut into accumulation_steps nearly equal batches.",
        json_schema_extra=about(
            unit="windows", interacts="at most batch_size x accumulation_steps", change="never by hand"
        ),
    )
    dropout: Fraction = Field(
        0.0,
        description="Fraction of activations set to 0 while training.",
        json_schema_extra=about(
            searchable=True,
            unit="fraction",
            change="0.1 to 0.3 when the validation loss rises while training goes on",
            interacts="export_with_dropout and infer_with_dropout",
        ),
    )
    optimizer: Named = Field(
        Named(name="Adam"),
        description="Optimizer by name, with its options: torch.optim first, then pytorch_optimizer.",
        json_schema_extra=about(
            searchable=True,
            interacts="its learning rate is learning_rate",
            change="AdamW with weight_decay against overfitting; others are worth a search; `sequifier "
            "config explain AdamW` lists its options",
        ),
    )
    scheduler: Named = Field(
        Named(name="StepLR", step_size=1, gamma=0.99),
        description="Learning-rate schedule of torch.optim.lr_scheduler by name, with its options; the word auto "
        "stands for the run's epochs or optimizer steps.",
        json_schema_extra=about(
            searchable=True,
            interacts="scheduler_step_on says what its lengths count",
            change="{name: CosineAnnealingLR, T_max: auto} for runs of a fixed length",
        ),
    )
    scheduler_step_on: Literal["epoch", "batch"] = Field(
        "epoch",
        description="When the scheduler advances: after each epoch, or after each optimizer step (batch).",
        json_schema_extra=about(
            old_names=("scheduler_step_iter",),
            searchable=True,
            interacts="scheduler: its lengths count epochs or optimizer steps; ReduceLROnPlateau waits for evaluations",
            change="batch for OneCycleLR and for runs of few epochs",
        ),
    )
    warmup_steps: int = Field(
        0,
        ge=0,
        description="Length of a linear rise of the learning rate from 0, on top of any scheduler.",
        json_schema_extra=about(
            searchable=True,
            unit="optimizer steps",
            interacts="multiplies what the scheduler says",
            change="the loss jumps at the beginning: 100 to 1000",
        ),
    )
    decay_all: bool = Field(
        False,
        description="Apply weight decay to norms, biases and embeddings (of categories, real values and positions) "
        "too, instead of the matrices of linear layers alone.",
        json_schema_extra=about(
            searchable=True, interacts="optimizer: its weight_decay", change="to match runs of other programs"
        ),
    )
    gradient_clip: float | None = Field(
        0.5,
        gt=0,
        description="Largest norm of the gradient; a longer one is scaled down. Null: off.",
        json_schema_extra=about(
            searchable=True,
            unit="norm of all gradients together",
            interacts="learning_rate: a loss that diverges needs either lower",
            change="1.0 is common too; null to match v1",
        ),
    )
    criterion: dict[str, Named] = Field(
        default_factory=dict,
        description="Loss of each target: a torch.nn loss by name, with its options. Left out: CrossEntropyLoss for "
        "categorical targets, MSELoss for real ones.",
        json_schema_extra=about(
            searchable=True,
            interacts="target_columns, and the kind of each target; val_loss is measured with it",
            change="outliers spoil a real target: HuberLoss or L1Loss",
        ),
    )
    loss_weights: dict[str, float] | None = Field(
        None,
        description="Weight of each target's loss in the sum, 0 or more, one at least above 0; left out: 1.",
        json_schema_extra=about(
            searchable=True,
            unit="no unit",
            interacts="target_columns; val_loss is the weighted sum",
            change="one target counts more than the others",
        ),
    )
    class_weights: dict[str, list[float]] | None = Field(
        None,
        description="Weight of each class of a categorical target: n_classes numbers of 0 or more, id 0 first (it has "
        "no effect). Targets of a class with weight 0 count as positions and add nothing to the loss.",
        json_schema_extra=about(
            searchable=True,
            interacts="changes what val_loss measures",
            unit="no unit",
            change="rare classes matter more than their number says",
        ),
    )
    save_interval_epochs: int = Field(
        1,
        gt=0,
        description="Epochs between checkpoints.",
        json_schema_extra=about(
            old_names=("iter_save",),
            outside_identity=True,
            may_differ_on_resume=True,
            unit="epochs",
            interacts="keep_checkpoints; a run resumes from its last epoch whatever this says",
            change="checkpoints take too much disk",
        ),
    )
    checkpoint_interval_steps: int | None = Field(
        None,
        gt=0,
        description="Optimizer steps between additional checkpoints; a run can go on from each, also within an epoch.",
        json_schema_extra=about(
            old_names=("checkpoint_cadence",),
            outside_identity=True,
            may_differ_on_resume=True,
            unit="optimizer steps",
            interacts="keep_checkpoints",
            change="an epoch takes hours",
        ),
    )
    keep_checkpoints: int | None = Field(
        None,
        gt=0,
        description="Checkpoints to keep, the newest ones of epochs and of steps; null keeps all (a search keeps 1).",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            unit="checkpoints",
            interacts="save_interval_epochs and checkpoint_interval_steps",
            change="checkpoints take too much disk",
        ),
    )
    early_stopping_epochs: int | None = Field(
        None,
        gt=0,
        description="Epochs without a better metric after which training stops; null: never.",
        json_schema_extra=about(
            may_differ_on_resume=True,
            searchable=True,
            unit="epochs",
            interacts="metric and direction say what is better; epochs is the most",
            change="2 to 5 when the validation loss rises again",
        ),
    )
    evaluation_context: Literal["full", "split"] = Field(
        "full",
        description="full: every event of the split is predicted once, with the events before it as history; "
        "split: separate windows of the split alone.",
        json_schema_extra=about(interacts="evaluation_stride is for full", change="split for the numbers of v1"),
    )
    evaluation_stride: int | None = Field(
        None,
        gt=0,
        description="Events by which evaluation windows advance; null: seq_length // 2.",
        json_schema_extra=about(
            unit="events",
            interacts="at most seq_length; smaller sees more history and takes longer",
            change="larger when evaluating takes too long",
        ),
    )
    eval_interval_steps: int | None = Field(
        None,
        gt=0,
        description="Optimizer steps between additional evaluations. They count for the best weights; the scheduler, "
        "early stopping and pruning go by epochs.",
        json_schema_extra=about(
            old_names=("eval_cadence",),
            may_differ_on_resume=True,
            unit="optimizer steps",
            interacts="sampling_interval_steps and log_interval count the same steps",
            change="an epoch takes hours, or the best model lies within one",
        ),
    )
    sampling_interval_steps: int | None = Field(
        None,
        gt=0,
        description="Optimizer steps between generated samples in the log; null: none.",
        json_schema_extra=about(
            old_names=("sampling_cadence",),
            outside_identity=True,
            may_differ_on_resume=True,
            unit="optimizer steps",
            interacts="every input column must be a target",
            change="to read what a model of text has learnt",
        ),
    )
    sampling_prompt: str | list[Any] | None = Field(
        None,
        description="How a generated sample begins: a text, or a list of labels, or for several input columns a list "
        "of maps from column to value; null: from nothing.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            interacts="sampling_interval_steps",
            change="to see how the model goes on from something known",
        ),
    )
    sampling_temperature: float = Field(
        1.0,
        ge=0,
        description="Temperature of generated samples; 0 takes the most likely class.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            unit="no unit",
            interacts="sampling_interval_steps",
            change="below 1 for the likelier, above 1 for the more varied",
        ),
    )
    sampling_max_length: int = Field(
        100,
        gt=0,
        description="Events to generate for a sample.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            unit="events",
            interacts="sampling_interval_steps",
            change="to see more, or wait less",
        ),
    )
    sampling_seed: int = Field(
        42,
        ge=0,
        lt=2**63,
        description="Seed of generated samples: all are drawn with the same numbers.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            unit="a seed",
            interacts="sampling_interval_steps",
            change="to see other samples",
        ),
    )
    log_interval: int = Field(
        10,
        gt=0,
        description="Optimizer steps between log lines.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            unit="optimizer steps",
            interacts="--verbose shows these lines",
            change="1 to watch each step; 100 for shorter logs",
        ),
    )
    class_share_log_columns: NameList = Field(
        default_factory=list,
        description="Categorical targets of which the log shows, after each evaluation, the classes predicted most "
        "often and their shares.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            interacts="target_columns: categorical ones",
            change="a model seems to predict always the same",
        ),
    )
    continue_training: bool = Field(
        True,
        description="Go on from the newest checkpoint of an unfinished run of this name.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            interacts="--resume and --no-resume are stronger",
            change="false to begin afresh each time",
        ),
    )
    enforce_determinism: bool = Field(
        False,
        description="Use deterministic algorithms only, also where they are slower (GPU).",
        json_schema_extra=about(
            searchable=True,
            interacts="seed; device: on a CPU results repeat anyway",
            change="two runs on a GPU must be equal",
        ),
    )
    num_workers: int = Field(
        0,
        ge=0,
        le=1024,
        description="Accepted and unused: batches are gathered on the device.",
        json_schema_extra=about(outside_identity=True, may_differ_on_resume=True, unused=True),
    )
    load_full_data_to_ram: bool = Field(
        True,
        description="Hold the splits in memory; false maps them from disk: Arrow files as they are, others are "
        "converted once to a file beside them. The results are the same.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            change="false when the data is larger than memory",
            interacts="max_ram_gb",
        ),
    )
    max_ram_gb: float | None = Field(
        None,
        gt=0,
        description="Memory for the splits; when reading them would take more, they are mapped from disk. "
        "Null: no limit.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            unit="gigabytes",
            interacts="nothing to limit when load_full_data_to_ram is false",
            change="other programs need the memory",
        ),
    )
    layer_type_dtypes: dict[LayerKind, Format] | None = Field(
        None,
        description="Number format in which layers compute while training, by their kind: linear, decoder (the layers "
        "that predict; left out: as linear). Weights, embeddings, norms, losses, validation and exported models are "
        "float32. Null: bfloat16 for linear layers on a GPU that has it, and on a CPU with a matrix unit for it (AMX) "
        "when a batch has 100,000 numbers or more (batch_size x seq_length x dim_model), there with a decoder in "
        "float32; float32 elsewhere.",
        json_schema_extra=about(
            searchable=True,
            interacts="layer_autocast",
            change="{} for float32 everywhere; {linear: bfloat16} for bfloat16 everywhere",
        ),
    )
    layer_autocast: bool = Field(
        True,
        description="Mixed precision by default where it is faster, see layer_type_dtypes; false: float32.",
        json_schema_extra=about(
            searchable=True, interacts="layer_type_dtypes is stronger", change="false to compare with runs in float32"
        ),
    )
    torch_compile: Literal["auto", True, False] = Field(
        "auto",
        description="Compile the blocks of the model, which takes some 10 to 40 s and a C++ compiler; auto: on a CPU "
        "that has one, when the run is so long that it is repaid.",
        json_schema_extra=about(change="true for long runs on a GPU", interacts="device; results agree to rounding"),
    )
    distributed: bool = Field(
        False,
        description="Train on several devices.",
        json_schema_extra=about(
            not_yet=True, interacts="data_parallelism and world_size", change="several devices should share a run"
        ),
    )
    data_parallelism: Literal["DDP", "FSDP"] | None = Field(
        None,
        description="How several devices share the work.",
        json_schema_extra=about(not_yet=True, interacts="distributed", change="a model does not fit on one device"),
    )
    world_size: int = Field(
        1,
        gt=0,
        description="Number of devices.",
        json_schema_extra=about(
            not_yet=True, unit="devices", interacts="distributed", change="several devices should share a run"
        ),
    )
    backend: str | None = Field(
        None,
        description="Accepted and unused: communication between devices.",
        json_schema_extra=about(outside_identity=True, unused=True),
    )
    device_max_concat_length: int | None = Field(
        None, description="Accepted and unused (v1).", json_schema_extra=about(outside_identity=True, unused=True)
    )

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

    @field_validator("class_weights")
    @classmethod
    def _classes_count(cls, weights: dict[str, list[float]] | None) -> dict[str, list[float]] | None:
        for target, of_classes in (weights or {}).items():
            for number, weight in enumerate(of_classes):
                if weight < 0:
                    raise ValueError(f"{target}: {weight} (of id {number}) is negative; a weight is 0 or more")
            if len(of_classes) > 1 and not any(of_classes[1:]):
                raise ValueError(
                    f"{target}: no class has a weight above 0 (that of id 0 has no effect), so nothing can be learnt"
                )
        return weights

    @property
    def step_size(self) -> int:
        """Windows in one optimizer step."""
        return self.effective_batch_size or self.batch_size * self.accumulation_steps

    def optimizer_steps(self, n_windows: int) -> int:
        """Optimizer steps of a whole run on so many training windows."""
        steps = self.epochs * -(-n_windows // self.step_size)
        return min(steps, self.max_steps or steps)
