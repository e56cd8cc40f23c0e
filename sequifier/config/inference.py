"""`infer.yaml`: predictions from an exported model."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from sequifier.config.base import (
    ALONE,
    NO_UNIT,
    Columns,
    ColumnType,
    Device,
    DistinctColumns,
    NameList,
    ProjectConfig,
    about,
)
from sequifier.config.catalogue.distributions import LEVELS
from sequifier.config.samplers import Sampler
from sequifier.config.sequence_table import SequenceTable


def _zero_for_null(value: Any) -> Any:
    return 0 if value is None else value


class InferConfig(ProjectConfig):
    """What to predict, with which model, from which events. What the model file contains may be left out."""

    metadata_config_path: str | None = Field(
        None,
        description="Path of the metadata JSON; null: the model file has what is needed.",
        json_schema_extra=about(
            interacts="model_path (it must be the metadata of the model) and data_path, whose default comes from it",
            change="when data_path is left out",
            old_names=("ddconfig_path",),
            synonyms="metadata",
        ),
    )
    model_path: Annotated[NameList, Field(min_length=1)] = Field(
        description="Path of the exported model, or a list of several.",
        json_schema_extra=about(
            interacts="model_type", change="for each new model", synonyms="model weights checkpoint ckpt"
        ),
    )
    model_type: Literal["generative", "embedding"] = Field(
        "generative",
        description="What the model returns: `generative` predicts the targets, `embedding` returns vectors.",
        json_schema_extra=about(
            interacts="model_path: an .onnx file returns one of the two, a .pt file both",
            change="to embedding when you need vectors instead of predictions",
            synonyms="task",
        ),
    )
    data_path: str | None = Field(
        None,
        description="Path of the encoded events: a file or a folder of shards; null: split 2 of the metadata, else "
        "the last.",
        json_schema_extra=about(
            interacts="read_format: raw takes a table, or a folder of its files",
            change="for other events than the test split",
            synonyms="input input_path test_data test_path",
        ),
    )
    training_config_path: str | None = Field(
        None,
        description="Accepted without effect: the model file says what was trained.",
        json_schema_extra=about(unused=True),
    )
    read_format: Literal["parquet", "csv", "arrow", "pt", "raw"] | None = Field(
        None,
        description="Format of the events; null: from the file's ending. `raw`: CSV, Parquet or XES that is not "
        "encoded yet; the model encodes it, and predicts the next event of each sequence.",
        json_schema_extra=about(
            interacts="data_path",
            change="to raw for events that preprocess has not encoded",
            synonyms="format file_type",
        ),
    )
    sequence_table: SequenceTable | None = Field(
        None,
        description="Table with the columns of whole sequences that the model reads, for raw events that do not have "
        "them: `{path: regions.csv}`. It needs a row for each sequence of the events, and may have others.",
    )
    future_data_path: str | None = Field(
        None,
        description="Path of a table with the known_future columns of the model at the steps to come, for raw events: "
        "a row for each step after the last event of a sequence. Earlier rows and other sequences may be in it. It may "
        "be data_path itself: then these steps are the rows at the end of a sequence without values of the targets. "
        "null: data_path, or no table where the columns follow from the dates of a regular series.",
        json_schema_extra=about(
            interacts="read_format: raw; data_path, whose events end where the steps to come begin; fill_null of the "
            "training data, with which a target without a value may be an event, so that null is not enough",
            change="to the plan of prices, holidays and the like that the forecast depends on",
            synonyms="future_covariates futr_df future_df known_future_values",
        ),
    )
    write_format: Literal["csv", "parquet"] = Field(
        "csv",
        description="Format of the predictions.",
        json_schema_extra=about(interacts=ALONE, change="to parquet for large results", synonyms="output_format"),
    )
    input_columns: Columns | None = Field(
        None,
        description="Accepted only if equal to the model's input columns.",
        json_schema_extra=about(unused=True, old_names=("selected_columns",)),
    )
    target_columns: Columns | None = Field(
        None,
        description="Targets to write; null: all of the model.",
        json_schema_extra=about(
            interacts="output_probabilities and sample_from_distribution_columns",
            change="when you need only some targets",
            synonyms="target targets",
        ),
    )
    column_types: dict[str, str] | None = Field(
        None,
        description="Accepted without effect: the model file has the types.",
        json_schema_extra=about(unused=True, old_names=("column_data_types",)),
    )
    target_column_types: dict[str, ColumnType] | None = Field(
        None, description="Accepted only if equal to the types in the model file.", json_schema_extra=about(unused=True)
    )
    output_probabilities: bool = Field(
        False,
        description="Whether to write the class probabilities of each categorical target too.",
        json_schema_extra=about(
            interacts="model_type: generative; categorical targets",
            change="to true when you need to know how certain a prediction is",
            synonyms="predict_proba probabilities probs return_probs",
        ),
    )
    top_k: int | None = Field(
        None,
        gt=0,
        description="Number of most probable classes to write for each prediction of a categorical target, in a table "
        "of their own; null: none.",
        json_schema_extra=about(
            unit="classes",
            interacts="exclude_seen, map_to_id and target_columns; another top_k, in sampler, limits what is sampled",
            change="for recommendations: the items to show",
            synonyms="topk recommendations n_recommendations",
        ),
    )
    exclude_seen: bool = Field(
        False,
        description="Whether classes of earlier events of the sequence are left out of the top_k classes.",
        json_schema_extra=about(
            interacts="top_k; metadata_config_path, whose splits hold the earlier events of an encoded split",
            change="to true where nobody takes an item twice",
            synonyms="filter_seen filter_already_liked_items remove_seen",
        ),
    )
    map_to_id: bool = Field(
        True,
        description="Whether to write original labels instead of ids (categorical targets).",
        json_schema_extra=about(
            interacts="target_columns: categorical ones only",
            change="to false when another program works with ids",
            old_names=("decode_categories",),
        ),
    )
    seed: int | None = Field(
        1010,
        ge=0,
        lt=2**63,
        description="Random seed of all sampling; null: a random one.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="sampler.seed, which takes precedence for draws; infer_with_dropout",
            change="to draw other samples",
            synonyms="random_state random_seed manual_seed",
        ),
    )
    device: Device = Field(
        "auto",
        description="Device that predicts. `cuda` is the first GPU, `cuda:1` the second.",
        json_schema_extra=about(
            interacts="model_path: ONNX models need onnxruntime-gpu for cuda, and mps is for .pt models only",
            change="to leave the GPU to others",
            synonyms="gpu accelerator cuda",
        ),
    )
    seq_length: int | None = Field(
        None,
        gt=0,
        description="Accepted only if equal to the model's value, which is fixed.",
        json_schema_extra=about(unused=True, old_names=("context_length",)),
    )
    prediction_length: int | None = Field(
        None,
        gt=0,
        description="Accepted only if equal to the model's value, which is fixed.",
        json_schema_extra=about(unused=True, old_names=("inference_size",)),
    )
    inference_batch_size: int | None = Field(
        None,
        gt=0,
        description="Number of windows per call of the model; null: the model's own default.",
        json_schema_extra=about(
            unit="windows",
            interacts="no other field; memory grows with it",
            change="when predicting takes too much memory, or is slow",
            synonyms="batch_size bs eval_batch_size",
        ),
    )
    enforce_determinism: bool = Field(
        False,
        description="Whether to use deterministic algorithms only.",
        json_schema_extra=about(
            interacts="device: on a CPU results repeat in any case",
            change="to true when two calls on a GPU must have equal results",
            old_names=("deterministic",),
            synonyms="reproducible",
        ),
    )
    sample_from_distribution_columns: NameList | None = Field(
        None,
        description="Targets to sample, instead of taking the most likely class or the median of a distribution; "
        "null: all of them when sampler is given, else none.",
        json_schema_extra=about(
            interacts="sampler (how to sample)",
            change="when generated events should vary as real ones do",
            synonyms="do_sample sampling",
        ),
    )
    sampler: Sampler | str | None = Field(
        None,
        description="How to sample, or FILE[:name] of a sampler search's export; null: from the predicted "
        "probabilities.",
        json_schema_extra=about(
            interacts="sample_from_distribution_columns",
            change="when generated events should be more likely or more varied",
            synonyms="decoding generation_config",
        ),
    )
    quantiles: list[float] | None = Field(
        None,
        description="Levels of the quantiles to write of targets with a distribution, as `price_q10`; null: all of "
        "0.05, 0.1, ..., 0.95; []: none.",
        json_schema_extra=about(
            unit="probability",
            interacts="model_path: a model trained with model_spec.distribution",
            change="to [0.1, 0.9] for the interval that holds 80 % of the values",
            synonyms="quantile_levels prediction_interval interval intervals confidence levels",
        ),
    )
    infer_with_dropout: bool = Field(
        False,
        description="Whether to keep dropout active (Monte Carlo dropout).",
        json_schema_extra=about(
            interacts="model_path: a model trained with dropout, as a .pt file or an ONNX file exported with "
            "export_with_dropout",
            change="to true to see from the spread of several calls how certain the model is",
            synonyms="mc_dropout monte_carlo_dropout uncertainty",
        ),
    )
    autoregression: bool = Field(
        False,
        description="Whether to feed predictions back as inputs, from the first window of each sequence to its end.",
        json_schema_extra=about(
            interacts="model_path: all inputs of the model must be among its targets",
            change="to true to generate the future of a sequence, not only its next event",
            old_names=("autoregressive",),
            synonyms="generate rollout recursive",
        ),
    )
    autoregression_extra_steps: Annotated[
        Annotated[int, Field(ge=0)] | Literal["until_end"], BeforeValidator(_zero_for_null)
    ] = Field(
        0,
        description="Number of events to generate beyond the known ones. `until_end`: all until the END of the "
        "sequence, after which nothing is generated in any case.",
        json_schema_extra=about(
            unit="events",
            interacts="autoregression: true, which it needs; end_event of preprocess, which until_end needs; "
            "until_end_limit",
            change="to the number of events to forecast",
            synonyms="horizon prediction_horizon forecast_horizon forecast_length steps_ahead n_ahead max_new_tokens",
        ),
    )
    until_end_limit: int = Field(
        1000,
        gt=0,
        description="Number of events beyond the known ones after which generation until the END of a sequence stops "
        "without one.",
        json_schema_extra=about(
            unit="events",
            interacts="autoregression_extra_steps: until_end",
            change="to about the length of the longest sequence",
            synonyms="max_length max_steps max_len",
        ),
    )
    n_scenarios: int = Field(
        1,
        gt=0,
        description="Number of different continuations to sample of each sequence; with more than 1 the predictions "
        "have a column `scenario`.",
        json_schema_extra=about(
            unit="continuations of a sequence",
            interacts="autoregression: true and sampler, which it needs",
            change="to a few hundred when you need how far the future may differ from the forecast",
            synonyms="scenarios n_samples num_samples num_return_sequences n_paths paths monte_carlo simulations",
        ),
    )
    evaluate: bool = Field(
        True,
        description="Whether to print and save how good the predictions are, where targets are known.",
        json_schema_extra=about(
            interacts="evaluation_context (with which history)", change="to false when you need only predictions"
        ),
    )
    evaluate_by: DistinctColumns | None = Field(
        None,
        description="Columns by whose values the evaluation is repeated, in a table beside the predictions: the column "
        "of the sequences, or categorical columns of the model. With prediction_horizon the table has each step too; "
        "null: no table. The value is that of the last event before the prediction; of a target itself the true one.",
        json_schema_extra=about(
            unit=NO_UNIT,
            interacts="evaluate; data_path: events whose next event is known, not raw ones; write_format",
            change="to see for which products, customers or hours the predictions are worse",
            synonyms="group_by by_group groups breakdown per_group slices segments by_step",
        ),
    )
    evaluation_context: Literal["split", "full"] = Field(
        "split",
        description="History of an evaluated event. `split`: windows of the split alone, as in Sequifier 1, the "
        "earlier release; `full`: each event once, with its history. Forecasts of several steps always have it.",
        json_schema_extra=about(interacts="evaluate", change="to full to compare with the validation loss of training"),
    )
    forecast_stride: int | None = Field(
        None,
        gt=0,
        description="Number of events between the origins of forecasts, for a model with prediction_horizon; null: 1, "
        "a forecast from every event whose next prediction_horizon events lie in the split.",
        json_schema_extra=about(
            unit="events",
            interacts="data_path: an encoded split; raw events are forecast once, from the last event of each sequence",
            change="to the model's prediction_horizon for one forecast of each event",
            synonyms="stride refit_every step_size n_windows rolling_origin backtest",
        ),
    )
    distributed: bool = Field(
        False,
        description="Accepted without effect (a field of Sequifier 1, the earlier release).",
        json_schema_extra=about(unused=True),
    )
    world_size: int = Field(
        1,
        description="Accepted without effect (a field of Sequifier 1, the earlier release).",
        json_schema_extra=about(unused=True),
    )
    num_workers: int = Field(
        0,
        description="Accepted without effect (a field of Sequifier 1, the earlier release).",
        json_schema_extra=about(unused=True),
    )
    load_full_data_to_ram: bool = Field(
        True,
        description="Accepted without effect (a field of Sequifier 1, the earlier release).",
        json_schema_extra=about(unused=True),
    )

    @field_validator("quantiles")
    @classmethod
    def _are_levels(cls, quantiles: list[float] | None) -> list[float] | None:
        for level in quantiles or ():
            if level not in LEVELS:
                raise ValueError(
                    f"{level:g} is not one of the predicted levels: {', '.join(f'{each:g}' for each in LEVELS)}"
                )
        return quantiles

    @property
    def extra_steps(self) -> int:
        """Largest number of events to generate beyond the known ones."""
        return self.until_end_limit if self.until_end else int(self.autoregression_extra_steps)

    @property
    def until_end(self) -> bool:
        """Whether sequences are continued to their END."""
        return self.autoregression_extra_steps == "until_end"
