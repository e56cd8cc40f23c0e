"""Fields of `training_spec`: checkpoints, evaluations, generated samples and log lines during a training."""

from typing import Any, Literal

from pydantic import Field

from sequifier.config.base import NO_UNIT, NameList, StrictModel, about


class ProgressFields(StrictModel):
    """What happens between the steps of a training."""

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
            "n_iter_no_change stopping_step early_stop_patience_steps",
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
