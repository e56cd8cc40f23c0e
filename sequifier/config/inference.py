"""`infer.yaml`: predictions from an exported model."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from sequifier.config.base import ALONE, Columns, ColumnType, NameList, ProjectConfig, StrictModel, about


class Sampler(StrictModel):
    """How an event is drawn from the predicted distribution."""

    temperature: float = Field(
        1.0,
        ge=0,
        description="Divides the logits; 0 takes the most likely class.",
        json_schema_extra=about(
            unit="no unit",
            interacts="applied before the other filters",
            change="below 1 for the likelier, above 1 for the more varied",
        ),
    )
    top_k: int | None = Field(
        None,
        gt=0,
        description="Keep the k most likely classes.",
        json_schema_extra=about(unit="classes", interacts="temperature", change="rare classes should never be drawn"),
    )
    top_p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Keep the smallest set of classes that reaches p.",
        json_schema_extra=about(
            unit="probability", interacts="temperature", change="0.9 cuts the unlikely tail, however long it is"
        ),
    )
    min_p: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Keep classes at least min_p times as likely as the best.",
        json_schema_extra=about(
            unit="share of the best class's probability",
            interacts="temperature",
            change="0.05 to 0.1 lets high temperatures stay sensible",
        ),
    )
    top_n_sigma: float | None = Field(
        None,
        gt=0,
        description="Keep logits within n standard deviations of the best.",
        json_schema_extra=about(
            unit="standard deviations of the logits",
            interacts="does not depend on temperature",
            change="high temperatures, without the tail",
        ),
    )
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**63,
        description="Seed of the draws; null: the config's seed.",
        json_schema_extra=about(
            unit="a seed",
            interacts="the config's seed, where this one is null",
            change="other draws with everything else equal",
        ),
    )


def _zero_for_null(value: Any) -> Any:
    return 0 if value is None else value


class InferConfig(ProjectConfig):
    """What to predict, with which model, from which events. Everything the model file says may be left out."""

    metadata_config_path: str | None = Field(
        None,
        description="The metadata JSON; null: what the model file says.",
        json_schema_extra=about(
            old_names=("ddconfig_path",),
            interacts="must be that of the model; data_path is found through it",
            change="data_path is left out",
        ),
    )
    model_path: Annotated[NameList, Field(min_length=1)] = Field(
        description="Exported model, or several.",
        json_schema_extra=about(interacts="model_type", change="for each new model"),
    )
    model_type: Literal["generative", "embedding"] = Field(
        "generative",
        description="generative predicts the targets, embedding returns vectors.",
        json_schema_extra=about(
            interacts="an .onnx file is one of both, a .pt file does both",
            change="vectors are wanted instead of predictions",
        ),
    )
    data_path: str | None = Field(
        None,
        description="Encoded events: a file or a folder of shards; null: split 2 of the metadata, else the last.",
        json_schema_extra=about(
            interacts="read_format: raw takes a table, or a folder of its files",
            change="other events than the test split",
        ),
    )
    training_config_path: str | None = Field(
        None, description="Accepted: the model file says what was trained.", json_schema_extra=about(unused=True)
    )
    read_format: Literal["parquet", "csv", "arrow", "pt", "raw"] | None = Field(
        None,
        description="Format of the events; null: by the file's ending. raw: CSV or Parquet that is not encoded yet: "
        "the model encodes it, and predicts the next event of each sequence.",
        json_schema_extra=about(interacts="data_path", change="raw for events that preprocess has not encoded"),
    )
    write_format: Literal["csv", "parquet"] = Field(
        "csv",
        description="Format of the predictions.",
        json_schema_extra=about(interacts=ALONE, change="parquet for large results"),
    )
    input_columns: Columns | None = Field(
        None,
        description="Accepted: the model file names its inputs.",
        json_schema_extra=about(old_names=("selected_columns",), unused=True),
    )
    target_columns: Columns | None = Field(
        None,
        description="Targets to write; null: all of the model.",
        json_schema_extra=about(
            interacts="output_probabilities and sample_from_distribution_columns", change="only some targets are wanted"
        ),
    )
    column_types: dict[str, str] | None = Field(
        None,
        description="Accepted: from the model file.",
        json_schema_extra=about(old_names=("column_data_types",), unused=True),
    )
    target_column_types: dict[str, ColumnType] | None = Field(
        None, description="Accepted: from the model file.", json_schema_extra=about(unused=True)
    )
    output_probabilities: bool = Field(
        False,
        description="Write each categorical target's class probabilities too.",
        json_schema_extra=about(
            interacts="model_type: generative; categorical targets", change="how sure a prediction is matters"
        ),
    )
    map_to_id: bool = Field(
        True,
        description="Write original labels instead of ids (categorical targets).",
        json_schema_extra=about(
            old_names=("decode_categories",),
            interacts="categorical targets only",
            change="another program works with ids",
        ),
    )
    seed: int | None = Field(
        1010,
        ge=0,
        lt=2**63,
        description="Seed of everything drawn; null draws one.",
        json_schema_extra=about(
            unit="a seed", interacts="sampler.seed is stronger for draws; infer_with_dropout", change="other draws"
        ),
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto",
        description="Where to predict.",
        json_schema_extra=about(
            interacts="ONNX models run on the CPU; cuda and mps are for .pt models", change="to leave the GPU to others"
        ),
    )
    seq_length: int | None = Field(
        None,
        gt=0,
        description="Accepted: fixed in the model.",
        json_schema_extra=about(old_names=("context_length",), unused=True),
    )
    prediction_length: int | None = Field(
        None,
        gt=0,
        description="Accepted: fixed in the model.",
        json_schema_extra=about(old_names=("inference_size",), unused=True),
    )
    inference_batch_size: int | None = Field(
        None,
        gt=0,
        description="Windows per call; null: the model's.",
        json_schema_extra=about(
            unit="windows", interacts="memory grows with it", change="predicting takes too much memory, or is slow"
        ),
    )
    enforce_determinism: bool = Field(
        False,
        description="Use deterministic algorithms only.",
        json_schema_extra=about(
            old_names=("deterministic",),
            interacts="device: on a CPU results repeat anyway",
            change="two calls on a GPU must be equal",
        ),
    )
    sample_from_distribution_columns: NameList | None = Field(
        None,
        description="Categorical targets to draw instead of taking the most likely class; null: all of them when a "
        "sampler is given, else none.",
        json_schema_extra=about(interacts="sampler says how", change="generated events should vary as real ones do"),
    )
    sampler: Sampler | str | None = Field(
        None,
        description="How to draw, or FILE[:name] of a sampler search's export; null: from the predicted probabilities.",
        json_schema_extra=about(interacts="sample_from_distribution_columns", change="to tame or widen what is drawn"),
    )
    infer_with_dropout: bool = Field(
        False,
        description="Keep dropout active (Monte Carlo dropout).",
        json_schema_extra=about(
            interacts="needs a model trained with dropout: a .pt file, or an ONNX file exported with "
            "export_with_dropout",
            change="the spread of several calls is to show how sure the model is",
        ),
    )
    autoregression: bool = Field(
        False,
        description="Feed predictions back as inputs: from the first window of each sequence to its end.",
        json_schema_extra=about(
            old_names=("autoregressive",),
            interacts="needs a model whose inputs are all among its targets",
            change="the future of a sequence is wanted, not the next event alone",
        ),
    )
    autoregression_extra_steps: Annotated[int, BeforeValidator(_zero_for_null)] = Field(
        0,
        ge=0,
        description="Events to generate beyond the known ones.",
        json_schema_extra=about(
            unit="events", interacts="needs autoregression: true", change="the number of events to forecast"
        ),
    )
    evaluate: bool = Field(
        True,
        description="Where targets are known: print and save how good the predictions are.",
        json_schema_extra=about(
            interacts="evaluation_context says with which history", change="only predictions are wanted"
        ),
    )
    evaluation_context: Literal["split", "full"] = Field(
        "split",
        description="split: windows of the split alone, as v1; full: each event once, with its history.",
        json_schema_extra=about(interacts="evaluate", change="full to compare with the validation loss of training"),
    )
    distributed: bool = Field(False, description="Accepted and unused (v1).", json_schema_extra=about(unused=True))
    world_size: int = Field(1, description="Accepted and unused (v1).", json_schema_extra=about(unused=True))
    num_workers: int = Field(0, description="Accepted and unused (v1).", json_schema_extra=about(unused=True))
    load_full_data_to_ram: bool = Field(
        True, description="Accepted and unused (v1).", json_schema_extra=about(unused=True)
    )
