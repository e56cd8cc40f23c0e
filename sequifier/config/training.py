"""`training_spec`: how one model is trained."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sequifier.config.base import NO_UNIT, Device, Fraction, Named, NameList, StrictModel, about
from sequifier.config.catalogue.torch_names import check_optimizer, check_scheduler
from sequifier.config.softmax import Softmax

LayerKind = Literal["linear", "decoder", "embedding", "norm"]
Format = Literal["float32", "bfloat16", "float16"]
ClassWeights = dict[str, list[float] | Literal["balanced"]]
"""Target -> weights of its classes, id 0 first."""

ENOUGH_NUMBERS = 100_000
"""Numbers of a batch below which converting to bfloat16 costs more than a processor's matrix unit saves. Speed of
bfloat16 relative to float32: 0.88 at 49,000 numbers (width 64, 16 windows of 48), 1.11 at 74,000, 1.17 at 197,000."""

ENOUGH_WIDTH = 256
"""Model width from which bfloat16 is the default on CUDA. The step of a narrower model waits for the launch of its
kernels, to which every conversion adds; no GPU has measured this yet."""


ONE_DEVICE = (
    "one run trains on one device, because models of this size fit on one; a search trains several runs at the same "
    "time (its field `execution`)"
)
"""Why a run is not shared by several devices."""


class TrainingSpec(StrictModel):
    """How one model is trained."""

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
    save_interval_epochs: int = Field(
        1,
        gt=0,
        description="Number of epochs between checkpoints; the last epoch of a run has one in any case.",
        json_schema_extra=about(
            unit="epochs",
            interacts="keep_checkpoints; a run resumes from its last epoch in any case",
            change="when checkpoints take too much disk",
            outside_identity=True,
            may_differ_on_resume=True,
            old_names=("iter_save",),
            synonyms="save_every save_frequency save_freq save_every_n_epochs checkpoint_interval",
        ),
    )
    checkpoint_interval_steps: int | None = Field(
        None,
        gt=0,
        description="Number of optimizer steps between additional checkpoints; null: none. A run can resume from "
        "each of them, also within an epoch.",
        json_schema_extra=about(
            unit="optimizer steps",
            interacts="keep_checkpoints",
            change="when an epoch takes hours",
            outside_identity=True,
            may_differ_on_resume=True,
            old_names=("checkpoint_cadence",),
            synonyms="save_steps checkpoint_every checkpoint_steps every_n_train_steps",
        ),
    )
    keep_checkpoints: int | None = Field(
        None,
        gt=0,
        description="Number of checkpoints to keep: the newest N epoch checkpoints and the newest N step checkpoints; "
        "null: all (a search keeps 1).",
        json_schema_extra=about(
            unit="checkpoints",
            interacts="save_interval_epochs and checkpoint_interval_steps",
            change="when checkpoints take too much disk",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="save_total_limit save_top_k max_to_keep keep_last_n",
        ),
    )
    early_stopping_epochs: int | None = Field(
        None,
        gt=0,
        description="Number of epochs without a better metric after which training stops; null: never.",
        json_schema_extra=about(
            unit="epochs",
            interacts="metric and direction (what is better) and epochs (the maximum)",
            change="to a value from 2 to 5 when the validation loss rises again",
            may_differ_on_resume=True,
            searchable=True,
            synonyms="patience early_stopping early_stop early_stopping_patience early_stopping_rounds "
            "n_iter_no_change",
        ),
    )
    evaluation_context: Literal["full", "split"] = Field(
        "full",
        description="History of an evaluated event. `full`: every event of the split is predicted once, with the "
        "events before it as history; `split`: separate windows of the split alone, as in Sequifier 1, the "
        "earlier release.",
        json_schema_extra=about(
            interacts="evaluation_stride, which applies to full", change="to split for the same losses as Sequifier 1"
        ),
    )
    evaluation_stride: int | None = Field(
        None,
        gt=0,
        description="Number of events by which evaluation windows advance; null: seq_length // 2.",
        json_schema_extra=about(
            unit="events",
            interacts="seq_length, which it must not exceed; a smaller stride gives more history and takes longer; "
            "window_normalization, with which it has no effect",
            change="to more when evaluating takes too long",
            synonyms="eval_stride",
        ),
    )
    evaluation_horizon: int | None = Field(
        None,
        gt=0,
        le=8192,
        description="Number of events that must follow an event in the validation split for it to be predicted from "
        "there; null: prediction_horizon, in a search the largest of them, so that all runs have the same origins.",
        json_schema_extra=about(
            unit="events",
            interacts="prediction_horizon, which it must not be less than",
            change="to compare a run with runs of a longer prediction_horizon",
        ),
    )
    shuffle_history: Literal["none", "all", "before_last"] = Field(
        "none",
        description="Whether the model is trained and evaluated on histories in random order, each target with an "
        "order of its own. `all`: all events before a target are shuffled; `before_last`: all but the last one.",
        json_schema_extra=about(
            interacts="seq_length: an epoch takes up to seq_length times as long; order_check of a search sets it to "
            "measure what order is worth",
            change="to all to learn how well the events are predicted without their order",
            synonyms="permute shuffle_events shuffle",
        ),
    )
    eval_interval_steps: int | None = Field(
        None,
        gt=0,
        description="Number of optimizer steps between additional evaluations; null: none. They can set the best "
        "weights; the scheduler, early stopping and pruning use the evaluation after each epoch alone.",
        json_schema_extra=about(
            unit="optimizer steps",
            interacts="sampling_interval_steps and log_interval, which count the same steps",
            change="when an epoch takes hours, or the best model occurs within one",
            may_differ_on_resume=True,
            old_names=("eval_cadence",),
            synonyms="eval_steps eval_interval eval_every evaluate_every val_check_interval validation_interval",
        ),
    )
    sampling_interval_steps: int | None = Field(
        None,
        gt=0,
        description="Number of optimizer steps between generated samples in the log; null: none.",
        json_schema_extra=about(
            unit="optimizer steps",
            interacts="input_columns: every input must be a target",
            change="to read what a model of text has learnt",
            outside_identity=True,
            may_differ_on_resume=True,
            old_names=("sampling_cadence",),
            synonyms="sample_every sample_interval",
        ),
    )
    sampling_prompt: str | list[Any] | None = Field(
        None,
        description="Beginning of each generated sample: a text, a list of labels, or, for several input columns, a "
        "list of maps from column to value; null: start from nothing.",
        json_schema_extra=about(
            interacts="sampling_interval_steps",
            change="to see how the model continues something known",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="prompt",
        ),
    )
    sampling_temperature: float = Field(
        1.0,
        ge=0,
        description="Temperature of generated samples; 0 takes the most likely class.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="sampling_interval_steps",
            change="to less than 1 for more likely events, to more than 1 for more varied ones",
            outside_identity=True,
            may_differ_on_resume=True,
        ),
    )
    sampling_max_length: int = Field(
        100,
        gt=0,
        description="Number of events to generate for a sample.",
        json_schema_extra=about(
            unit="events",
            interacts="sampling_interval_steps",
            change="to more for longer samples, to fewer to save time",
            outside_identity=True,
            may_differ_on_resume=True,
        ),
    )
    sampling_seed: int = Field(
        42,
        ge=0,
        lt=2**63,
        description="Random seed of generated samples: all are drawn with the same numbers.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="sampling_interval_steps",
            change="to see other samples",
            outside_identity=True,
            may_differ_on_resume=True,
        ),
    )
    log_interval: int = Field(
        10,
        gt=0,
        description="Number of optimizer steps between log lines.",
        json_schema_extra=about(
            unit="optimizer steps",
            interacts="--verbose, which shows these lines",
            change="to 1 to watch each step, to 100 for shorter logs",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="log_every logging_steps log_every_n_steps print_every log_freq verbose",
        ),
    )
    class_share_log_columns: NameList = Field(
        default_factory=list,
        description="Categorical targets for which the log shows, after each evaluation, the most frequently "
        "predicted classes and their fractions.",
        json_schema_extra=about(
            interacts="target_columns: categorical ones",
            change="when a model seems to predict the same class always",
            outside_identity=True,
            may_differ_on_resume=True,
        ),
    )
    continue_training: bool = Field(
        True,
        description="Whether an unfinished run of this name resumes from its newest checkpoint.",
        json_schema_extra=about(
            interacts="--resume and --no-resume, which take precedence",
            change="to false to train from the beginning each time",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="resume resume_training resume_from_checkpoint",
        ),
    )
    enforce_determinism: bool = Field(
        False,
        description="Whether to use deterministic algorithms only, also where they are slower (GPU).",
        json_schema_extra=about(
            interacts="seed and device: on a CPU results repeat in any case",
            change="to true when two runs on a GPU must have equal results",
            searchable=True,
            synonyms="deterministic reproducible reproducibility use_deterministic_algorithms",
        ),
    )
    num_workers: int = Field(
        0,
        ge=0,
        le=1024,
        description="Accepted without effect: batches are gathered on the device.",
        json_schema_extra=about(
            unused=True,
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="workers dataloader_num_workers dataloader_workers",
        ),
    )
    load_full_data_to_ram: bool = Field(
        True,
        description="Whether to hold the splits in memory; false: they are mapped from disk, Arrow files as they "
        "are, others after being converted once to a file beside them. The results are the same.",
        json_schema_extra=about(
            interacts="max_ram_gb",
            change="to false when the data are larger than memory",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="in_memory memmap mmap memory_map streaming",
        ),
    )
    max_ram_gb: float | None = Field(
        None,
        gt=0,
        description="Maximum memory for the splits; larger ones are mapped from disk; null: no limit.",
        json_schema_extra=about(
            unit="gigabytes",
            interacts="load_full_data_to_ram: when it is false there is nothing to limit",
            change="when other programs need the memory",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="memory_limit max_memory ram",
        ),
    )
    layer_type_dtypes: dict[LayerKind, Format] | None = Field(
        None,
        description="Number format in which layers compute during training, by kind of layer: `linear`, and `decoder` "
        "(the layers that predict; left out: as linear); null: chosen by the device. Weights, embeddings, norms, "
        "losses, validation and exported models are float32. The device's choice is bfloat16 for linear layers and "
        "float32 for the decoder on a GPU that supports it when dim_model is 256 or more, and on a CPU with a matrix "
        "unit for it (AMX) when a batch has 100,000 numbers or more (batch_size x seq_length x dim_model); else "
        "float32.",
        json_schema_extra=about(
            interacts="layer_autocast",
            change="to `{}` for float32 everywhere, to `{linear: bfloat16}` for bfloat16 everywhere",
            searchable=True,
            synonyms="precision dtype torch_dtype fp16 bf16 half mixed_precision amp autocast",
        ),
    )
    layer_autocast: bool = Field(
        True,
        description="Whether to use mixed precision by default where it is faster (see layer_type_dtypes); false: "
        "float32.",
        json_schema_extra=about(
            interacts="layer_type_dtypes, which takes precedence",
            change="to false to compare with runs in float32",
            searchable=True,
        ),
    )
    torch_compile: Literal["auto", True, False] = Field(
        "auto",
        description="Whether to compile the blocks of the model, which takes 10 to 40 s and a C++ compiler (on a GPU "
        "Triton and a C compiler). `auto`: on a CPU with a compiler, when the run is long enough to repay it.",
        json_schema_extra=about(
            interacts="device; results agree to rounding",
            change="to true for long runs on a GPU",
            synonyms="compile jit",
        ),
    )
    distributed: bool = Field(
        False,
        description="Whether one run trains on several devices.",
        json_schema_extra=about(
            interacts="data_parallelism and world_size",
            change="only if a later version trains one run on several devices",
            refused=ONE_DEVICE,
            synonyms="ddp multi_gpu num_gpus",
        ),
    )
    data_parallelism: Literal["DDP", "FSDP"] | None = Field(
        None,
        description="How several devices share the work of one run.",
        json_schema_extra=about(
            interacts="distributed",
            change="only if a later version trains one run on several devices",
            refused=ONE_DEVICE,
        ),
    )
    world_size: int = Field(
        1,
        gt=0,
        description="Number of devices that train one run.",
        json_schema_extra=about(
            unit="devices",
            interacts="distributed",
            change="only if a later version trains one run on several devices",
            refused=ONE_DEVICE,
        ),
    )
    backend: str | None = Field(
        None,
        description="Accepted without effect: communication between devices.",
        json_schema_extra=about(unused=True, outside_identity=True),
    )
    device_max_concat_length: int | None = Field(
        None,
        description="Accepted without effect (a field of Sequifier 1, the earlier release).",
        json_schema_extra=about(unused=True, outside_identity=True),
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, values: Any) -> Any:
        # v1 configs have null for "the default" in these two fields.
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

    @property
    def step_size(self) -> int:
        """Windows in one optimizer step."""
        return self.effective_batch_size or self.batch_size * self.accumulation_steps

    def optimizer_steps(self, n_windows: int) -> int:
        """Optimizer steps of a whole run on `n_windows` training windows."""
        steps = self.epochs * -(-n_windows // self.step_size)
        return min(steps, self.max_steps or steps)
