"""The fields of a search: what `hyperparameter_search.yaml` holds. The rules between them are in config/search.py."""

from copy import copy
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, create_model, field_validator
from pydantic_core import InitErrorDetails

from sequifier.config.base import (
    NAME_BYTES,
    Columns,
    ColumnType,
    Command,
    KeyPath,
    NameList,
    ProjectConfig,
    StrictModel,
    about,
    inside_project,
    usable_name,
)
from sequifier.config.fields import SEARCH_SECTIONS, searchable
from sequifier.config.placed_errors import relocated
from sequifier.config.ranges import Range, Searched, some_values
from sequifier.config.search_sections import LINKED, ModelSampling, TrainingSampling, run_values
from sequifier.config.searched import ValuesOf
from sequifier.config.train import EventFormat, TrainConfig, check_hook_names


class Pruner(StrictModel):
    """Which runs are stopped early because others are ahead of them."""

    type: Literal["none", "asha", "median"] = Field(
        "none",
        description="How runs are compared; none: all run to their end.",
        json_schema_extra=about(
            interacts="reduction is for asha; min_epochs",
            change="asha when most configurations are bad and epochs are many",
        ),
    )
    reduction: int = Field(
        3,
        gt=1,
        description="asha: one of so many runs goes on at each rung.",
        json_schema_extra=about(
            unit="runs for each that goes on", interacts="type: asha", change="2 prunes more gently, 4 harder"
        ),
    )
    min_epochs: int = Field(
        1,
        gt=0,
        description="Epochs that every run gets.",
        json_schema_extra=about(unit="epochs", interacts="epochs of the runs", change="good runs start slowly"),
    )


class EvaluationScript(StrictModel):
    """A program of your own that measures each trained model."""

    command: Command = Field(
        min_length=1,
        description="The command; it gets the run's files and prints JSON metrics.",
        json_schema_extra=about(
            interacts="metrics names what it prints", change="your own measure decides, not a validation loss"
        ),
    )
    metrics: dict[str, Literal["minimize", "maximize"]] = Field(
        default_factory=dict,
        description="What it prints, and which way each is better.",
        json_schema_extra=about(interacts="metric may name one of them", change="with the command"),
    )
    timeout_minutes: float = Field(
        10.0,
        gt=0,
        description="Time after which it is ended.",
        json_schema_extra=about(unit="minutes", interacts="command", change="the program takes longer"),
    )


def _as_in_training(name: str) -> Any:
    """The default, bounds and description of a field of `train.yaml`."""
    return copy(TrainConfig.model_fields[name])


class SearchFields(ProjectConfig):
    """What a search file says: the fields, and what is tried of each."""

    SHAPES: ClassVar[dict[str, Any]] = {}
    """The types inside fields whose own type does not say which of their values are names."""

    metadata_config_path: str = _as_in_training("metadata_config_path")
    hp_search_name: str = Field(
        min_length=1,
        description="Name of the search: run 3 is called [hp_search_name]-run-3.",
        json_schema_extra=about(
            old_names=("name",),
            interacts='must not contain "embedding"',
            change="for each search that should stand beside the others",
        ),
    )
    model_config_write_path: str = Field(
        "configs/hp_search",
        description="Folder of the run files, one train.yaml for each run.",
        json_schema_extra=about(
            interacts="the run files hold hp_search_name in their names",
            change="to keep the run files of searches apart",
        ),
    )
    search_strategy: Literal["sample", "grid", "bayesian"] = Field(
        "sample",
        description="grid: every combination; sample: n_samples of them, drawn by seed; bayesian: n_samples, each "
        "chosen by what the results so far promise.",
        json_schema_extra=about(
            old_names=("method",),
            interacts="grid takes no range without a step, except of whole numbers",
            change="grid for a handful of values, sample for a first look, bayesian for many fields",
        ),
    )
    n_samples: int | None = Field(
        None,
        gt=0,
        description="Distinct configurations to run in total, those of earlier starts included; grid ignores it.",
        json_schema_extra=about(
            old_names=("trials",),
            unit="configurations",
            interacts="search_strategy: needed for sample and bayesian; repeats multiplies the runs",
            change="raise it to go on: earlier configurations are kept",
        ),
    )
    seed: int | None = _as_in_training("seed")
    sampler_seed: int | None = Field(
        None,
        ge=0,
        lt=2**63,
        description="Seed that draws configurations; null: seed, which also trains them.",
        json_schema_extra=about(
            old_names=("global_seed",),
            unit="a seed",
            interacts="seed, where this one is null",
            change="other configurations, trained with the same seed",
        ),
    )
    repeats: int = Field(
        1,
        gt=0,
        description="Training seeds for each configuration: seed, seed + 1 and so on.",
        json_schema_extra=about(
            unit="trainings of each configuration",
            interacts="seed; results carry the spread",
            change="3 when differences are as small as chance",
        ),
    )
    training_data_path: str | None = _as_in_training("training_data_path")
    validation_data_path: str | None = _as_in_training("validation_data_path")
    read_format: EventFormat | None = _as_in_training("read_format")
    input_columns: Annotated[list[Columns | None], ValuesOf(TrainConfig, "input_columns", searched=True)] = Field(
        [None],
        description="Sets of columns to try as the model's input; null: all columns. A flat list of names is one set.",
        json_schema_extra=about(
            old_names=("selected_columns",),
            interacts="column_types, where given, has one map for each set",
            change="to find out which columns help",
        ),
    )
    column_types: Annotated[list[Any], ValuesOf(TrainConfig, "column_types", searched=True)] = Field(
        [None],
        description="Types of the columns of each set; derived from the metadata, so it can be left out.",
        json_schema_extra=about(
            interacts="input_columns: one map for each set", change="never needed: the metadata say it"
        ),
    )
    categorical_columns: Any = Field(
        None,
        description="From the metadata; counts with --skip-metadata alone.",
        json_schema_extra=about(unused=True),
    )
    real_columns: Any = Field(
        None,
        description="From the metadata; counts with --skip-metadata alone.",
        json_schema_extra=about(unused=True),
    )
    n_classes: Any = Field(
        None,
        description="From the metadata; counts with --skip-metadata alone.",
        json_schema_extra=about(unused=True),
    )
    id_maps: Any = Field(
        None,
        description="From the metadata; counts with --skip-metadata alone.",
        json_schema_extra=about(unused=True),
    )
    target_columns: Columns = _as_in_training("target_columns")
    target_column_types: dict[str, ColumnType] | None = _as_in_training("target_column_types")
    seq_length: Annotated[Searched, ValuesOf(TrainConfig, "seq_length", searched=True)] = Field(
        [None],
        description="Numbers of events that the model sees at once; null: that of the metadata.",
        json_schema_extra=about(
            old_names=("max_seq_len",),
            unit="events",
            interacts="every length is evaluated on the same events",
            change="to find out how far back events matter",
        ),
    )
    window_stride: Annotated[Searched, ValuesOf(TrainConfig, "window_stride", searched=True)] = Field(
        [None],
        description="Events by which training windows advance; null: the smaller of the split's stride and seq_length.",
        json_schema_extra=about(
            unit="events",
            interacts="the number of windows, and with it the optimizer steps of an epoch",
            change="smaller shows each event in more places and takes longer",
        ),
    )
    inference_batch_size: int = _as_in_training("inference_batch_size")
    cpu_threads: int | None = _as_in_training("cpu_threads")
    export_generative_model: bool = _as_in_training("export_generative_model")
    export_embedding_model: bool = _as_in_training("export_embedding_model")
    export_onnx: bool = _as_in_training("export_onnx")
    export_end_to_end: bool = _as_in_training("export_end_to_end")
    export_pt: bool = _as_in_training("export_pt")
    export_with_dropout: bool = _as_in_training("export_with_dropout")
    metric: str = _as_in_training("metric")
    direction: Literal["minimize", "maximize"] = _as_in_training("direction")
    hooks: dict[str, NameList] = _as_in_training("hooks")
    model_hyperparameter_sampling: ModelSampling = Field(
        default_factory=ModelSampling, description="The models to try."
    )
    training_hyperparameter_sampling: TrainingSampling = Field(
        default_factory=TrainingSampling, description="The training settings to try."
    )
    links: list[list[str]] = Field(
        default_factory=list,
        description="Groups of further fields whose lists are paired by index instead of combined.",
        json_schema_extra=about(
            change="[[batch_size, accumulation_steps]] tries the first of both, the second of both",
            interacts="input_columns, the backbone and the schedule are linked already",
        ),
    )
    independent: NameList = Field(
        default_factory=list,
        description="Fields to take out of their built-in linked group (dim_model, n_head, ...; learning_rate, epochs, "
        "scheduler; input_columns, column_types): each of their values is combined with each value of the others.",
        json_schema_extra=about(
            change="[learning_rate] tries every learning rate with every scheduler",
            interacts="links may put them into another group; a range is combined with every value without it; "
            "models whose n_head does not divide dim_model are left out, and counted in the plan",
        ),
    )
    base_config_path: str | None = Field(
        None,
        description="A train.yaml that everything not searched is taken from; overrides then takes the place of the "
        "two sampling sections.",
        json_schema_extra=about(interacts="overrides", change="one train.yaml is to be the start of several searches"),
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description="What is searched on top of base_config_path: fields of train.yaml where they stand there, each "
        "with a list of values or a range.",
        json_schema_extra=about(interacts="base_config_path", change="with base_config_path"),
    )
    start_with: list[str | dict[str, Any]] = Field(
        default_factory=list,
        description="What to try first: each entry the path of a run file, or fields of train.yaml with one value "
        "each. What an entry leaves out is the first value of each list and the middle of each range.",
        json_schema_extra=about(
            interacts="counts in n_samples; need not lie in the space", change="[{training_spec.learning_rate: 3e-4}]"
        ),
    )
    pruner: Pruner = Field(default_factory=Pruner, description="Stops runs that fall behind.")
    confirm_top: int = Field(
        0,
        ge=0,
        description="Best configurations to train again with more seeds.",
        json_schema_extra=about(
            unit="configurations",
            interacts="repeats; runs of other seeds are added",
            change="3 to 5 before a winner is used",
        ),
    )
    evaluation_script: EvaluationScript | None = Field(
        None,
        description="A program of your own that measures each model.",
        json_schema_extra=about(
            interacts="metric may name one of its metrics", change="your own measure decides, not a validation loss"
        ),
    )
    max_hours: float | None = Field(
        None,
        gt=0,
        description="Time after which no run is started.",
        json_schema_extra=about(
            unit="hours",
            interacts="a run that has begun ends; the same command goes on later",
            change="the machine is wanted in the morning",
        ),
    )
    max_epochs_total: int | None = Field(
        None,
        gt=0,
        description="Epochs of all runs together after which no run is started.",
        json_schema_extra=about(
            unit="epochs", interacts="epochs and n_samples", change="searches of equal cost are compared"
        ),
    )
    run_timeout_minutes: float | None = Field(
        None,
        gt=0,
        description="Time after which a run is ended as failed.",
        json_schema_extra=about(
            unit="minutes", interacts="max_retries does not apply", change="some configurations would take forever"
        ),
    )
    stall_minutes: float = Field(
        5.0,
        gt=0,
        description="Time without progress after which a run's process is replaced: no event, less than 1 % of a "
        "core used and nothing read. The run resumes once from its checkpoint. Time while the process or the machine "
        "is suspended does not count, nor do hooks and the evaluation script.",
        json_schema_extra=about(
            unit="minutes",
            interacts="run_timeout_minutes limits runs that do make progress",
            change="larger where data are on a disk that pauses for minutes",
        ),
    )
    max_retries: int = Field(
        3,
        ge=0,
        description="How often a run that does not fit in memory is tried again with half the batch.",
        json_schema_extra=about(
            unit="attempts", interacts="oom_keep_effective_batch", change="0 to see at once which runs do not fit"
        ),
    )
    oom_keep_effective_batch: bool = Field(
        True,
        description="Such a run still takes optimizer steps over the planned batch, in smaller pieces; false halves "
        "the batch itself.",
        json_schema_extra=about(interacts="max_retries", change="false for the behaviour of v1"),
    )
    keep_models: Literal["all", "best"] | Annotated[int, Field(gt=0, strict=True)] = Field(
        "all",
        description="Whose exported models stay on disk: all runs', the best one's, or those of the best so many.",
        json_schema_extra=about(
            unit="runs",
            interacts="of several training seeds the first one's counts; others are removed once better runs have "
            "finished, and a command makes them again",
            change="to save disk; results and checkpoints stay",
        ),
    )
    override_input: bool = Field(
        False,
        description="Never ask before starting.",
        json_schema_extra=about(interacts="the same as --yes", change="a script starts the search"),
    )

    @field_validator("hp_search_name")
    @classmethod
    def _usable_in_file_names(cls, name: str) -> str:
        return usable_name(name, longest=NAME_BYTES - len("-run-100000"))

    @field_validator("model_config_write_path")
    @classmethod
    def _inside_the_project(cls, path: str) -> str:
        return inside_project(path)

    @field_validator("hooks")
    @classmethod
    def _known_points(cls, hooks: dict[str, list[str]]) -> dict[str, list[str]]:
        return check_hook_names(hooks)

    @field_validator("start_with")
    @classmethod
    def _values_of_one_run(cls, entries: list[str | dict[str, Any]]) -> list[str | dict[str, Any]]:
        """Each map as validated values by dotted key."""
        values: list[str | dict[str, Any]] = []
        errors: list[InitErrorDetails] = []
        for index, entry in enumerate(entries):
            try:
                values.append(entry if isinstance(entry, str) else run_values(entry))
            except ValidationError as error:
                errors += relocated(error, drop=0, prefix=(index,))
        if errors:
            raise ValidationError.from_exception_data("start_with", errors)
        return values

    def place(self, field: str) -> KeyPath:
        """Where a searchable field stands in the file: `dim_model` in its section, `seq_length` at the root."""
        section = searchable()[field].section
        return (SEARCH_SECTIONS[section], field) if section else (field,)

    def searched(self, field: str) -> Searched | None:
        """What is tried of a field; None where every run has its own default (dim_feedforward, left out)."""
        value: Any = self
        for part in self.place(field):
            value = getattr(value, str(part))
        return value  # type: ignore[no-any-return]

    def is_given(self, field: str) -> bool:
        """Whether the file has the field."""
        *section, name = self.place(field)
        return name in (getattr(self, str(section[0])) if section else self).model_fields_set

    def groups(self) -> dict[str, tuple[str, ...]]:
        """The linked groups by name, those of `links` last."""
        built_in = {
            name: tuple(field for field in fields if field not in self.independent) for name, fields in LINKED.items()
        }
        return built_in | {f"links[{index}]": tuple(fields) for index, fields in enumerate(self.links)}

    def is_free_backbone(self) -> bool:
        """Whether fields of the backbone are combined with each other, so that some models may not fit together."""
        backbone = [field for field in LINKED["backbone"] if self.searched(field) is not None]
        several = [field for field in backbone if len(some_values(self.searched(field) or ())) > 1]
        free = [field for field in several if field in self.independent or isinstance(self.searched(field), Range)]
        return bool(free) and len(backbone) > 1


_SETS: Any = SearchFields.model_fields["input_columns"].annotation
_OVERRIDES = create_model(
    "Overrides",
    input_columns=(_SETS, None),
    model_spec=(ModelSampling, None),
    training_spec=(TrainingSampling, None),
)
SearchFields.SHAPES = {"overrides": _OVERRIDES, "start_with": list[str | TrainConfig]}
