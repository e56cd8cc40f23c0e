"""`train.yaml`: one training run."""

import re
from typing import Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from sequifier.config.base import Columns, ColumnType, NameList, ProjectConfig, about, usable_name
from sequifier.config.catalogue.torch_names import check_criterion
from sequifier.config.model import ModelSpec
from sequifier.config.placed_errors import problem
from sequifier.config.training import TrainingSpec
from sequifier.errors import did_you_mean

EventFormat = Literal["parquet", "csv", "arrow", "pt"]

HOOK_POINTS = (
    *("before_training", "after_step", "after_epoch", "after_validation", "after_checkpoint", "after_training"),
)


def check_hook_names(hooks: dict[str, list[str]]) -> dict[str, list[str]]:
    """Hooks at points that there are, by names that can be looked for; unchanged.

    Raises:
        ValueError: they are not.
    """
    errors = []
    for point, names in hooks.items():
        if point not in HOOK_POINTS:
            errors.append(problem((point,), f"there is no point `{point}`; {did_you_mean(point, HOOK_POINTS)}"))
        for name in names:
            if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", name):
                errors.append(problem((point,), f"{name!r} is not of the form `module:function`"))
    if errors:
        raise ValidationError.from_exception_data("hooks", errors)
    return hooks


class TrainConfig(ProjectConfig):
    """One training run: data, model and training. `sequifier train` needs nothing else."""

    metadata_config_path: str = Field(
        description="The metadata JSON that `preprocess` wrote.",
        json_schema_extra=about(
            old_names=("ddconfig_path",),
            outside_identity=True,
            interacts="gives columns, kinds, classes and paths of the splits",
            change="another data set",
        ),
    )
    model_name: str = Field(
        min_length=1,
        description="Name of the run: in the names of its models, checkpoints and logs.",
        json_schema_extra=about(
            outside_identity=True,
            interacts='must not contain "embedding"',
            change="for each run that should stand beside the others",
        ),
    )
    training_data_path: str | None = Field(
        None,
        description="Encoded training events; null: split 0 of the metadata.",
        json_schema_extra=about(
            outside_identity=True,
            interacts="read_format; encoded with the same metadata",
            change="to train on another split",
        ),
    )
    validation_data_path: str | None = Field(
        None,
        description="Encoded validation events; null: split 1 of the metadata, or its only split.",
        json_schema_extra=about(
            outside_identity=True,
            interacts="read_format; encoded with the same metadata",
            change="to validate on another split",
        ),
    )
    read_format: EventFormat | None = Field(
        None,
        description="Format of the splits; null: by the file's ending, or by the metadata.json of a folder.",
        json_schema_extra=about(
            outside_identity=True,
            interacts="training_data_path and validation_data_path",
            change="the file's ending does not tell its format",
        ),
    )
    input_columns: Columns | None = Field(
        None,
        description="Columns the model reads; null: all.",
        json_schema_extra=about(
            old_names=("selected_columns",),
            searchable=True,
            interacts="model_spec.feature_embedding_dims names each; targets need not be among them",
            change="to find out which columns help: search several sets",
        ),
    )
    target_columns: Columns = Field(
        description="Columns to predict.",
        json_schema_extra=about(
            interacts="criterion, loss_weights, class_weights and class_share_log_columns name them",
            change="another question to the same data; several targets share one model",
        ),
    )
    target_column_types: dict[str, ColumnType] | None = Field(
        None,
        description="Kind of each target; null: from the metadata.",
        json_schema_extra=about(
            outside_identity=True,
            interacts="names each of target_columns; agrees with the metadata",
            change="to check the metadata against what you expect",
        ),
    )
    column_types: dict[str, str] | None = Field(
        None,
        description="From the metadata; counts with --skip-metadata alone.",
        json_schema_extra=about(outside_identity=True, from_metadata=True, searchable=True, unused=True),
    )
    categorical_columns: NameList | None = Field(
        None,
        description="From the metadata; counts with --skip-metadata alone.",
        json_schema_extra=about(outside_identity=True, from_metadata=True, unused=True),
    )
    real_columns: NameList | None = Field(
        None,
        description="From the metadata; counts with --skip-metadata alone.",
        json_schema_extra=about(outside_identity=True, from_metadata=True, unused=True),
    )
    n_classes: dict[str, int] | None = Field(
        None,
        description="From the metadata; counts with --skip-metadata alone.",
        json_schema_extra=about(outside_identity=True, from_metadata=True, unused=True),
    )
    id_maps: dict[str, dict[str, int]] | None = Field(
        None,
        description="From the metadata; counts with --skip-metadata alone.",
        json_schema_extra=about(outside_identity=True, from_metadata=True, unused=True),
    )
    seq_length: int | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="Events that the model sees at once; null: that of the metadata.",
        json_schema_extra=about(
            old_names=("max_seq_len",),
            searchable=True,
            unit="events",
            interacts="any value works: windows are cut when loading",
            change="events far back matter, or memory is short",
        ),
    )
    window_stride: int | None = Field(
        None,
        gt=0,
        description="Events by which training windows advance; null: the smaller of the split's stride and seq_length.",
        json_schema_extra=about(
            searchable=True,
            unit="events",
            change="smaller shows each event in more places and takes longer",
            interacts="the number of windows, and with it the optimizer steps of an epoch",
        ),
    )
    metric: str = Field(
        "val_loss",
        description="The validation metric that best checkpoint, early stopping and ranking use.",
        json_schema_extra=about(
            interacts="direction; early_stopping_epochs, pruner and ranking go by it",
            change="accuracy, or one of several targets, is what counts",
        ),
    )
    direction: Literal["minimize", "maximize"] = Field(
        "minimize",
        description="Which way the metric is better.",
        json_schema_extra=about(interacts="metric", change="maximize for accuracy, top5, mrr and macro_f1"),
    )
    inference_batch_size: int = Field(
        64,
        gt=0,
        description="Default batch of `infer`; exported models take any batch.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            unit="windows",
            interacts="the field of this name in infer.yaml is stronger",
            change="predicting takes too much memory, or is slow",
        ),
    )
    seed: int | None = Field(
        1010,
        ge=0,
        lt=2**63,
        description="Seed of weights, order and dropout; null draws one and records it.",
        json_schema_extra=about(
            unit="a seed",
            interacts="repeats of a search: trains with seed, seed + 1 and so on",
            change="to see how much of a difference is chance",
        ),
    )
    cpu_threads: int | None = Field(
        None,
        gt=0,
        le=1024,
        description="Threads of torch; null: all cores. Recorded, since sums depend on it in the last digit.",
        json_schema_extra=about(
            outside_identity=True,
            unit="threads",
            interacts="another number changes the last digits of the losses",
            change="other programs need the cores",
        ),
    )
    export_generative_model: bool = Field(
        True,
        description="Export the model that predicts the targets.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            interacts="export_onnx and export_pt say in which form",
            change="only embeddings are wanted",
        ),
    )
    export_embedding_model: bool = Field(
        False,
        description="Export the model that returns embeddings.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            interacts="export_onnx and export_pt say in which form",
            change="another program is to work on vectors of sequences",
        ),
    )
    export_onnx: bool = Field(
        True,
        description="Export to ONNX.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            interacts="export_generative_model and export_embedding_model say which models",
            change="nobody will use the models of these runs",
        ),
    )
    export_end_to_end: bool = Field(
        False,
        description="Export a second ONNX that takes raw values and returns labels and original units.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            interacts="written whatever the other export fields say",
            change="to call the model without Python: vocabularies and statistics are inside the graph",
        ),
    )
    export_pt: bool = Field(
        False,
        description="Export the weights for torch (.pt).",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            interacts="export_generative_model and export_embedding_model say which models",
            change="to go on in torch, or for infer_with_dropout",
        ),
    )
    export_with_dropout: bool = Field(
        False,
        description="Keep dropout active in exported ONNX models: each call draws anew. The optional input "
        "`dropout_ratio` replaces the ratio of training; 0 turns dropout off.",
        json_schema_extra=about(
            outside_identity=True,
            may_differ_on_resume=True,
            interacts="training_spec.dropout above 0; infer turns dropout off unless infer_with_dropout is true",
            change="predictions outside of Sequifier should vary with dropout",
        ),
    )
    hooks: dict[str, NameList] = Field(
        default_factory=dict,
        description="Your functions (`module:function`) by the point at which they are called: "
        f"{', '.join(HOOK_POINTS)}. The module is looked for in project_root.",
        json_schema_extra=about(
            interacts="docs/training.md says what each point gives them",
            change="to log, check or save something of your own",
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

    @field_validator("input_columns", "target_columns")
    @classmethod
    def _each_column_once(cls, columns: list[str] | None) -> list[str] | None:
        twice = sorted({column for column in columns or () if (columns or []).count(column) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} given more than once")
        return columns

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        predicted = self.model_spec.prediction_length
        if self.seq_length is not None and predicted > self.seq_length:
            raise ValueError(f"model_spec.prediction_length: {predicted} exceeds seq_length: {self.seq_length}")
        return self

    @model_validator(mode="after")
    def _fields_of_targets(self) -> Self:
        spec, errors = self.training_spec, []
        for field, entries in (
            ("criterion", spec.criterion),
            ("loss_weights", spec.loss_weights),
            ("class_weights", spec.class_weights),
            ("class_share_log_columns", spec.class_share_log_columns),
        ):
            for target in entries or ():
                if target not in self.target_columns:
                    known = ", ".join(self.target_columns)
                    message = f"names `{target}`, which is no target; target_columns: {known}"
                    errors.append(problem(("training_spec", field), message))
        weights = spec.loss_weights or {}
        if self.target_columns and not any(weights.get(target, 1.0) for target in self.target_columns):
            message = "gives every target the weight 0, so there is nothing to learn; give one of them more"
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
