"""`train.yaml`: one training run."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sequifier.config.base import (
    NO_UNIT,
    ColumnType,
    DistinctColumns,
    DistinctNames,
    NameList,
    ProjectConfig,
    about,
    category_text,
    usable_name,
)
from sequifier.config.catalogue.torch_names import check_criterion
from sequifier.config.model import ModelSpec
from sequifier.config.placed_errors import problem
from sequifier.config.ranking import Ranking
from sequifier.config.scoring import Scoring
from sequifier.config.training import TrainingSpec
from sequifier.errors import did_you_mean

EventFormat = Literal["parquet", "csv", "arrow", "pt"]
TargetPosition = Literal["last", "every"]
WindowNormalization = Literal["none", "last", "mean_std"]


def _class_name(value: Any) -> Any:
    return category_text(value) if isinstance(value, int) else value  # a boolean is an int


ClassName = Annotated[str, BeforeValidator(_class_name)]
"""A class as the metadata name it."""

HOOK_POINTS = (
    *("before_training", "after_step", "after_epoch", "after_validation", "after_checkpoint", "after_training"),
)


def check_hook_names(hooks: dict[str, list[str]]) -> dict[str, list[str]]:
    """Check the points and the form of the names of hooks; returns them unchanged.

    Raises:
        ValueError: a point does not exist, or a name is not `module:function`.
    """
    errors = []
    for point, names in hooks.items():
        if point not in HOOK_POINTS:
            errors.append(problem((point,), f"there is no hook point `{point}`; {did_you_mean(point, HOOK_POINTS)}"))
        for name in names:
            if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", name):
                errors.append(problem((point,), f"{name!r} is not of the form `module:function`"))
    if errors:
        raise ValidationError.from_exception_data("hooks", errors)
    return hooks


class TrainConfig(ProjectConfig):
    """One training run: data, model and training. `sequifier train` needs nothing else."""

    metadata_config_path: str = Field(
        description="Path of the metadata JSON that `preprocess` wrote.",
        json_schema_extra=about(
            interacts="input_columns, target_columns and the data paths, whose defaults come from it",
            change="for another data set",
            outside_identity=True,
            old_names=("ddconfig_path",),
            synonyms="metadata",
        ),
    )
    model_name: str = Field(
        min_length=1,
        description="Name of the run, used in the names of its models, checkpoints and logs. It must not contain "
        '"embedding".',
        json_schema_extra=about(
            interacts="continue_training: a run resumes the checkpoint of its own name",
            change="for each run that you want to keep beside the others",
            outside_identity=True,
            synonyms="name run_name experiment_name exp_name",
        ),
    )
    training_data_path: str | None = Field(
        None,
        description="Path of the encoded training events; null: split 0 of the metadata.",
        json_schema_extra=about(
            interacts="read_format; the data must be encoded with the same metadata",
            change="to train on another split",
            outside_identity=True,
            synonyms="train_path train_data train_file training_data",
        ),
    )
    validation_data_path: str | None = Field(
        None,
        description="Path of the encoded validation events; null: split 1 of the metadata, or its only split.",
        json_schema_extra=about(
            interacts="read_format; the data must be encoded with the same metadata",
            change="to validate on another split",
            outside_identity=True,
            synonyms="val_path val_data val_file eval_data dev_data validation_data",
        ),
    )
    read_format: EventFormat | None = Field(
        None,
        description="Format of the splits; null: from the file's ending, or from the metadata.json of a folder.",
        json_schema_extra=about(
            interacts="training_data_path and validation_data_path",
            change="when the file's ending does not tell its format",
            outside_identity=True,
            synonyms="format file_type",
        ),
    )
    input_columns: DistinctColumns | None = Field(
        None,
        description="Columns that the model reads; null: all that may be inputs.",
        json_schema_extra=about(
            interacts="model_spec.feature_embedding_dims, which names each of them; target_columns need not be among "
            "them",
            change="to find out which columns help: search several sets",
            searchable=True,
            old_names=("selected_columns",),
            synonyms="inputs features feature_columns input_features covariates hist_exog_list past_covariates",
        ),
    )
    target_columns: DistinctColumns = Field(
        description="Columns that the model predicts.",
        json_schema_extra=about(
            interacts="criterion, loss_weights, class_weights and class_share_log_columns, which name them",
            change="to ask another question of the same data; several targets share one model",
            synonyms="target targets label labels outputs output_columns target_column",
        ),
    )
    target_column_types: dict[str, ColumnType] | None = Field(
        None,
        description="Type of each target; null: from the metadata.",
        json_schema_extra=about(
            interacts="target_columns (one entry each) and the metadata, with which it must agree",
            change="to check the metadata against what you expect",
            outside_identity=True,
        ),
    )
    target_positions: dict[str, TargetPosition] = Field(
        default_factory=dict,
        description="Events of a sequence from which a target of the whole sequence (one of `sequence_columns` of "
        "preprocess) is predicted: `last` (the default), once from all its events; `every`, after each of its events.",
        json_schema_extra=about(
            interacts="target_columns; seq_length, the number of last events that are read; batch_size, in which the "
            "windows of these targets count as those of events do",
            change="to every for an early prediction, while the sequence still runs",
            synonyms="label_positions early_prediction prefixes sequence_classification",
        ),
    )
    positive_class: dict[str, ClassName] = Field(
        default_factory=dict,
        description="Class of a target of the whole sequence that average_precision is about; left out: the class "
        "that is rarest in the training split.",
        json_schema_extra=about(
            interacts="metric: val_TARGET_average_precision",
            change="when the class to be found is not the rarest",
            outside_identity=True,
            synonyms="pos_label positive_label",
        ),
    )
    column_types: dict[str, str] | None = Field(
        None,
        description="Type of each column. Taken from the metadata; the value here has an effect only with "
        "--skip-metadata.",
        json_schema_extra=about(unused=True, outside_identity=True, searchable=True, from_metadata=True),
    )
    categorical_columns: NameList | None = Field(
        None,
        description="Names of the categorical columns. Taken from the metadata; the value here has an effect only "
        "with --skip-metadata.",
        json_schema_extra=about(unused=True, outside_identity=True, from_metadata=True),
    )
    real_columns: NameList | None = Field(
        None,
        description="Names of the real columns. Taken from the metadata; the value here has an effect only with "
        "--skip-metadata.",
        json_schema_extra=about(unused=True, outside_identity=True, from_metadata=True),
    )
    n_classes: dict[str, int] | None = Field(
        None,
        description="Number of classes of each categorical column. Taken from the metadata; the value here has an "
        "effect only with --skip-metadata.",
        json_schema_extra=about(
            unused=True, outside_identity=True, from_metadata=True, synonyms="num_classes vocab_size"
        ),
    )
    id_maps: dict[str, dict[str, int]] | None = Field(
        None,
        description="Id of each label, by column. Taken from the metadata; the value here has an effect only with "
        "--skip-metadata.",
        json_schema_extra=about(unused=True, outside_identity=True, from_metadata=True),
    )
    seq_length: int | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="Number of events in a window: how many events the model sees at once; null: the seq_length of "
        "the metadata.",
        json_schema_extra=about(
            unit="events",
            interacts="window_stride and model_spec.prediction_length; any length works, because windows are cut when "
            "the data are loaded",
            change="to more when events far back matter, to fewer when there is not enough memory",
            searchable=True,
            old_names=("max_seq_len",),
            synonyms="context context_length context_size window window_size window_length block_size max_length "
            "max_len max_seq_length sequence_length seq_len lookback history_length n_ctx input_size "
            "input_chunk_length max_item_list_length",
        ),
    )
    window_stride: int | None = Field(
        None,
        gt=0,
        description="Number of events by which training windows advance; null: the smaller of the split's stride and "
        "seq_length, or 1 with window_normalization.",
        json_schema_extra=about(
            unit="events",
            interacts="epochs: it decides the number of windows, and so the optimizer steps of an epoch",
            change="to a smaller value to show each event in more places, which takes longer",
            searchable=True,
            synonyms="stride overlap hop step_size",
        ),
    )
    window_normalization: WindowNormalization = Field(
        "none",
        description="What is subtracted from the values of each real target in a window, and added to its prediction: "
        "`none`; `last`: the window's last value; `mean_std`: the mean of the window's events, and then they are "
        "divided by the standard deviation plus 1e-5 (Kim et al. 2022). It is part of the model and of its exported "
        "files.",
        json_schema_extra=about(
            interacts="input_columns, which must have these targets; window_stride, whose default is then 1: only "
            "the last position of a window predicts, since the whole window is normalized",
            change="to last or mean_std for series whose level drifts, such as prices, loads and temperatures",
            searchable=True,
            synonyms="revin instance_norm reversible_instance_normalization local_scaler subtract_last scaler_type "
            "use_revin target_normalizer",
        ),
    )
    prediction_horizon: int = Field(
        1,
        gt=0,
        le=8192,
        description="Number of next events whose targets are predicted at once from each event, each step ahead by "
        "outputs of its own. Only events with that many events after them in their split are predicted from.",
        json_schema_extra=about(
            unit="events",
            interacts="model_spec.prediction_length, which must be 1; metric, which may name one step, as in "
            "val_price_mae_step_1, and must in a search with several horizons",
            change="to forecast several steps ahead, for example to 24 for the next day of an hourly series",
            searchable=True,
            synonyms="h horizon forecast_horizon n_steps_ahead steps_ahead output_chunk_length max_prediction_length "
            "future_steps forecast_length multi_step",
        ),
    )
    known_future: Annotated[DistinctNames, AfterValidator(sorted)] = Field(  # their order has no effect
        default_factory=list,
        description="Input columns whose values are known for the steps to come, such as a planned price or a holiday: "
        "the forecast of a step also depends on them at that step. `calendar` stands for the parts of the date among "
        "the input columns, such as `time_hour`.",
        json_schema_extra=about(
            interacts="prediction_horizon, which must be above 1; input_columns, which must have these columns, and "
            "target_columns, which must not; future_data_path of infer, which gives their values for raw events",
            change="to `[calendar]` where forecasts depend on the hour, weekday or month, and to columns that are "
            "planned",
            searchable=True,
            synonyms="known_covariates future_covariates known_future_inputs known_reals known_categoricals futr_exog "
            "futr_exog_list dynamic_features time_varying_known regressors exogenous",
        ),
    )
    metric: str = Field(
        "val_loss",
        description="Validation metric that selects the best checkpoint, triggers early stopping and ranks runs.",
        json_schema_extra=about(
            interacts="direction, early_stopping_epochs and the pruner of a search",
            change="when accuracy, or one of several targets, is what counts",
            synonyms="monitor objective objective_metric metric_for_best_model",
        ),
    )
    direction: Literal["minimize", "maximize"] = Field(
        "minimize",
        description="Whether the metric is to be minimized or maximized.",
        json_schema_extra=about(
            interacts="metric",
            change="to maximize for accuracy, top5, mrr, macro_f1 and the metrics of ranking",
            synonyms="mode greater_is_better",
        ),
    )
    ranking: dict[str, Ranking] = Field(
        default_factory=dict,
        description="Categorical targets whose true class is ranked in validation, each with `k` (default [5, 10, "
        "20]), `candidates` (`all`, or a sample: `{negatives: 100, by: uniform}`, or `by: popularity`) and "
        "`exclude_seen` (default false: earlier events of the sequence are candidates too). It gives "
        "val_TARGET_hit_rate_K, val_TARGET_ndcg_K and val_TARGET_mrr_K, and never changes the loss.",
        json_schema_extra=about(
            interacts="metric, which may name one of these metrics; metric_is_sampled",
            change="for recommendations: `ranking: {item: {k: [10], exclude_seen: true}}`",
            outside_identity=True,
            synonyms="recommendation hit_rate hitrate hr ndcg mrr recall_at_k topk",
        ),
    )
    scoring: Scoring | None = Field(
        None,
        description="Which targets count in metrics and ranking, with `min_events` and `except`; null: all. It never "
        "changes the loss.",
        json_schema_extra=about(
            interacts="metric and ranking",
            change="to the targets that published results are scored on: `scoring: {min_events: 2, except: {activity: "
            "[END]}}`",
            outside_identity=True,
            synonyms="evaluation_mask scored_targets",
        ),
    )
    metric_is_sampled: bool = Field(
        False,
        description="Whether `metric` may be a ranking metric among sampled candidates, whose order of models may "
        "differ from the order among all of them (Krichene and Rendle 2020).",
        json_schema_extra=about(
            interacts="metric and ranking",
            change="to true only to repeat an experiment that was ranked so",
            outside_identity=True,
            may_differ_on_resume=True,
        ),
    )
    inference_batch_size: int = Field(
        64,
        gt=0,
        description="Default batch size of `infer`. Exported models take any batch size.",
        json_schema_extra=about(
            unit="windows",
            interacts="inference_batch_size of infer.yaml, which takes precedence",
            change="when predicting takes too much memory or is slow",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="eval_batch_size val_batch_size test_batch_size",
        ),
    )
    seed: int | None = Field(
        1010,
        ge=0,
        lt=2**63,
        description="Random seed of weights, window order and dropout; null: draw one and record it.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="repeats of a search, which trains with seed, seed + 1 and so on",
            change="to see how much of a difference between runs is due to chance",
            synonyms="random_state random_seed manual_seed rng",
        ),
    )
    cpu_threads: int | None = Field(
        None,
        gt=0,
        le=1024,
        description="Number of CPU threads of torch; null: one for each processor, or in a search a number that fits "
        "its workers. It is recorded, because sums depend on it in the last digits.",
        json_schema_extra=about(
            unit="threads",
            interacts="device: on a CPU, another number changes the last digits of the losses; and execution.devices "
            "of a search: each of its workers has this number",
            change="when other programs need the cores, or to get the digits of an earlier run again",
            outside_identity=True,
            synonyms="num_threads threads n_threads n_jobs n_cores cores",
        ),
    )
    export_generative_model: bool = Field(
        True,
        description="Whether to export the model that predicts the targets.",
        json_schema_extra=about(
            interacts="export_onnx and export_pt, which choose the file format",
            change="to false when you need only embeddings",
            outside_identity=True,
            may_differ_on_resume=True,
        ),
    )
    export_embedding_model: bool = Field(
        False,
        description="Whether to export the model that returns embeddings.",
        json_schema_extra=about(
            interacts="export_onnx and export_pt, which choose the file format",
            change="to true when another program works on vectors of sequences",
            outside_identity=True,
            may_differ_on_resume=True,
        ),
    )
    export_onnx: bool = Field(
        True,
        description="Whether to export to ONNX.",
        json_schema_extra=about(
            interacts="export_generative_model and export_embedding_model, which choose the models",
            change="to false when nobody will use the models of these runs",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="onnx",
        ),
    )
    export_end_to_end: bool = Field(
        False,
        description="Whether to export a second ONNX model that takes raw values and returns labels and original "
        "units.",
        json_schema_extra=about(
            interacts="no other export field: it is written in any case",
            change="to true to call the model without Python: vocabularies and statistics are inside the graph",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="end_to_end raw_onnx",
        ),
    )
    export_top_k: int | None = Field(
        None,
        gt=0,
        description="Number of classes of each categorical target, the most probable ones, that the model of "
        "export_end_to_end also returns, as `<target>_top_labels` and `<target>_top_probabilities`. A target with "
        "fewer classes returns all of them.",
        json_schema_extra=about(
            unit="classes",
            interacts="export_end_to_end, which must be true; with exclude_seen in ranking the classes of the window's "
            "events are left out, but not those of earlier events, which the model does not see",
            change="to the number of items that a recommender shows",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="top_n n_recommendations",
        ),
    )
    export_pt: bool = Field(
        False,
        description="Whether to export the weights for torch (.pt).",
        json_schema_extra=about(
            interacts="export_generative_model and export_embedding_model, which choose the models",
            change="to true to use the weights in torch, or for infer_with_dropout",
            outside_identity=True,
            may_differ_on_resume=True,
            synonyms="pt torch_export save_weights",
        ),
    )
    export_with_dropout: bool = Field(
        False,
        description="Whether dropout stays active in exported ONNX models, so that each call draws anew. The "
        "optional input `dropout_ratio` replaces the ratio of training; 0 turns dropout off.",
        json_schema_extra=about(
            interacts="training_spec.dropout, which must be above 0; `infer` turns dropout off unless "
            "infer_with_dropout is true",
            change="to true when predictions outside of Sequifier should vary with dropout",
            outside_identity=True,
            may_differ_on_resume=True,
        ),
    )
    hooks: dict[str, NameList] = Field(
        default_factory=dict,
        description="Your functions (`module:function`) by the point at which they are called: "
        f"{', '.join(HOOK_POINTS)}. The module is looked for in project_root.",
        json_schema_extra=about(
            interacts="user, whose keys they can read; docs/training.md lists what each point passes to them",
            change="to log, check or save something of your own",
            synonyms="callbacks callback",
        ),
    )
    model_spec: ModelSpec = Field(default_factory=ModelSpec, description="The shape of the transformer.")
    training_spec: TrainingSpec = Field(default_factory=TrainingSpec, description="How the model is trained.")

    @field_validator("model_name")
    @classmethod
    def _usable_name(cls, name: str) -> str:
        return usable_name(name)

    @field_validator("target_column_types")
    @classmethod
    def _a_type_for_each_target(
        cls, types: dict[str, ColumnType] | None, info: ValidationInfo
    ) -> dict[str, ColumnType] | None:
        targets = info.data.get("target_columns")
        if types is not None and targets is not None and set(types) != set(targets):
            raise ValueError(f"names {sorted(types)}, but target_columns are {sorted(targets)}")
        return types

    @field_validator("hooks")
    @classmethod
    def _known_points(cls, hooks: dict[str, list[str]]) -> dict[str, list[str]]:
        return check_hook_names(hooks)

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        predicted = self.model_spec.prediction_length
        if self.seq_length is not None and predicted > self.seq_length:
            raise ValueError(f"model_spec.prediction_length: {predicted} exceeds seq_length: {self.seq_length}")
        if self.predicts_from_last and predicted > 1:
            raise ValueError(
                f"model_spec.prediction_length: {predicted} does not fit window_normalization: "
                f"{self.window_normalization}, with which only the last position of a window predicts; leave one of "
                "them out"
            )
        return self

    @model_validator(mode="after")
    def _one_position_of_a_horizon(self) -> Self:
        steps, predicted = self.prediction_horizon, self.model_spec.prediction_length
        if steps > 1 and predicted > 1:
            raise ValueError(
                f"prediction_horizon: {steps} forecasts from the last event alone; model_spec.prediction_length: "
                f"{predicted} must then be 1"
            )
        needed = self.training_spec.evaluation_horizon
        if needed is not None and needed < steps:
            raise ValueError(f"training_spec.evaluation_horizon: {needed} is less than prediction_horizon: {steps}")
        if steps > 1 and self.training_spec.sampling_interval_steps is not None:
            raise ValueError(
                f"training_spec.sampling_interval_steps: a model with prediction_horizon: {steps} forecasts, and does "
                "not generate events one by one; leave it out"
            )
        if steps == 1 and self.known_future:
            raise ValueError(
                f"known_future: {', '.join(self.known_future)}: only a horizon has steps to come, and "
                "prediction_horizon is 1; set it above 1, or leave known_future out"
            )
        return self

    @model_validator(mode="after")
    def _a_model_for_top_k(self) -> Self:
        if self.export_top_k is not None and not self.export_end_to_end:
            raise ValueError(
                f"export_top_k: {self.export_top_k} needs a model to be part of; set export_end_to_end: true"
            )
        return self

    @model_validator(mode="after")
    def _fields_of_targets(self) -> Self:
        spec, errors = self.training_spec, []
        for field, entries in (
            ("criterion", spec.criterion),
            ("loss_weights", spec.loss_weights),
            ("class_weights", spec.class_weights),
            ("class_share_log_columns", spec.class_share_log_columns),
            ("softmax", spec.softmax),
        ):
            for target in entries or ():
                if target not in self.target_columns:
                    known = ", ".join(self.target_columns)
                    message = f"names `{target}`, which is not a target; target_columns: {known}"
                    errors.append(problem(("training_spec", field), message))
        for field in ("ranking", "target_positions", "positive_class"):
            for target in getattr(self, field):
                if target not in self.target_columns:
                    known = ", ".join(self.target_columns)
                    errors.append(
                        problem((field,), f"names `{target}`, which is not a target; target_columns: {known}")
                    )
        for target in self.scoring.left_out if self.scoring else ():
            if target not in self.target_columns:
                known = ", ".join(self.target_columns)
                message = f"names `{target}`, which is not a target; target_columns: {known}"
                errors.append(problem(("scoring", "except"), message))
        weights = spec.loss_weights or {}
        if self.target_columns and not any(weights.get(target, 1.0) for target in self.target_columns):
            message = "is 0 for every target, so there is nothing to learn; give at least one of them a weight"
            errors.append(problem(("training_spec", "loss_weights"), message))
        for target, kind in (self.target_column_types or {}).items():
            if target in spec.criterion:
                try:
                    check_criterion(spec.criterion[target], kind)
                except ValueError as error:
                    errors.append(problem(("training_spec", "criterion", target), str(error)))
        if errors:
            raise ValidationError.from_exception_data("TrainConfig", errors)
        return self

    @property
    def predicts_from_last(self) -> bool:
        """Whether targets of events are predicted from the last position of a window alone.

        The statistics of a window depend on all its events, so an earlier position would see later ones.
        """
        return self.window_normalization != "none"

    @property
    def horizon_metrics(self) -> int | None:
        """Number of steps that have metrics of their own; None: the run has no horizon."""
        has_horizon = self.prediction_horizon > 1 or self.training_spec.evaluation_horizon is not None
        return self.prediction_horizon if has_horizon else None

    def targets_at(self, position: TargetPosition | None) -> list[str]:
        """Targets of the whole sequence with this position; None: targets of events. The config is resolved."""
        return [target for target in self.target_columns if self.target_positions.get(target) == position]
