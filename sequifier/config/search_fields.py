"""The fields of a search: what `hyperparameter_search.yaml` holds. The rules between them are in config/search.py."""

from copy import copy
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, create_model, field_validator
from pydantic_core import InitErrorDetails

from sequifier.config.base import (
    NAME_BYTES,
    NO_UNIT,
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
from sequifier.config.execution import Execution
from sequifier.config.fields import SEARCH_SECTIONS, searchable
from sequifier.config.placed_errors import relocated
from sequifier.config.ranges import Range, Searched, some_values
from sequifier.config.ranking import Ranking
from sequifier.config.scoring import Scoring
from sequifier.config.search_sections import LINKED, ModelSampling, TrainingSampling, run_values
from sequifier.config.searched import ValuesOf
from sequifier.config.train import ClassName, EventFormat, TargetPosition, TrainConfig, check_hook_names


class Pruner(StrictModel):
    """Early stopping of runs that fall behind the others."""

    type: Literal["none", "asha", "median"] = Field(
        "none",
        description="Rule by which runs are stopped early. `none`: all runs train to their end; `asha`: runs pause "
        "at rungs (min_epochs, then reduction times as many epochs, ...) and the best of the paused runs "
        "resume; `median`: a run stops when its best metric is worse than the median of the others at "
        "the same epoch.",
        json_schema_extra=about(
            interacts="reduction (asha) and min_epochs",
            change="to asha when most configurations are bad and epochs are many",
            synonyms="hyperband successive_halving",
        ),
    )
    reduction: int = Field(
        3,
        gt=1,
        description="Factor between the rungs of asha: the best 1/reduction of the runs at a rung resume.",
        json_schema_extra=about(
            unit="runs for each that resumes",
            interacts="type: asha, which uses it",
            change="to 2 to prune fewer runs, to 4 to prune more",
            synonyms="eta reduction_factor halving_factor",
        ),
    )
    min_epochs: int = Field(
        1,
        gt=0,
        description="Number of epochs that every run trains before it can be pruned.",
        json_schema_extra=about(
            unit="epochs",
            interacts="epochs of the runs",
            change="to more when good runs start slowly",
            synonyms="grace_period min_resource n_warmup_steps",
        ),
    )


class EvaluationScript(StrictModel):
    """A program of your own that measures each trained model."""

    command: Command = Field(
        min_length=1,
        description="Command to run. It receives the files of a run and prints metrics as JSON.",
        json_schema_extra=about(
            interacts="metrics, which names what it prints",
            change="when your own measure decides, not a validation loss",
            synonyms="script",
        ),
    )
    metrics: dict[str, Literal["minimize", "maximize"]] = Field(
        default_factory=dict,
        description="Metrics that the command prints, each with its direction.",
        json_schema_extra=about(interacts="metric, which may name one of them", change="when you change the command"),
    )
    timeout_minutes: float = Field(
        10.0,
        gt=0,
        description="Time limit of the command, after which it is ended.",
        json_schema_extra=about(
            unit="minutes", interacts="command", change="when the command takes longer", synonyms="timeout"
        ),
    )


def _as_in_training(name: str) -> Any:
    """The declaration of a field of `train.yaml`."""
    return copy(TrainConfig.model_fields[name])


class SearchFields(ProjectConfig):
    """What a search file says: the fields, and what is tried of each."""

    SHAPES: ClassVar[dict[str, Any]] = {}
    """The types of values inside fields whose own type is a free map: which of them are names."""

    metadata_config_path: str = _as_in_training("metadata_config_path")
    hp_search_name: str = Field(
        min_length=1,
        description='Name of the search; run 3 is called `[hp_search_name]-run-3`. It must not contain "embedding".',
        json_schema_extra=about(
            interacts="model_config_write_path, whose run files have it in their names",
            change="for each search that you want to keep beside the others",
            old_names=("name",),
            synonyms="study_name search_name experiment_name",
        ),
    )
    model_config_write_path: str = Field(
        "configs/hp_search",
        description="Folder of the run files, one train.yaml for each run.",
        json_schema_extra=about(
            interacts="hp_search_name, which is in the names of the run files",
            change="to keep the run files of several searches in separate folders",
        ),
    )
    search_strategy: Literal["sample", "grid", "bayesian"] = Field(
        "sample",
        description="How configurations are chosen. `grid`: every combination; `sample`: n_samples random ones; "
        "`bayesian`: n_samples, each proposed from the results so far (TPE).",
        json_schema_extra=about(
            interacts="n_samples and sampler_seed; grid takes no range without a step, except of integers",
            change="to grid for a handful of values, to bayesian for many fields",
            old_names=("method",),
            synonyms="strategy algorithm search_algorithm tuner search_type random",
        ),
    )
    n_samples: int | None = Field(
        None,
        gt=0,
        description="Number of distinct configurations to run in total, including those of earlier starts; grid "
        "ignores it.",
        json_schema_extra=about(
            unit="configurations",
            interacts="search_strategy (sample and bayesian require it) and repeats, which multiplies the runs",
            change="to more to extend a search: earlier configurations are kept",
            old_names=("trials",),
            synonyms="n_trials num_trials max_trials num_samples n_iter budget",
        ),
    )
    seed: int | None = _as_in_training("seed")
    sampler_seed: int | None = Field(
        None,
        ge=0,
        lt=2**63,
        description="Random seed that draws configurations; null: the same as `seed`.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="seed, where this one is null",
            change="for other configurations, trained with the same seed",
            old_names=("global_seed",),
        ),
    )
    repeats: int = Field(
        1,
        gt=0,
        description="Number of training seeds for each configuration: seed, seed + 1 and so on.",
        json_schema_extra=about(
            unit="runs of each configuration",
            interacts="seed and n_samples; results show the spread",
            change="to 3 when the differences between configurations are as small as those between seeds",
            synonyms="n_seeds n_repeats num_seeds replicates folds cv",
        ),
    )
    training_data_path: str | None = _as_in_training("training_data_path")
    validation_data_path: str | None = _as_in_training("validation_data_path")
    read_format: EventFormat | None = _as_in_training("read_format")
    input_columns: Annotated[list[Columns | None], ValuesOf(TrainConfig, "input_columns", searched=True)] = Field(
        [None],
        description="Sets of input columns to try; null: all that may be inputs. A flat list of names is one set.",
        json_schema_extra=about(
            interacts="column_types, which has one map for each set where it is given",
            change="to find out which columns help",
            old_names=("selected_columns",),
            synonyms="inputs features feature_columns input_features",
        ),
    )
    column_types: Annotated[list[Any], ValuesOf(TrainConfig, "column_types", searched=True)] = Field(
        [None],
        description="Types of the columns of each set. The metadata has them, so that it can be left out.",
        json_schema_extra=about(interacts="input_columns: one map for each set", change="only with --skip-metadata"),
    )
    categorical_columns: Any = Field(
        None,
        description="Names of the categorical columns. Taken from the metadata; the value here has an effect only "
        "with --skip-metadata.",
        json_schema_extra=about(unused=True),
    )
    real_columns: Any = Field(
        None,
        description="Names of the real columns. Taken from the metadata; the value here has an effect only with "
        "--skip-metadata.",
        json_schema_extra=about(unused=True),
    )
    n_classes: Any = Field(
        None,
        description="Number of classes of each categorical column. Taken from the metadata; the value here has an "
        "effect only with --skip-metadata.",
        json_schema_extra=about(unused=True),
    )
    id_maps: Any = Field(
        None,
        description="Id of each label, by column. Taken from the metadata; the value here has an effect only with "
        "--skip-metadata.",
        json_schema_extra=about(unused=True),
    )
    target_columns: Columns = _as_in_training("target_columns")
    target_positions: dict[str, TargetPosition] = _as_in_training("target_positions")
    positive_class: dict[str, ClassName] = _as_in_training("positive_class")
    target_column_types: dict[str, ColumnType] | None = _as_in_training("target_column_types")
    seq_length: Annotated[Searched, ValuesOf(TrainConfig, "seq_length", searched=True)] = Field(
        [None],
        description="Numbers of events in a window to try; null: the seq_length of the metadata.",
        json_schema_extra=about(
            unit="events",
            interacts="window_stride; every length is evaluated on the same events",
            change="to find out how far back events matter",
            old_names=("max_seq_len",),
            synonyms="context context_length window window_size block_size max_length sequence_length seq_len lookback",
        ),
    )
    window_stride: Annotated[Searched, ValuesOf(TrainConfig, "window_stride", searched=True)] = Field(
        [None],
        description="Numbers of events by which training windows advance, to try; null: the smaller of the split's "
        "stride and seq_length, or 1 with window_normalization.",
        json_schema_extra=about(
            unit="events",
            interacts="epochs: it decides the number of windows, and so the optimizer steps of an epoch",
            change="to smaller values to show each event in more places, which takes longer",
            synonyms="stride overlap",
        ),
    )
    window_normalization: Annotated[Searched, ValuesOf(TrainConfig, "window_normalization", searched=True)] = Field(
        ["none"],
        description="Normalizations of windows to try: none, last, mean_std.",
        json_schema_extra=about(
            interacts="window_stride, whose default depends on it; losses stay comparable, because each is in the "
            "units of the standardised column",
            change="to `[none, last, mean_std]` for series whose level drifts",
            synonyms="revin instance_norm local_scaler scaler_type",
        ),
    )
    prediction_horizon: Annotated[Searched, ValuesOf(TrainConfig, "prediction_horizon", searched=True)] = Field(
        [1],
        description="Numbers of next events to predict at once, to try. All runs are evaluated on the events that have "
        "as many events after them as the largest number.",
        json_schema_extra=about(
            unit="events",
            interacts="metric, which must name a step that all runs have, as in val_price_mae_step_1: the losses of "
            "different horizons are means over different steps",
            change="to `[1, 24]` to learn whether one model for all steps costs accuracy at the first one",
            synonyms="horizon forecast_horizon steps_ahead",
        ),
    )
    known_future: Annotated[list[NameList], ValuesOf(TrainConfig, "known_future", searched=True)] = Field(
        [[]],
        description="Sets of input columns to try whose values are known for the steps to come; `calendar` stands for "
        "the parts of the date among them. A flat list of names is one set.",
        json_schema_extra=about(
            interacts="prediction_horizon, each of whose values must be above 1; input_columns, each set of which must "
            "have these columns",
            change="to `[[], [calendar], [calendar, price]]` to learn what knowing them is worth",
            synonyms="known_covariates future_covariates futr_exog",
        ),
    )
    inference_batch_size: int = _as_in_training("inference_batch_size")
    cpu_threads: int | None = _as_in_training("cpu_threads")
    export_generative_model: bool = _as_in_training("export_generative_model")
    export_embedding_model: bool = _as_in_training("export_embedding_model")
    export_onnx: bool = _as_in_training("export_onnx")
    export_end_to_end: bool = _as_in_training("export_end_to_end")
    export_top_k: int | None = _as_in_training("export_top_k")
    export_pt: bool = _as_in_training("export_pt")
    export_with_dropout: bool = _as_in_training("export_with_dropout")
    metric: str = _as_in_training("metric")
    direction: Literal["minimize", "maximize"] = _as_in_training("direction")
    ranking: dict[str, Ranking] = _as_in_training("ranking")
    scoring: Scoring | None = _as_in_training("scoring")
    metric_is_sampled: bool = _as_in_training("metric_is_sampled")
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
            interacts="input_columns, the backbone and the schedule, which are linked already",
            change="to `[[batch_size, accumulation_steps]]` to try the first of both together, then the second of both",
        ),
    )
    independent: NameList = Field(
        default_factory=list,
        description="Fields to take out of their built-in linked group (dim_model, n_head, ...; learning_rate, "
        "epochs, scheduler; input_columns, column_types), so that each of their values is combined with "
        "each value of the others. Models whose n_head does not divide dim_model are left out, and counted in the "
        "plan.",
        json_schema_extra=about(
            interacts="links, which may put them into another group; ranges, which are combined with every value in "
            "any case",
            change="to `[learning_rate]` to try every learning rate with every scheduler",
        ),
    )
    base_config_path: str | None = Field(
        None,
        description="Path of a train.yaml from which everything that is not searched is taken. `overrides` then "
        "replaces the two sampling sections.",
        json_schema_extra=about(
            interacts="overrides", change="to start several searches from one train.yaml", synonyms="base base_config"
        ),
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description="What is searched on top of base_config_path: fields of train.yaml in their places, each with a "
        "list of values or a range.",
        json_schema_extra=about(
            interacts="base_config_path",
            change="to choose what is searched when base_config_path is set",
            synonyms="search_space param_space space params",
        ),
    )
    start_with: list[str | dict[str, Any]] = Field(
        default_factory=list,
        description="Configurations to try first: each the path of a run file, or a map of fields of train.yaml with "
        "one value each. A field that an entry leaves out has the first value of its list, or the middle "
        "of its range.",
        json_schema_extra=about(
            interacts="n_samples, which counts them; they need not be in the search space",
            change="to `[{training_spec.learning_rate: 3e-4}]` for a start that is known to be good",
            synonyms="initial_points init_points points_to_evaluate enqueue_trial",
        ),
    )
    pruner: Pruner = Field(default_factory=Pruner, description="Early stopping of runs that fall behind the others.")
    confirm_top: int = Field(
        0,
        ge=0,
        description="Number of best configurations to train again with more seeds.",
        json_schema_extra=about(
            unit="configurations",
            interacts="repeats: each of these configurations is trained with two further seeds",
            change="to a value from 3 to 5 before you use the best configuration",
        ),
    )
    order_check: bool = Field(
        False,
        description="Whether to measure what the order of events is worth: after its test score, the best "
        "configuration is trained twice more, on histories in random order, wholly and before the last event. The "
        "report shows the differences.",
        json_schema_extra=about(
            interacts="seq_length: each of the two runs takes up to seq_length times as long as the best run",
            change="to true before you say that the order of events matters in your data",
        ),
    )
    evaluation_script: EvaluationScript | None = Field(
        None,
        description="A program of your own that measures each model.",
        json_schema_extra=about(
            interacts="metric, which may name one of its metrics",
            change="when your own measure decides, not a validation loss",
        ),
    )
    execution: Execution = Field(
        default_factory=Execution,
        description="Where the runs of the search train, and how many at the same time.",
    )
    max_hours: float | None = Field(
        None,
        gt=0,
        description="Time limit of the search, after which no run starts; null: none. All its starts count, the time "
        "between them does not.",
        json_schema_extra=about(
            unit="hours",
            interacts="max_epochs_total; runs that have started train to their end; a larger value and the same "
            "command continue the search",
            change="when the machine is needed for other work at a certain time",
            synonyms="time_limit time_budget max_time timeout",
        ),
    )
    max_epochs_total: int | None = Field(
        None,
        gt=0,
        description="Number of epochs of all runs together after which no run starts; null: no limit.",
        json_schema_extra=about(
            unit="epochs", interacts="epochs and n_samples", change="to compare searches of equal cost"
        ),
    )
    run_timeout_minutes: float | None = Field(
        None,
        gt=0,
        description="Time limit of a run, after which it is ended as failed; null: none.",
        json_schema_extra=about(
            unit="minutes",
            interacts="max_retries, which does not apply",
            change="when some configurations would take too long",
        ),
    )
    stall_minutes: float = Field(
        5.0,
        gt=0,
        description="Time without progress after which a run's process is replaced: no event, less than 1 % of a "
        "core used and nothing read. The run resumes once from its checkpoint. Time while the process or "
        "the machine is suspended does not count, nor do hooks and the evaluation script.",
        json_schema_extra=about(
            unit="minutes",
            interacts="run_timeout_minutes, which limits runs that do make progress",
            change="to more where data are on a disk that pauses for minutes",
        ),
    )
    max_retries: int = Field(
        3,
        ge=0,
        description="Number of times that a run that does not fit in memory is retried with half the batch.",
        json_schema_extra=about(
            unit="attempts",
            interacts="oom_keep_effective_batch",
            change="to 0 to see at once which runs do not fit",
            synonyms="retries oom_retries",
        ),
    )
    oom_keep_effective_batch: bool = Field(
        True,
        description="Whether a retried run still takes optimizer steps over the planned batch, in smaller pieces; "
        "false: the batch itself is halved.",
        json_schema_extra=about(interacts="max_retries", change="to false to match Sequifier 1, the earlier release"),
    )
    keep_models: Literal["all", "best"] | Annotated[int, Field(gt=0, strict=True)] = Field(
        "all",
        description="Which exported models to keep: `all`, `best`, or the best N. The others are removed once better "
        "runs have finished; `sequifier export` makes a removed model again from its checkpoint; the command "
        "`model_again` in results.csv trains it again.",
        json_schema_extra=about(
            unit="runs",
            interacts="repeats: of a configuration with several seeds, only the model of the first seed is kept",
            change="to save disk space; results and checkpoints stay",
        ),
    )
    override_input: bool = Field(
        False,
        description="Whether to start without asking.",
        json_schema_extra=about(
            interacts="--yes, which does the same",
            change="to true when a script starts the search",
            synonyms="yes force no_confirm",
        ),
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
        """Where a searchable field is in the file: `dim_model` in its section, `seq_length` at the top level."""
        section = searchable()[field].section
        return (SEARCH_SECTIONS[section], field) if section else (field,)

    def searched(self, field: str) -> Searched | None:
        """The values to try of a field; None where each run has its own default (dim_feedforward left out)."""
        value: Any = self
        for part in self.place(field):
            value = getattr(value, str(part))
        return value  # type: ignore[no-any-return]

    @property
    def horizons(self) -> tuple[int, int]:
        """The smallest and the largest prediction_horizon."""
        values: Any = self.prediction_horizon
        found = (values.low, values.high) if isinstance(values, Range) else values
        return int(min(found)), int(max(found))

    def is_given(self, field: str) -> bool:
        """Whether the file has the field."""
        *section, name = self.place(field)
        return name in (getattr(self, str(section[0])) if section else self).model_fields_set

    def groups(self) -> dict[str, tuple[str, ...]]:
        """The linked groups by name, the groups of `links` last."""
        built_in = {
            name: tuple(field for field in fields if field not in self.independent) for name, fields in LINKED.items()
        }
        return built_in | {f"links[{index}]": tuple(fields) for index, fields in enumerate(self.links)}

    def is_free_backbone(self) -> bool:
        """Whether fields of the backbone are combined freely, so that some combinations may not be valid models."""
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
