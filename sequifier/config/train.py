"""`train.yaml`: one training run."""

import re
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sequifier.config.base import Columns, ColumnType, NameList, ProjectConfig, about, usable_name
from sequifier.config.model import ModelSpec
from sequifier.config.names import check_criterion
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
    for point, names in hooks.items():
        if point not in HOOK_POINTS:
            raise ValueError(f"there is no point `{point}`; {did_you_mean(point, HOOK_POINTS)}")
        for name in names:
            if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", name):
                raise ValueError(f"{point}: {name!r} is not of the form `module:function`")
    return hooks


class TrainConfig(ProjectConfig):
    """One training run: data, model and training. `sequifier train` needs nothing else."""

    metadata_config_path: str = Field(description="The metadata JSON that `preprocess` wrote.")
    model_name: str = Field(
        min_length=1,
        description="Name of the run: in the names of its models, checkpoints and logs.",
        json_schema_extra=about(interacts='must not contain "embedding"'),
    )
    training_data_path: str | None = Field(None, description="Encoded training events; null: split 0 of the metadata.")
    validation_data_path: str | None = Field(
        None, description="Encoded validation events; null: split 1 of the metadata, or its only split."
    )
    read_format: EventFormat | None = Field(
        None, description="Format of the splits; null: by the file's ending.", json_schema_extra=about(not_yet=("pt",))
    )
    input_columns: Columns | None = Field(None, description="Columns the model reads; null: all.")
    target_columns: Columns = Field(description="Columns to predict.")
    target_column_types: dict[str, ColumnType] | None = Field(
        None, description="Kind of each target; null: from the metadata."
    )
    column_types: dict[str, str] | None = Field(None, description="Derived from the metadata; taken as given.")
    categorical_columns: NameList | None = Field(None, description="Derived from the metadata; taken as given.")
    real_columns: NameList | None = Field(None, description="Derived from the metadata; taken as given.")
    n_classes: dict[str, int] | None = Field(None, description="Derived from the metadata; taken as given.")
    id_maps: dict[str, dict[str, int]] | None = Field(None, description="Derived from the metadata; taken as given.")
    seq_length: int | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="Events that the model sees at once; null: that of the metadata.",
        json_schema_extra=about(unit="events", interacts="any value works: windows are cut when loading"),
    )
    window_stride: int | None = Field(
        None,
        gt=0,
        description="Events by which training windows advance; null: the smaller of the split's stride and seq_length.",
        json_schema_extra=about(unit="events", change="smaller shows each event in more places and takes longer"),
    )
    metric: str = Field(
        "val_loss", description="The validation metric that best checkpoint, early stopping and ranking use."
    )
    direction: Literal["minimize", "maximize"] = Field("minimize", description="Which way the metric is better.")
    inference_batch_size: int = Field(
        64,
        gt=0,
        description="Default batch of `infer`; exported models take any batch.",
        json_schema_extra=about(unit="windows"),
    )
    seed: int | None = Field(
        1010, ge=0, lt=2**63, description="Seed of weights, order and dropout; null draws one and records it."
    )
    cpu_threads: int | None = Field(
        None,
        gt=0,
        description="Threads of torch; null: all cores. Recorded, since sums depend on it in the last digit.",
        json_schema_extra=about(unit="threads"),
    )
    export_generative_model: bool = Field(True, description="Export the model that predicts the targets.")
    export_embedding_model: bool = Field(False, description="Export the model that returns embeddings.")
    export_onnx: bool = Field(True, description="Export to ONNX.")
    export_end_to_end: bool = Field(
        False,
        description="Export a second ONNX that takes raw values and returns labels and original units.",
        json_schema_extra=about(
            interacts="written whatever the other export fields say",
            change="to call the model without Python: vocabularies and statistics are inside the graph",
        ),
    )
    export_pt: bool = Field(False, description="Export the weights for torch (.pt).")
    export_with_dropout: bool = Field(
        False, description="Keep dropout active in the exported model.", json_schema_extra=about(not_yet=True)
    )
    hooks: dict[str, NameList] = Field(
        default_factory=dict,
        description="Your functions (`module:function`) by the point at which they are called: "
        f"{', '.join(HOOK_POINTS)}. The module is looked for in project_root.",
        json_schema_extra=about(interacts="docs/training.md says what each point gives them"),
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
        spec = self.training_spec
        for field, entries in (
            ("criterion", spec.criterion),
            ("loss_weights", spec.loss_weights),
            ("class_weights", spec.class_weights),
            ("class_share_log_columns", spec.class_share_log_columns),
        ):
            for target in entries or ():
                if target not in self.target_columns:
                    raise ValueError(
                        f"training_spec.{field} names `{target}`, which is no target; "
                        f"target_columns: {', '.join(self.target_columns)}"
                    )
        for target, kind in (self.target_column_types or {}).items():
            if target in spec.criterion:
                try:
                    check_criterion(spec.criterion[target], kind)
                except ValueError as error:
                    raise ValueError(f"training_spec.criterion.{target}: {error}") from error
        return self
